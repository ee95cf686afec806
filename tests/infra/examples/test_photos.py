"""The example in a real browser: two people in two windows see the bell, the mail and the push arrive, and why not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import pytest
from helpers.browser import SOON_MS, pictures, save_picture, serious_faults, started_browser
from helpers.places import ROOT
from helpers.up import START_S, STOP_S
from helpers.waiting import wait_for
from playwright.sync_api import Browser, Page, expect

SHOWN = "navigator.serviceWorker.ready.then((one) => one.getNotifications()).then((all) => all.map((one) => one.body))"

AGAIN = """async () => {
  const answer = await fetch("/outside", {method: "POST", body: "null"});
  const {active} = await navigator.serviceWorker.ready;
  for (const push of (await answer.json()).pushes) active.postMessage(push);
}"""


@dataclass
class Example:
    process: subprocess.Popen[str]
    browser: Browser
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        self.lines.extend(self.process.stdout or ())

    @property
    def urls(self) -> list[str]:
        words = " ".join(self.lines).split()
        return [word for word in words if word.startswith("http://") and not word.endswith("/console")]

    def page(self, name: str, url: str) -> Page:
        context = self.browser.new_context(viewport={"width": 1100, "height": 860})
        context.grant_permissions(["notifications"], origin=url)
        page = context.new_page()
        page.on("console", lambda message: print("console:", message.text))
        page.goto(url)
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("button", name=name, exact=True)).to_have_attribute("aria-pressed", "true")
        return page


def shows(page: Page, *bodies: str) -> None:
    """Wait for these notifications. Chromium without windows drops one of many, so they are handed over again."""
    again = time.monotonic() + 8

    def right() -> bool:
        nonlocal again
        if time.monotonic() > again:
            again += 8
            page.evaluate(AGAIN)
        return bool(page.evaluate(SHOWN) == [*bodies])

    wait_for(right, what="the notifications")


@contextmanager
def started(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """As `make example` does it, but for the directory and the ports."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "infra/sdk/python"), "CARILLON_GATEWAY__PORT": "0"}
    command = [sys.executable, "-m", "infra.examples.photos", "--data", str(directory)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)  # its children would live on, were it killed
            process.wait(STOP_S)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with ExitStack() as stack:
        process = stack.enter_context(started(tmp_path_factory.mktemp("example")))
        found = Example(process, stack.enter_context(started_browser()))
        reader = threading.Thread(target=found.read, daemon=True)
        reader.start()
        wait_for(lambda: "Ctrl-C ends both.\n" in found.lines or process.poll() is not None, START_S, "the welcome")
        yield found


def test_what_one_does_arrives_in_the_other_window_and_this_is_its_picture(example: Example, tmp_path: Path) -> None:
    first, second = example.urls
    ada, bo = example.page("Ada", first), example.page("Bo", second)
    photo = bo.locator("#harbour")
    expect(ada.locator("[part=badge]")).to_be_hidden()
    photo.get_by_role("button", name="Like", exact=True).click()
    expect(ada.locator("[part=badge]")).to_have_text("1")
    expect(ada.locator("#pushes")).to_have_text("Bo liked your photo")
    shows(ada, "Bo liked your photo")
    photo.get_by_role("button", name="Four friends like it").click()
    ada.locator("[part=bell]").click()
    expect(ada.get_by_role("listitem").filter(has_text="and 4 others liked your photo").first).to_be_visible()
    expect(ada.locator("[part=badge]")).to_have_text("1")
    expect(ada.locator("#pushes li").first).to_have_text("Dan and 3 others liked your photo")

    photo.get_by_role("textbox").fill("What a light!")
    photo.get_by_role("button", name="Comment").click()
    expect(ada.locator("[part=badge]")).to_have_text("2")
    expect(ada.locator("#mails")).to_contain_text("Bo commented on your photo")
    expect(ada.locator("#mails")).to_contain_text("What a light!")
    expect(ada.locator("#harbour")).to_contain_text("5 likes")
    expect(ada.locator("#told button")).to_have_text(["Bo comments on Ada's photo", "Bo likes Ada's photo"])
    ada.locator("#told button").last.click()
    expect(ada.locator("#why")).to_contain_text("Sent to push")
    assert [fault["id"] for fault in serious_faults(ada)] == []
    ada.locator("[part=bell]").click()
    expect(ada.get_by_role("dialog")).to_be_visible()
    save_picture(ada, pictures(tmp_path) / "example.png")


def test_a_like_that_is_taken_back_leaves_bell_and_screen(example: Example) -> None:
    cleo, bo = example.page("Cleo", example.urls[0]), example.page("Bo", example.urls[1])
    like = cleo.locator("#rooftops").get_by_role("button", name="Like", exact=True)
    like.click()
    shows(bo, "Cleo liked your photo")
    expect(bo.locator("[part=badge]")).to_have_text("1")
    like.click()
    expect(bo.locator("[part=badge]")).to_be_hidden()
    shows(bo)


def test_who_switches_likes_off_is_told_of_none_and_one_sees_why(example: Example) -> None:
    cleo, bo = example.page("Cleo", example.urls[0]), example.page("Bo", example.urls[1])
    bo.get_by_text("Your settings").click()
    bo.get_by_role("checkbox", name="Likes", exact=True).uncheck()
    expect(bo.get_by_role("status").filter(has_text="Switched off: Likes")).to_be_visible()
    cleo.locator("#rooftops").get_by_role("button", name="Like", exact=True).click()
    why = cleo.get_by_role("button", name="Cleo likes Bo's photo").first

    def said() -> bool:
        why.click()
        return "the user has switched off like" in (cleo.locator("#why").text_content() or "")

    wait_for(said, SOON_MS / 1000, lambda: str(cleo.locator("#why").text_content()), every_s=0.5)
    expect(bo.locator("[part=badge]")).to_be_hidden()
    expect(bo.locator("#pushes")).to_be_empty()


def ask(url: str) -> None:
    """Until nothing answers. Each request starts a thread in the site, which Linux may give the signal."""
    with suppress(OSError, HTTPException):
        while True:
            urllib.request.urlopen(url, timeout=5).read()


def test_ctrl_c_ends_both(example: Example) -> None:
    threading.Thread(target=ask, args=(example.urls[0],), daemon=True).start()
    example.process.send_signal(signal.SIGINT)
    assert example.process.wait(STOP_S) == 0
    assert [line for line in example.lines if line.startswith("Carillon:")] == []
