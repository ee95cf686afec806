"""The bell and its list in a real browser, on pages of a host application, over a whole system."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import SOON_MS, pictures, save_picture, serious_faults, started_browser
from helpers.host_site import STRICT, HostSite, serving
from helpers.places import ROOT
from helpers.react import react_scripts
from helpers.up import Up, running
from helpers.waiting import wait_for
from playwright.sync_api import Browser, BrowserContext, Page, expect

PAGE = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><title>Host</title>
<script type="module" src="/components/carillon-inbox.js"></script>
<script type="module" src="/host.js"></script></head>
<body><header><h1>A shop</h1><carillon-inbox limit="20"></carillon-inbox></header>
<main><p>Goods</p></main></body></html>
"""
REACT_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Host</title>
<script type="module" src="/components/carillon-inbox.js"></script></head>
<body><div id="app"></div><script src="/react.js"></script><script src="/react-dom.js"></script>
<script src="/app.js"></script></body></html>
"""
REACT_SCRIPT = """
const {createElement: make, useEffect, useRef, useState} = React;
function Bell({user}) {
  const ref = useRef(null);
  const [unread, setUnread] = useState(null);
  useEffect(() => {
    const inbox = ref.current;
    const heard = (event) => setUnread(event.detail.unread);
    inbox.addEventListener("carillon-unread", heard);
    inbox.tokenProvider = async () => (await fetch(`/token?${user}`)).text();
    return () => inbox.removeEventListener("carillon-unread", heard);
  }, [user]);
  return make("p", null, make("carillon-inbox", {ref}), make("output", null, `${user}: ${unread}`));
}
function App() {
  const [user, setUser] = useState(location.search.slice(1));
  const choose = (name) => make("button", {key: name, onClick: () => setUser(name)}, name || "nobody");
  return make("main", null, make("h1", null, "A shop"), user && make(Bell, {user}), ["uma", "vic", ""].map(choose));
}
ReactDOM.createRoot(document.getElementById("app")).render(make(App));
"""
SCRIPT = """
window.heard = [];
for (const name of ["unread", "rows", "select", "read", "toggle", "trouble"])
  addEventListener(`carillon-${name}`, (event) => window.heard.push([name, event.detail]));
