"""The component of preferences in a real browser, on a page of a host application, over a whole system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from helpers.browser import serious_faults, started_browser
from helpers.host_site import STRICT, HostSite, serving
from helpers.up import Up, running
from helpers.waiting import wait_for
from playwright.sync_api import Browser, Page, expect

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Host</title>
<script type="module" src="/components/carillon-preferences.js"></script>
<script type="module" src="/host.js"></script></head>
<body><main><h1>Settings</h1><carillon-preferences></carillon-preferences></main></body></html>
"""
SCRIPT = """
window.heard = [];
addEventListener("carillon-preferences", (event) => window.heard.push(event.detail.preferences));
const user = location.search.slice(1);
document.querySelector("carillon-preferences").tokenProvider = async () => (await fetch(`/token?${user}`)).text();
"""


@dataclass
class Host:
    system: Up
    site: HostSite
    browser: Browser

    def page(self, user: str, **options: Any) -> Page:
        page = self.browser.new_context(**options).new_page()
        page.on("console", lambda message: print("console:", message.text))
        page.goto(f"{self.site.url}/?{user}")
        expect(page.get_by_role("checkbox", name="Send me notifications")).to_be_visible()
        return page

    def call(self, method: str, user: str, body: Any = None, path: str = "/v1/preferences") -> Any:
        status, answer = self.system.call(method, path, body, bearer=self.site.token(user))
        assert status in (200, 204)
        return answer


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with ExitStack() as stack:
        system = stack.enter_context(running(tmp_path_factory.mktemp("system")))

        gateway = system.first["url"].removeprefix("http://").removesuffix("/v1")
        headers = {"content-security-policy": STRICT}
        site = HostSite(gateway, system.session, {"/": PAGE, "/host.js": SCRIPT}, headers)
        stack.enter_context(serving(site))
        yield Host(system, site, stack.enter_context(started_browser()))


def test_what_is_switched_off_is_stored_at_once_and_binds(host: Host) -> None:
    page = host.page("ann")
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    assert serious_faults(page) == []
    page.get_by_role("checkbox", name="Mentions", exact=True).uncheck()
    expect(page.get_by_role("status")).to_contain_text(
        "Your settings are stored. Switched off: Mentions. This holds from"
    )
    assert host.call("GET", "ann") == {"types": {"mention": {"enabled": False}}}
    assert page.evaluate("heard") == [{"types": {"mention": {"enabled": False}}}]
    host.system.post({"event_id": "e1", "type": "mention", "actor": "bob", "target": "ann", "object": "o"})

    def outcomes() -> list[tuple[Any, Any]]:
        records = [each for each in host.system.ledger() if each["kind"] == "decision"]
        return [(each["outcome"], each["reason"]) for each in records if each["event_id"] == "e1"]

    wait_for(lambda: outcomes() == [("SUPPRESSED", "type_off")], what="the decision")
    assert complaints == []


def test_every_field_changes_its_part_and_nothing_else(host: Host) -> None:
    stored = {
        "types": {"comment": {"channels": ["in_app", "push"]}, "unknown": {"enabled": False}},
        "unsubscribed": {"email": ["marketing", "unknown"]},
        "muted": {"actors": ["bob", "eve"], "objects": ["thread"]},
    }
    host.call("PUT", "kim", stored)
    page = host.page("kim", timezone_id="Asia/Tokyo")
    box, note = page.get_by_role("checkbox"), page.get_by_role("status")
    box.and_(page.get_by_label("Comments: E-mail")).check()
    box.and_(page.get_by_label("Likes: Push")).uncheck()
    page.get_by_label("Newsletters and offers, all of this kind: E-mail").check()
    page.get_by_label("People, all of this kind: In the app").uncheck()
    page.get_by_label("Do not disturb me during these hours").check()
    page.get_by_label("From").fill("21:30")
    page.get_by_label("Notifications a day").fill("4")
    page.get_by_label("Notifications an hour").focus()
    page.get_by_role("button", name="Hear of eve again").click()
    expect(page.get_by_role("button", name="Hear of eve again")).to_have_count(0)
    page.get_by_label("Send me notifications").uncheck()
    expect(note).to_contain_text("Switched off: Send me notifications.")
    assert host.call("GET", "kim") == {
        "types": {
            "comment": {"channels": ["in_app", "push", "email"]},
            "unknown": {"enabled": False},
            "like": {"channels": ["in_app"]},
        },
        "unsubscribed": {"email": ["unknown"], "in_app": ["social"]},
        "muted": {"actors": ["bob"], "objects": ["thread"]},
        "quiet_hours": {"enabled": True, "timezone": "Asia/Tokyo", "start": "21:30"},
        "frequency_cap": {"max_per_day": 4},
        "master": False,
    }


