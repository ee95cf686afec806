/** The page: who is signed in, likes and comments, and the places where Carillon shows itself. */

const get = (id) => document.getElementById(id);
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const lines = (parent, items) => parent.replaceChildren(...items.map((item) => make("li", {}, item)));
const call = async (path, given = null) => {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(given) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};

const { me, people, photos } = await call("/show");
let after = me && (await call("/outside")).after; // of the pushes: what came before, the page before has shown

// The bell and the settings need to know who is signed in. All else they do by themselves.
for (const component of document.querySelectorAll("carillon-inbox, carillon-preferences"))
  component.tokenProvider = async () => me && call("/carillon-token");

for (const [person, name] of Object.entries(people)) {
  const onclick = async () => location.reload(await call("/sign-in", person));
  get("people").append(make("button", { textContent: name, ariaPressed: String(person === me), onclick }));
}

for (const [photo, { owner }] of Object.entries(photos)) {
  const act = (name, path, given) =>
    make("button", { textContent: name, disabled: !me, onclick: async () => show(await call(path, given())) });
  const text = make("input", { ariaLabel: `What you say about ${owner}'s photo`, maxLength: 200 });
  const parts = [make("h2", {}, `${owner}'s photo`), make("p"), act("Like", "/like", () => photo)];
  parts.push(act("Four friends like it", "/like-by-friends", () => photo), make("ul"), text);
  parts.push(act("Comment", "/comment", () => ({ photo, text: text.value })));
  get("photos").append(make("article", { id: photo }, ...parts));
}

const explain = async (event) => { get("why").textContent = (await call("/why", event)).join("\n"); };

let drawn = "";
const show = async () => {
  const { photos, told } = await call("/show");
  if (drawn === (drawn = JSON.stringify([photos, told]))) return;
  for (const [photo, { likes, comments }] of Object.entries(photos)) {
    get(photo).querySelector("p").textContent = `${likes} likes`;
    lines(get(photo).querySelector("ul"), comments);
  }
  lines(get("told"), told.map((event) => make("button", { textContent: event.text, onclick: () => explain(event) })));
};
await show();
setInterval(show, 1000);

if (me) {
  document.querySelector("aside").hidden = false;
  get("allow").hidden = Notification.permission === "granted";
  get("allow").onclick = async () => { get("allow").hidden = (await Notification.requestPermission()) === "granted"; };
  await navigator.serviceWorker.register("/worker.js");
  const { active } = await navigator.serviceWorker.ready;
  // With a real push service the browser says where it is reached: (await registration.pushManager.subscribe(
  // {userVisibleOnly: true, applicationServerKey})).toJSON(). For null the server takes a simulated browser.
  await call("/browser", null);
  const came = [];
  setInterval(async () => {
    const outside = await call("/outside", after);
    after = outside.after;
    for (const push of outside.pushes) {
      active.postMessage(push);
      came.unshift(JSON.parse(push).body ?? "(one is taken back)");
    }
    lines(get("pushes"), came);
    lines(get("mails"), outside.mails.map(({ subject, text }) => `${subject}\n${text}`));
  }, 1000);
}
