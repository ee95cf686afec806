"""What a person switches off on the page is not sent any more: in a real browser, from the page to the ledger."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import pictures, save_picture, serious_faults
from helpers.up import Up, running
from helpers.waiting import wait_for
from playwright.sync_api import Browser, Page, ViewportSize, expect

from flows.config.access import LINK_KEY_FILE
from state.model.unsubscribe import LinkKeys, Unsubscription

PHONE = ViewportSize(width=360, height=740)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("system")) as started:
        yield started


def opened(system: Up, browser: Browser, user: str, **options: Any) -> Page:
    """The page of a user who has a phone."""
    address = f"{sum(user.encode()):064x}"
    phone = {"platform": "ios", "address": address}
    assert system.call("PUT", f"/v1/users/{user}/endpoints/push/phone", phone)[0] == 200
    _, made = system.call("POST", f"/v1/users/{user}/preferences-link", {})
    page = browser.new_context(**options).new_page()
    page.goto(system.first["url"].removesuffix("/v1") + made["url"])
    return page


def save(page: Page, note: str = "Your settings are stored") -> None:
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text(note)


def decided(system: Up, event_id: str, user: str) -> tuple[Any, Any]:
    system.post({"event_id": event_id, "type": "mention", "actor": "bob", "target": user, "object": event_id})
    found: list[tuple[Any, Any]] = []

    def known() -> bool:
        records = [each for each in system.ledger() if each.get("event_id") == event_id and each["kind"] == "decision"]
        found.extend((each["outcome"], each["reason"]) for each in records)
        return bool(records)

    wait_for(known, what="the decision")
    return found[-1]


def test_what_is_switched_off_on_the_page_is_not_sent_any_more(system: Up, browser: Browser) -> None:
    page = opened(system, browser, "ann")
    assert decided(system, "before", "ann")[0] == "EMITTED"
    page.get_by_role("checkbox", name="Mentions").uncheck()
    save(page)
    expect(page.get_by_role("status")).to_contain_text("Switched off: Mentions")
    expect(page.get_by_role("status")).to_contain_text("This holds from")
    assert decided(system, "after", "ann") == ("SUPPRESSED", "type_off")
    page.get_by_role("checkbox", name="Mentions").check()
    save(page)
    assert decided(system, "again", "ann")[0] == "EMITTED"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_keeps_nobody_out_and_this_is_its_picture(
    system: Up, browser: Browser, scheme: str, tmp_path: Path
) -> None:
    page = opened(system, browser, "eve", viewport=PHONE, color_scheme=scheme)
    assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than a phone"
    if scheme == "light":
        save_picture(page, pictures(tmp_path) / "preferences.png")
    page.get_by_label("Notifications a day").evaluate("field => { field.type = 'text'; field.value = 'many'; }")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_be_focused()
    assert serious_faults(page) == []
    page.get_by_role("link", name="Notifications a day").click()
    expect(page.get_by_label("Notifications a day")).to_be_focused()
    expect(page.get_by_label("Notifications a day")).to_have_attribute("aria-invalid", "true")


def test_the_page_is_used_by_keyboard_alone(system: Up, browser: Browser) -> None:
    page = opened(system, browser, "kim")
    expect(page.get_by_role("checkbox", name="Likes")).to_be_checked()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "on:like":
            break
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Switched off: Likes")
    expect(page.get_by_role("status")).to_be_focused()
    expect(page).to_have_title(re.compile("^Your settings are stored"))


def test_the_browsers_time_zone_is_proposed_and_never_replaces_one_that_is_stored(system: Up, browser: Browser) -> None:
    page = opened(system, browser, "joe", timezone_id="Asia/Tokyo")
    zone = page.get_by_label("Time zone")
    expect(zone).to_have_value("Asia/Tokyo")
    page.get_by_label("Do not disturb me during these hours").check()
    zone.select_option("Europe/Paris")
    save(page)
    expect(page.get_by_label("Time zone")).to_have_value("Europe/Paris")
    elsewhere = opened(system, browser, "joe", timezone_id="America/Lima")
    expect(elsewhere.get_by_label("Time zone")).to_have_value("Europe/Paris")


def test_all_works_without_a_script(system: Up, browser: Browser) -> None:
    page = opened(system, browser, "sam", java_script_enabled=False)
    expect(page.get_by_label("Time zone")).to_have_value("")
    page.get_by_role("checkbox", name="Remove phone").check()
    save(page)
    expect(page.get_by_role("status")).to_contain_text("Removed: phone")
    save(page, "Nothing was changed.")


def test_who_unsubscribes_may_choose_less_instead(system: Up, browser: Browser) -> None:
    keys = LinkKeys([(system.directory / LINK_KEY_FILE).read_bytes()])
    page = browser.new_context(viewport=PHONE).new_page()
    address = system.first["url"].removesuffix("/v1")
    page.goto(f"{address}/v1/unsubscribe/{keys.sign(Unsubscription('max', 'email', ('social',), 1))}")
    assert serious_faults(page) == []
    page.get_by_label("Mentions").select_option("not at all")
    page.get_by_role("button", name="Choose less").click()
    expect(page.get_by_role("status")).to_contain_text("Mentions: not at all")
    assert serious_faults(page) == []
    assert decided(system, "less", "max") == ("SUPPRESSED", "type_off")
    page.get_by_role("button", name="Unsubscribe").click()
    expect(page.get_by_text("You get no more mails of this kind: People.")).to_be_visible()
