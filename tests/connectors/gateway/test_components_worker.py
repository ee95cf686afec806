"""The service worker of Web Push in a real browser, which hands it messages as the provider makes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from helpers.browser import started_browser
from helpers.callers import ANNE
from helpers.deliveries import delivery
from helpers.gateway import Gateway, token
from helpers.host_site import HostSite, serving
from helpers.waiting import wait_for
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, Worker

from connectors.providers.push.webpush import build_notification, build_withdrawal
from state.model.content import PushContent, WithdrawalContent

PAGE = "<!doctype html><title>Host</title>"
OWN_WORKER = """
self.reports = [];
self.carillon = {
  options: {icon: "/icon.png"},
  report: async (report) => { self.reports.push(report); },
  tokenProvider: async () => (await fetch("/token?anne")).text(),
};
importScripts("/components/carillon-worker.js");
"""
CLICK = """async (kind) => {
  const waited = [], opened = [];
  ExtendableEvent.prototype.waitUntil = (work) => waited.push(work);  // events of scripts may not wait
  Clients.prototype.openWindow = async (url) => opened.push(url);     // nor open anything: nobody clicked
  const [notification] = await self.registration.getNotifications();
  self.dispatchEvent(new NotificationEvent(kind, {notification}));
  await Promise.all(waited);
  return {opened, reports: self.reports, left: (await self.registration.getNotifications()).length};
}"""
LINK = "https://shop.example.com/orders/7"


class Pushed:
    """A page with a registered worker, and the browser's own way of handing a message to it."""

    def __init__(self, browser: Browser, site: HostSite, script: str, scope: str = "/") -> None:
        self.context: BrowserContext = browser.new_context()
        self.context.grant_permissions(["notifications"], origin=site.url)
        self.page: Page = self.context.new_page()
        self.page.goto(site.url)
        self._origin = site.url
        self._session: CDPSession = self.context.new_cdp_session(self.page)
        self._numbers: dict[str, str] = {}
        self._handed: list[bytes] = []
        """Since it last showed what it should."""
        self._session.on("ServiceWorker.workerRegistrationUpdated", self._registered)
        self._session.send("ServiceWorker.enable")
        with self.context.expect_event("serviceworker") as started:
            self.page.evaluate(
                "async ([path, scope]) => { await navigator.serviceWorker.register(path, {scope});"
                " await navigator.serviceWorker.ready; }", [script, scope],
            )  # fmt: skip
        self.worker: Worker = started.value

    def _registered(self, event: dict[str, Any]) -> None:
        self._numbers.update({each["scopeURL"]: each["registrationId"] for each in event["registrations"]})

    def push(self, data: bytes) -> None:
        self._handed.append(data)
        self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        message = {"origin": self._origin, "registrationId": self._numbers[f"{self._origin}/"], "data": data.decode()}
        self._session.send("ServiceWorker.deliverPushMessage", message)

    def shown(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.worker.evaluate(
            "async () => (await self.registration.getNotifications())"
            ".map(({title, body, tag, icon, data, silent}) => ({title, body, tag, icon, data, silent}))"
        )
        return found

    def shows(self, *bodies: str) -> None:
        """Wait for these, in the order of their texts; what else was seen meanwhile is said at the end.

        Once in thirty times Chromium without windows shows nothing of the first message, although the worker got it and
        asked for it. So the same is handed over again after a while, which changes nothing where it was shown.
        """
        seen: list[list[str]] = []
        again = time.monotonic() + 8

        def right() -> bool:
            nonlocal again
            if time.monotonic() > again:
                again += 8
                for data in self._handed:
                    self._deliver(data)
            now = sorted(one["body"] for one in self.shown())
            if now not in seen:
                seen.append(now)
            return now == [*bodies]

        wait_for(right, 60, lambda: str(seen))
        self._handed.clear()


def message(body: str, *, key: str = "k1", collapse: str | None = None, **data: str) -> bytes:
    content = PushContent("Shop", body, (("event_id", "e1"), *data.items()))
    return build_notification(content, delivery(content, provider_id=key, collapse=collapse))


def replacement(body: str, *, collapse: str) -> bytes:
    content = PushContent("Shop", body, (("event_id", "e1"),), replaces=True)
    return build_notification(content, delivery(content, provider_id="r1", collapse=collapse))


def withdrawal(collapse: str) -> bytes:
    return build_withdrawal(delivery(WithdrawalContent(), collapse=collapse))


@pytest.fixture(scope="module")
def place(gateway: Gateway) -> Iterator[tuple[Browser, HostSite]]:
    with ExitStack() as stack:
        pages = {"/": PAGE, "/worker.js": OWN_WORKER}
        site = stack.enter_context(serving(HostSite(f"127.0.0.1:{gateway.port}", token, pages)))
        yield stack.enter_context(started_browser()), site


def test_it_shows_replaces_and_takes_back(place: tuple[Browser, HostSite]) -> None:
    pushed = Pushed(*place, "/components/carillon-worker.js")
    pushed.push(message("Ada liked it", collapse="photo1"))
    pushed.shows("Ada liked it")
    assert pushed.shown()[0]["title"] == "Shop"
    pushed.push(message("Ada and Eve liked it", key="k2", collapse="photo1"))
    pushed.shows("Ada and Eve liked it")
    pushed.push(replacement("Eve liked it", collapse="photo1"))
    pushed.shows("Eve liked it")
    assert pushed.shown()[0]["silent"]
    pushed.push(message("Ada and Eve liked it", key="k4", collapse="photo1"))
    pushed.shows("Ada and Eve liked it")
    pushed.push(withdrawal("another"))
    pushed.push(replacement("Nobody sees it", collapse="another"))
    pushed.push(message("A code", key="k3"))
    pushed.push(message("A code", key="k3"))
    pushed.shows("A code", "Ada and Eve liked it")
    pushed.push(withdrawal("photo1"))
    pushed.shows("A code")
    pushed.context.close()


def test_what_others_sent_is_left_alone(place: tuple[Browser, HostSite]) -> None:
    pushed = Pushed(*place, "/components/carillon-worker.js")
    for other in (b"no JSON", b"null", b'{"title":"Theirs","data":{}}', b'{"withdraw":true}'):
        pushed.push(other)
    pushed.push(message("Ours"))
    pushed.shows("Ours")
    pushed.context.close()


@pytest.mark.parametrize(
    ("kind", "said", "opened"), [("notificationclick", "opened", [LINK]), ("notificationclose", "dismissed", [])]
)
def test_a_worker_of_the_hosts_hears_what_became_of_it(
    place: tuple[Browser, HostSite], gateway: Gateway, kind: str, said: str, opened: list[str]
) -> None:
    pushed = Pushed(*place, "/worker.js")
    pushed.push(message("It was sent", url=LINK))
    pushed.shows("It was sent")
    assert pushed.shown()[0]["icon"] == f"{place[1].url}/icon.png"
    done = pushed.worker.evaluate(CLICK, kind)
    assert done["opened"] == opened
    assert done["reports"] == [{"kind": said, "event_id": "e1", "url": LINK, "carillon_id": "k1"}]
    assert done["left"] == (0 if opened else 1)
    last = gateway.values("outcomes")[-1]
    assert (last["user"], last["event_id"], last["outcome"], last["channel"]) == (ANNE, "e1", said, "push")
    pushed.context.close()


def test_a_click_without_an_address_opens_the_site(place: tuple[Browser, HostSite]) -> None:
    pushed = Pushed(*place, "/worker.js")
    pushed.push(message("Hello"))
    pushed.shows("Hello")
    pushed.page.goto(f"{place[1].url}/worker.js")  # elsewhere on it
    assert pushed.worker.evaluate(CLICK, "notificationclick")["opened"] == [f"{place[1].url}/"]
    pushed.context.close()