def test_what_another_device_changed_is_shown_and_not_overwritten(host: Host) -> None:
    page = host.page("joe")
    host.call("PATCH", "joe", {"master": False})
    page.get_by_role("checkbox", name="Mentions", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("changed elsewhere")
    expect(page.get_by_label("Send me notifications")).not_to_be_checked()
    expect(page.get_by_role("checkbox", name="Mentions", exact=True)).to_be_checked()
    assert host.call("GET", "joe") == {"master": False}


def test_what_is_changed_fast_is_stored_in_order_and_shown_as_chosen(host: Host) -> None:
    page = host.page("max")
    names = ["Likes", "Comments", "Replies", "Mentions", "Shares"]
    for name in names:
        page.get_by_role("checkbox", name=name, exact=True).uncheck()
    expect(page.get_by_role("status")).to_contain_text("Switched off: Shares.")
    for name in names:
        expect(page.get_by_role("checkbox", name=name, exact=True)).not_to_be_checked()
    off = {"enabled": False}
    assert host.call("GET", "max") == {"types": dict.fromkeys(["like", "comment", "reply", "mention", "share"], off)}


def test_what_is_wrong_is_said_and_not_stored(host: Host) -> None:
    page = host.page("lee")
    page.get_by_label("Notifications an hour").fill("-1")
    page.get_by_label("Notifications a day").focus()
    expect(page.get_by_role("alert")).to_contain_text("Notifications an hour: This is no whole number")
    page.get_by_label("Likes: Push").uncheck()
    expect(page.get_by_role("status")).to_contain_text("Switched off: Likes: Push.")
    page.get_by_label("Likes: In the app").click()
    expect(page.get_by_role("alert")).to_contain_text("switch it off")
    expect(page.get_by_label("Likes: In the app")).to_be_checked()
    assert host.call("GET", "lee") == {"types": {"like": {"channels": ["in_app"]}}}
    host.site.cut()
    page.get_by_role("checkbox", name="Mentions", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("do not know whether this was stored")
    expect(page.get_by_role("checkbox", name="Mentions", exact=True)).to_be_checked()
    host.site.mend()
    page.get_by_role("checkbox", name="Mentions", exact=True).uncheck()
    expect(page.get_by_role("status")).to_contain_text("Switched off: Mentions.")


def test_devices_are_removed_in_the_language_of_the_page(host: Host) -> None:
    phone = {"device_id": "my phone", "platform": "ios", "token": "cd" * 32}
    host.call("POST", "sam", phone, path="/v1/devices/register")
    page = host.page("sam", color_scheme="dark", viewport={"width": 360, "height": 740})
    page.evaluate("document.querySelector('carillon-preferences').lang = 'de'")
    page.get_by_role("button", name="my phone entfernen").click()
    expect(page.get_by_role("status")).to_contain_text("Entfernt: my phone.")
    assert host.call("GET", "sam", path="/v1/devices") == {"endpoints": []}
    assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than a phone"


def test_a_page_that_was_opened_without_a_network_shows_the_settings_when_it_is_back(host: Host) -> None:
    page = host.browser.new_page()
    page.goto(f"{host.site.url}/?tom")
    expect(page.get_by_role("checkbox", name="Send me notifications")).to_be_visible()
    host.site.cut()
    page.evaluate("""() => {
        document.documentElement.dir = "rtl";
        const settings = document.createElement("carillon-preferences");
        settings.tokenProvider = async () => (await fetch("/token?tom")).text();
        document.querySelector("main").replaceChildren(settings);
    }""")
    alert = page.get_by_role("alert")
    expect(alert).to_have_text("Your settings cannot be shown now. Trying again …")
    for language, text, direction in (
        ("id-ID", "Pengaturan Anda", "ltr"),
        ("ar", "لا يمكن عرض", "rtl"),
        ("sv", "Your", "ltr"),
    ):
        page.evaluate("language => { document.querySelector('carillon-preferences').lang = language; }", language)
        expect(alert).to_contain_text(text)
        assert alert.evaluate("node => getComputedStyle(node).direction") == direction
    page.evaluate("() => document.querySelector('carillon-preferences').removeAttribute('lang')")
    expect(alert).to_contain_text("Your settings")
    host.site.mend()
    hint = page.get_by_text("protects your account", exact=False).first
    expect(hint).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert hint.evaluate("node => getComputedStyle(node).direction") == "ltr", "as its words are"
    page.evaluate("() => { document.querySelector('carillon-preferences').lang = 'ar'; }")
    box = page.get_by_role("checkbox", name="أرسل إليّ الإشعارات")
    expect(box).to_be_visible()
    assert box.evaluate("node => getComputedStyle(node).direction") == "rtl"