const inbox = (window.inbox = document.querySelector("carillon-inbox"));
const user = location.search.slice(1);
inbox.tokenProvider = async () => (await fetch(`/token?${user}`)).text();
"""
PICTURED: list[tuple[str, str, dict[str, str]]] = [
    ("comment", "Grace", {"object_label": "photo"}), ("reply", "Eve", {}), ("like", "Max", {"object_label": "photo"}),
]  # fmt: skip


@dataclass
class Host:
    system: Up
    site: HostSite
    browser: Browser

    def mention(self, user: str, *numbers: int, **more: Any) -> None:
        for number in numbers:
            event = {"event_id": f"{user}{number}", "type": "mention", "target": user, "object": f"o{number}"}
            self.system.post({**event, "actor": "bob", "payload": {"actor_name": f"number {number}", **more}})

    def unread(self, user: str) -> int:
        """As the gateway counts it."""
        _, page = self.system.call("GET", "/v1/notifications/inbox", bearer=self.system.session(user))
        return int(page["unread"])

    def page(self, user: str, *, path: str = "/", context: BrowserContext | None = None, **options: Any) -> Page:
        page = (context or self.browser.new_context(**options)).new_page()
        page.on("console", lambda message: print("console:", message.text))
        page.goto(f"{self.site.url}{path}?{user}")
        return page


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with ExitStack() as stack:
        site = stack.enter_context(serving(HostSite("", str, {})))
        environment = {"CARILLON_GATEWAY__ALLOWED_ORIGINS": site.url}
        system = stack.enter_context(running(tmp_path_factory.mktemp("system"), environment=environment))

        gateway = system.first["url"].removesuffix("/v1")
        site.gateway, site.token = gateway.removeprefix("http://"), system.session
        site.pages = {
            "/": PAGE.format(lang="en"), "/ar": PAGE.format(lang="ar"), "/host.js": SCRIPT,
            "/far": PAGE.format(lang="en").replace("/components/", f"{gateway}/components/"),
            "/react": REACT_PAGE, "/app.js": REACT_SCRIPT, **react_scripts(),
        }  # fmt: skip
        yield Host(system, site, stack.enter_context(started_browser()))


def test_the_bell_shows_what_is_unread_and_the_list_what_it_is(host: Host) -> None:
    host.mention("ann", 1, 2, 3)
    page = host.page("ann")
    bell = page.get_by_role("button", name="Notifications, 3 unread")
    expect(bell).to_have_attribute("aria-expanded", "false")
    expect(page.locator("[part=badge]")).to_have_text("3")
    bell.click()
    expect(page.get_by_role("dialog", name="Notifications")).to_be_visible()
    expect(page.get_by_role("listitem")).to_have_count(3)
    assert serious_faults(page) == []
    host.mention("ann", 4)
    expect(page.locator("[part=badge]")).to_have_text("4")
    expect(page.get_by_role("listitem").first).to_contain_text("number 4")
    page.get_by_role("button", name="Mark all as read").press("Enter")
    expect(page.locator("[part=badge]")).to_be_hidden()
    expect(page.locator("[part~=unread]")).to_have_count(0)
    expect(page.locator("[part=link]").first).to_be_focused()
    assert serious_faults(page) == []


def test_tabs_of_a_browser_agree_and_share_one_stream(host: Host) -> None:
    context = host.browser.new_context()
    host.mention("eve", 1)
    host.site.calls.clear()
    first, second, third = (host.page("eve", context=context) for _ in range(3))
    tabs = [first, second, third]

    def all_show(count: str) -> None:
        for tab in tabs:
            expect(tab.locator("[part=badge]")).to_have_text(count)

    all_show("1")
    host.mention("eve", 2)
    all_show("2")
    streams = [call for call in host.site.calls if "/stream" in call]
    assert len(streams) == 1, "one stream for all"
    first.close()
    tabs.remove(first)
    host.mention("eve", 3)
    all_show("3")
    third.locator("[part=bell]").click()
    third.locator("[part=link]").last.click()
    all_show("2")
    second.locator("[part=bell]").click()
    expect(second.locator("[part~=unread]")).to_have_text([re.compile("number 3"), re.compile("number 2")])
    third.get_by_role("button", name="Mark all as read").click()
    for tab in tabs:
        expect(tab.locator("[part=badge]")).to_be_hidden()
    context.close()


def test_what_was_missed_while_the_network_was_away_is_there_when_it_is_back(host: Host) -> None:
    host.mention("kim", 1)
    page = host.page("kim")
    expect(page.locator("[part=badge]")).to_have_text("1")
    host.site.cut()
    page.locator("[part=bell]").click()
    expect(page.locator("[part=trouble]")).to_be_visible()
    host.mention("kim", 2, 3)
    assert page.locator("[part=badge]").text_content() == "1"
    host.site.mend()
    expect(page.locator("[part=badge]")).to_have_text("3")
    expect(page.locator("[part=trouble]")).to_be_hidden()
    expect(page.get_by_role("listitem")).to_have_count(3)


def test_a_connection_that_died_without_a_word_is_replaced(host: Host) -> None:
    host.mention("sue", 1)
    page = host.browser.new_context().new_page()
    page.clock.install()
    page.goto(f"{host.site.url}/?sue")
    expect(page.locator("[part=badge]")).to_have_text("1")
    streams = [call for call in host.site.calls if "/stream" in call]
    host.site.silence()
    host.mention("sue", 2)
    wait_for(lambda: host.unread("sue") == 2, what="the second row")
    assert page.locator("[part=badge]").text_content() == "1"
    page.clock.fast_forward(41_000)
    expect(page.locator("[part=badge]")).to_have_text("2")
    assert len([call for call in host.site.calls if "/stream" in call]) > len(streams)


def test_a_page_that_was_opened_without_a_network_begins_when_it_is_there(host: Host) -> None:
    host.mention("joy", 1)
    page = host.page("joy")
    page.evaluate("""() => {
        const inbox = document.querySelector('carillon-inbox');
        let tries = 0;
        inbox.tokenProvider = async () => {
            if (tries++ < 2) throw new TypeError('no network');
            return (await fetch('/token?joy')).text();
        };
    }""")
    expect(page.locator("[part=badge]")).to_have_text("1")
    host.mention("joy", 2)
    expect(page.locator("[part=badge]")).to_have_text("2")
    page.evaluate("dispatchEvent(new Event('online'))")
    host.mention("joy", 3)
    expect(page.locator("[part=badge]")).to_have_text("3")
    failed = page.evaluate("heard.filter(([name]) => name === 'trouble').length")
    assert failed >= 1


def test_tabs_without_a_stream_of_their_own_know_when_the_network_is_back(host: Host) -> None:
    context = host.browser.new_context()
    tabs = [host.page("ned", context=context) for _ in range(2)]
    for tab in tabs:
        tab.locator("[part=bell]").click()
        expect(tab.get_by_text("Nothing here yet.")).to_be_visible()
    host.site.cut()
    for tab in tabs:
        tab.evaluate("dispatchEvent(new Event('online'))")
        expect(tab.locator("[part=trouble]")).to_be_visible()
    host.site.mend()
    for tab in tabs:
        expect(tab.locator("[part=trouble]")).to_be_hidden()
    context.close()


def test_a_gateway_that_starts_again_is_heard_again_in_all_tabs(host: Host) -> None:
    host.mention("lee", 1)
    context = host.browser.new_context()
    tabs = [host.page("lee", context=context) for _ in range(2)]
    for tab in tabs:
        tab.locator("[part=bell]").click()
        expect(tab.get_by_role("listitem")).to_have_count(1)
    host.mention("lee", 2)
    host.system.kill("gateway")
    host.mention("lee", 3)
    for tab in tabs:
        expect(tab.locator("[part=badge]")).to_have_text("3")
        expect(tab.locator("[part=row-body]")).to_have_text([re.compile(f"number {number}") for number in (3, 2, 1)])
    context.close()


def test_older_rows_come_as_one_goes_down_and_stay(host: Host) -> None:
    host.mention("max", *range(1, 61))
    page = host.page("max")
    expect(page.locator("[part=badge]")).to_have_text("60")
    page.locator("[part=bell]").click()
    rows = page.get_by_role("listitem")
    expect(rows.first).to_contain_text("number 60")

    def all_came() -> bool:
        page.keyboard.press("End")
        return rows.count() == 60

    wait_for(all_came, SOON_MS / 1000, "all rows")
    texts = rows.locator("[part=row-body]").all_text_contents()
    assert [text.split()[1] for text in texts] == [str(number) for number in range(60, 0, -1)]
    expect(page.locator("[part=older]")).to_be_hidden()
    page.keyboard.press("End")
    expect(rows.last.locator("[part=link]")).to_be_focused()
    host.mention("max", 61)
    expect(rows).to_have_count(61)
    expect(rows.last.locator("[part=link]")).to_be_focused()
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.locator("[part~=unread]")).to_have_count(0)
    assert rows.count() == 61


def test_a_keyboard_is_enough(host: Host) -> None:
    host.mention("pat", 1, 2)
    page = host.page("pat")
    expect(page.locator("[part=badge]")).to_have_text("2")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    links = page.locator("[part=link]")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("Home")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("Enter")
    selected = page.evaluate("heard.filter(([name]) => name === 'select').map(([, {row}]) => row.first_event_id)")
    assert selected == ["pat2"]
    expect(page.locator("[part=badge]")).to_have_text("1")
    expect(page.locator("[part~=unread]")).to_have_text(re.compile("number 1"))
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("[part=bell]")).to_be_focused()


def test_a_strict_policy_without_inline_script_or_style_is_enough(host: Host) -> None:
    host.mention("sam", 1)
    strict = HostSite(host.site.gateway, host.site.token, host.site.pages, {"content-security-policy": STRICT})
    with serving(strict) as site:
        page = replace(host, site=site).page("sam")
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        expect(page.locator("[part=badge]")).to_have_text("1")
        assert page.locator("[part=badge]").evaluate("node => getComputedStyle(node).position") == "absolute"
        page.locator("[part=bell]").click()
        expect(page.get_by_role("listitem")).to_have_count(1)
        assert page.locator("[part=panel]").evaluate("node => node.getBoundingClientRect().left >= 0")
        host.mention("sam", 2)
        expect(page.locator("[part=badge]")).to_have_text("2")
        page.get_by_role("listitem").last.get_by_role("button").click()
        expect(page.locator("[part=badge]")).to_have_text("1")
        assert complaints == []


def test_it_speaks_the_language_of_the_page_in_its_direction(host: Host) -> None:
    host.mention("nur", 1)
    page = host.page("nur", path="/ar")
    page.get_by_role("button", name="الإشعارات").click()
    expect(page.get_by_role("heading", name="الإشعارات")).to_be_visible()
    row = page.get_by_role("listitem")
    expect(row).to_be_visible()
    assert row.evaluate("node => getComputedStyle(node).direction") == "rtl"
    panel, bell, badge = (page.locator(f"[part={name}]").bounding_box() for name in ("panel", "bell", "badge"))
    assert panel is not None
    assert bell is not None
    assert badge is not None
    assert abs(panel["x"] - bell["x"]) < 2, "the list ends where the bell does, at its left"
    assert badge["x"] < bell["x"] + bell["width"] / 2, "the badge is at its left"
    assert serious_faults(page) == []
    page.evaluate("document.querySelector('carillon-inbox').lang = 'de'")
    expect(page.get_by_role("heading", name="Benachrichtigungen")).to_be_visible()
    assert row.evaluate("node => getComputedStyle(node).direction") == "ltr"


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
@pytest.mark.parametrize("side", ["start", "end"])
def test_the_list_stays_in_the_window_wherever_the_bell_is(host: Host, direction: str, side: str) -> None:
    host.mention("fay", 1)
    page = host.page("fay", viewport={"width": 390, "height": 700})
    page.evaluate("direction => { document.documentElement.dir = direction }", direction)
    page.add_style_tag(content=f"header {{ display: grid; justify-items: {side} }}")
    page.locator("[part=bell]").click()
    expect(page.get_by_role("listitem")).to_have_count(1)
    for width in (390, 320, 900):
        page.set_viewport_size({"width": width, "height": 700})
        page.wait_for_function(
            """width => {
            const {left, right} = inbox.shadowRoot.querySelector("[part=panel]").getBoundingClientRect();
            return right > left && left >= 0 && right <= width;
        }""",
            arg=width,
        )
    page.add_style_tag(content=f"header {{ justify-items: {'end' if side == 'start' else 'start'} }}")
    page.wait_for_function("inbox.shadowRoot.querySelector('[part=panel]').getBoundingClientRect().right <= innerWidth")
    page.wait_for_function("inbox.shadowRoot.querySelector('[part=panel]').getBoundingClientRect().left >= 0")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the window"


def test_a_page_renders_rows_itself_and_hears_of_everything(host: Host) -> None:
    host.mention("ray", 1)
    page = host.page("ray")
    page.evaluate("""() => {
        inbox = document.querySelector('carillon-inbox');
        inbox.renderRow = ({first_event_id: name}) =>
            Object.assign(document.createElement('b'), {textContent: `own ${name}`});
        inbox.words = {title: 'Messages'};
        inbox.style.setProperty('--carillon-badge', 'rgb(1, 2, 3)');
    }""")
    page.get_by_role("button", name="Messages, 1 unread").click()
    expect(page.locator("carillon-inbox > b")).to_have_text("own ray1")
    expect(page.locator("carillon-inbox > b")).to_be_visible()
    colour = "node => getComputedStyle(node).backgroundColor"
    assert page.locator("[part=badge]").evaluate(colour) == "rgb(1, 2, 3)"
    host.mention("ray", 2)
    expect(page.locator("carillon-inbox > b")).to_have_text(["own ray1", "own ray2"])
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.locator("[part=badge]")).to_be_hidden()
    page.wait_for_function("heard.some(([name]) => name === 'read')")
    heard = page.evaluate("heard.map(([name, detail]) => [name, detail.unread ?? detail.open ?? null])")
    unread = [count for name, count in heard if name == "unread"]
    assert unread[unread[0] == 0 :] == [1, 2, 0]  # none at first, where the row came behind the page
    assert ["toggle", True] in heard
    page.evaluate("inbox.tokenProvider = async () => null")
    expect(page.locator("carillon-inbox > b")).to_have_count(0)


def test_a_page_gives_it_its_looks_and_elements_of_its_own(host: Host) -> None:
    host.mention("ivy", 1)
    page = host.page("ivy")
    page.add_style_tag(
        content="carillon-inbox { --carillon-surface: rgb(1, 2, 3); --carillon-unread: rgb(4, 5, 6);"
        " --carillon-text: rgb(250, 250, 250); --carillon-width: 300px }"
        " carillon-inbox::part(row-body) { color: rgb(7, 8, 9) } carillon-inbox::part(bell) { border: 3px solid }"
    )
    page.evaluate("""() => {
        for (const [slot, text] of [["bell", "B"], ["title", "News"], ["footer", "All of them"], ["empty", "Empty"]])
            inbox.append(Object.assign(document.createElement("b"), {slot, textContent: text}));
        inbox.append(Object.assign(document.createElement("i"), {slot: "row-ivy1", textContent: "mine"}));
    }""")
    page.locator("[part=bell]").click()
    for text in ("B", "News", "All of them", "mine"):
        expect(page.get_by_text(text, exact=True)).to_be_visible()
    expect(page.get_by_role("dialog", name="News")).to_be_visible()
    expect(page.get_by_text("Empty", exact=True)).to_be_hidden()
    expect(page.locator("[part=row-body]")).to_be_hidden()
    looks = "(node, name) => getComputedStyle(node)[name]"
    for part, name, value in (
        ("panel", "backgroundColor", "rgb(1, 2, 3)"), ("panel", "width", "300px"),
        ("panel", "color", "rgb(250, 250, 250)"), ("row", "backgroundColor", "rgb(4, 5, 6)"),
        ("bell", "borderTopWidth", "3px"),
    ):  # fmt: skip
        assert page.locator(f"[part~={part}]").evaluate(looks, name) == value
    document = (ROOT / "docs" / "frontend.md").read_text().partition("\nParts, ")[2].partition("\n\n")[0]
    parts = page.evaluate("[...inbox.shadowRoot.querySelectorAll('[part]')].flatMap((node) => [...node.part])")
    assert set(parts) == set(re.findall(r"`([a-z-]+)`", document))
    page.evaluate("inbox.querySelector('i').remove()")
    assert page.locator("[part=row-body]").evaluate(looks, "color") == "rgb(7, 8, 9)"


def test_a_token_that_is_refused_is_asked_for_anew(host: Host) -> None:
    host.mention("tom", 1)
    page = host.page("tom")
    page.evaluate("""() => {
        inbox = document.querySelector('carillon-inbox');
        asked = [];
        inbox.tokenProvider = async ({refused}) => {
            asked.push(refused);
            return refused ? (await fetch('/token?tom')).text() : 'old';
        };
    }""")
    expect(page.locator("[part=badge]")).to_have_text("1")
    assert {True, False} == set(page.evaluate("asked"))


def test_react_shows_it_for_whoever_is_signed_in(host: Host) -> None:
    host.mention("uma", 1)
    host.mention("vic", 1, 2)
    page = host.page("uma", path="/react")
    expect(page.locator("[part=badge]")).to_have_text("1")
    expect(page.get_by_role("status").first).to_have_text("uma: 1")
    page.get_by_role("button", name="vic").click()
    expect(page.locator("[part=badge]")).to_have_text("2")
    expect(page.get_by_role("status").first).to_have_text("vic: 2")
    host.mention("vic", 3)
    expect(page.locator("[part=badge]")).to_have_text("3")
    page.get_by_role("button", name="nobody").click()
    expect(page.locator("carillon-inbox")).to_have_count(0)
    page.get_by_role("button", name="uma").click()
    expect(page.locator("[part=badge]")).to_have_text("1")
    assert serious_faults(page) == []


def test_a_picture_of_it_is_in_the_documents(host: Host, tmp_path: Path) -> None:
    for number, (kind, actor, payload) in enumerate(PICTURED):
        event = {"event_id": f"kay{number}", "type": kind, "actor": actor, "target": "kay", "object": f"o{number}"}
        host.system.post({**event, "payload": {"actor_name": actor, **payload}})
    page = host.page("kay", viewport={"width": 640, "height": 440}, device_scale_factor=1)
    page.add_style_tag(content="header { display: flex; justify-content: space-between; padding: 0 1rem }")
    page.locator("[part=bell]").click()
    expect(page.get_by_role("listitem")).to_have_count(len(PICTURED))
    page.get_by_role("button", name="Mark all as read").click()
    host.mention("kay", 10, actor_name="Ada")
    expect(page.get_by_role("listitem")).to_have_count(len(PICTURED) + 1)
    page.evaluate("document.activeElement.shadowRoot.activeElement.blur()")
    save_picture(page, pictures(tmp_path) / "inbox.png")


def test_a_gateway_on_another_site_is_used_directly(host: Host) -> None:
    host.mention("kat", 1)
    page = host.page("kat", path="/far")
    expect(page.locator("[part=badge]")).to_have_text("1")
    host.mention("kat", 2)
    expect(page.locator("[part=badge]")).to_have_text("2")
    page.locator("[part=bell]").click()
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.locator("[part=badge]")).to_be_hidden()
    asked = page.evaluate("performance.getEntriesByType('resource').map(({name}) => name)")
    assert len([url for url in asked if "/v1/" in url and url.startswith(f"http://{host.site.gateway}/")]) >= 2
    assert [url for url in asked if url.startswith(f"{host.site.url}/v1/")] == []
