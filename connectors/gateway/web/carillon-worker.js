/**
 * The service worker of Web Push: it shows what Carillon sends, replaces what has the same tag, takes back what is
 * withdrawn, opens what is clicked, and says what people did. Messages of others are left alone.
 *
 * A page registers it as it is, or names it in a worker of its own by importScripts, after setting `self.carillon`;
 * docs/frontend.md says what that may hold.
 */
{
  const ours = () => self.carillon ?? {};

  const messageOf = (event) => {
    try {
      return event.data.json();
    } catch {
      return null; // nothing that we sent
    }
  };

  const shown = (tag) => self.registration.getNotifications({ tag });

  const receive = async (message) => {
    if (message.withdraw) {
      for (const one of await shown(message.tag)) one.close();
      return;
    }
    const { title, body, data, replaces } = message;
    const tag = message.tag ?? data.carillon_id; // what is sent a second time has the id of the first
    if (replaces && !(await shown(tag)).length) return; // it was put away meanwhile
    const silent = replaces ? { silent: true, renotify: false } : {};
    await self.registration.showNotification(title, { ...ours().options, body, tag, data, ...silent });
  };

  const open = async (data) => {
    const url = new URL(data.url ?? self.registration.scope, self.registration.scope).href;
    const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    const page = pages.find((one) => one.url === url);
    await (page ? page.focus() : self.clients.openWindow(url));
  };

  /** What people did is told to the page's own function, and to the gateway; what does not get through is lost. */
  const report = async (kind, data) => {
    const { api, report: told, tokenProvider } = ours();
    const token = await tokenProvider?.({ refused: false });
    const body = JSON.stringify({ event_id: data.event_id, outcome: kind, channel: "push" });
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const url = `${api ?? self.location.origin}/v1/notifications/feedback`;
    await Promise.allSettled([
      told?.({ kind, ...data }),
      token && fetch(url, { method: "POST", body, headers, credentials: "omit" }),
    ]);
  };

  const isOurs = (notification) => Boolean(notification.data?.carillon_id);

  self.addEventListener("push", (event) => {
    const message = messageOf(event);
    if (message?.data?.carillon_id || (message?.withdraw && message.tag)) event.waitUntil(receive(message));
  });

  self.addEventListener("notificationclick", (event) => {
    const { notification } = event;
    if (!isOurs(notification)) return;
    notification.close();
    event.waitUntil(Promise.allSettled([open(notification.data), report("opened", notification.data)]));
  });

  self.addEventListener("notificationclose", (event) => {
    if (isOurs(event.notification)) event.waitUntil(report("dismissed", event.notification.data));
  });
}
