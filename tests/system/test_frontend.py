"""The page for front-end developers does what it says, with its code exactly as it stands there."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from helpers.browser import started_browser
from helpers.host_site import HostSite, serving
from helpers.places import ROOT
from helpers.react import react_scripts
from helpers.up import Up, running
from helpers.waiting import wait_for
from playwright.sync_api import Browser, Page, expect

from infra.services import require

PAGE = (ROOT / "docs" / "frontend.md").read_text(encoding="utf-8")
REACT = """
const {createElement, useEffect, useRef} = React;
const getToken = async () => (await fetch("/session/carillon-token")).text();
%s
ReactDOM.createRoot(document.body).render(createElement(Bell, {getToken}));
"""


def block(kind: str, beginning: str) -> str:
    """The code of one kind that begins so."""
    found = re.findall(rf"```{kind}\n(.*?)```", re.sub(r"(?m)^   ", "", PAGE), re.DOTALL)
    (only,) = [each for each in found if each.startswith(beginning)]
    return str(only)


def token_of(secret: str) -> str:
    """As the page's function makes it in Node."""
    script = f"{block('js', 'const {createHmac}')}\nconsole.log(carillonToken('ann', {json.dumps(secret)}))"
    done = subprocess.run([require("node"), "-e", script], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def subscription_of(system: Up, name: str) -> Any:
    """What a browser's push service would give to the page."""
    sandbox = system.directory / "sandbox"
    port = json.loads((sandbox / "ports.json").read_text())["webpush"]
    trusted = ssl.create_default_context(cafile=str(sandbox / "ca.pem"))
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/subscription/{name}", context=trusted, timeout=30) as answer:
        return json.load(answer)


def opened(browser: Browser, url: str) -> Page:
    page = browser.new_page()
    page.on("console", lambda message: print("console:", message.text))
    page.on("pageerror", lambda error: print("error:", error))
    page.goto(url)
    return page


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, HostSite, Browser]]:
    with ExitStack() as stack:
        system = stack.enter_context(running(tmp_path_factory.mktemp("system")))
        token = token_of(json.loads((system.directory / "credentials.json").read_text())["user_secret"])
        worker = block("js", "self.carillon").replace('"https://example.com/notify"', "undefined")
        module = '<script type="module" src="/components/carillon-inbox.js"></script>'
        scripts = "".join(f'<script src="{name}"></script>' for name in (*react_scripts(), "/app.js"))
        rendered = re.sub(r"<carillon-inbox ref={ref} />", 'createElement("carillon-inbox", {ref})', block("jsx", ""))
        pages = {
            "/": block("html", "<header>"), "/settings": block("html", "<carillon-preferences>"),
            "/react": f"<!doctype html><body>{module}{scripts}</body>", "/app.js": REACT % rendered,
            "/worker.js": worker, **react_scripts(),
        }  # fmt: skip
        gateway = system.first["url"].removeprefix("http://")
        site = stack.enter_context(serving(HostSite(gateway, lambda _: token, pages)))
        yield system, site, stack.enter_context(started_browser())


def mention(system: Up, name: str) -> None:
    system.post({"event_id": name, "type": "mention", "actor": "bob", "target": "ann", "object": name})


def test_ten_lines_are_enough_for_the_bell(place: tuple[Up, HostSite, Browser]) -> None:
    system, site, browser = place
    mention(system, "e1")
    for path in ("/", "/react"):
        expect(opened(browser, site.url + path).locator("[part=badge]")).to_have_text("1")


def test_the_settings_are_there_as_well(place: tuple[Up, HostSite, Browser]) -> None:
    _system, site, browser = place
    page = opened(browser, f"{site.url}/settings")
    page.get_by_role("checkbox", name="Likes", exact=True).uncheck()
    expect(page.get_by_role("status")).to_contain_text("Switched off: Likes")


def test_a_browser_registers_itself_for_pushes(place: tuple[Up, HostSite, Browser]) -> None:
    """But for the push service of its maker, which is none of this machine: a simulated one takes its place."""
    system, site, browser = place
    page = opened(browser, site.url)
    page.evaluate("(it) => (PushManager.prototype.subscribe = async () => it)", subscription_of(system, "her-browser"))
    known = "const getToken = async () => (await fetch('/session/carillon-token')).text();"
    page.evaluate(f"async () => {{ {known} {block('js', 'const registration')} }}")
    mention(system, "e2")
    wait_for(lambda: [row["to"] for row in system.provider("webpush")] == ["her-browser"], what="the push")
    (device,) = system.call("GET", "/v1/devices", bearer=site.token(""))[1]["endpoints"]
    assert device["id"] == page.evaluate("localStorage.device")


def test_a_worker_of_ones_own_loads(place: tuple[Up, HostSite, Browser]) -> None:
    _system, site, browser = place
    state = "navigator.serviceWorker.register('/worker.js').then(() => navigator.serviceWorker.ready)"
    assert opened(browser, site.url).evaluate(f"{state}.then(({{active}}) => active.scriptURL)").endswith("/worker.js")


def test_what_the_web_server_hands_on_is_all_that_is_called(place: tuple[Up, HostSite, Browser]) -> None:
    """Last: of the calls of all tests above."""
    (pattern,) = re.findall(r"location ~ (\S+) \{", PAGE)
    asked = {call.split()[1] for call in place[1].calls}
    assert len(asked) > 6
    assert [path for path in asked if not re.search(pattern, path)] == []
