// The page Now, live. Without this script it shows what was so when it was loaded.
const now = document.querySelector("[data-stream]");
if (now) {
  const live = document.getElementById("live");
  const source = new EventSource(now.dataset.stream);
  source.addEventListener("now", (event) => {
    now.innerHTML = event.data; // rendered and escaped by the gateway, from which this page came
    live.textContent = "";
  });
  source.addEventListener("error", () => {
    live.textContent = "The connection is lost; it is tried again.";
    // Answered by something else, such as "starting" or the page to sign in: the browser does not ask again by itself.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5_000 * (1 + Math.random()));
  });
}
// The zone of whoever looks, where a form asks for one and nobody has said another.
for (const field of document.querySelectorAll("[data-zone]")) {
  field.value ||= Intl.DateTimeFormat().resolvedOptions().timeZone;
}
