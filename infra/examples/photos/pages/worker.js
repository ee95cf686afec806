/** The service worker of Web Push: Carillon's, and what it needs to know of this site. */
self.carillon = {
  api: "$gateway",
  tokenProvider: async () => (await fetch("/carillon-token", { method: "POST", body: "null" })).json(),
};
importScripts("$gateway/components/carillon-worker.js");

// A push service wakes the worker. The simulated one cannot, so the page hands over what it took; no real site does.
self.addEventListener("message", (message) => {
  const push = new PushEvent("push", { data: message.data });
  push.waitUntil = (work) => message.waitUntil(work);
  self.dispatchEvent(push);
});
