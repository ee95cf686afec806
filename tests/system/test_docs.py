"""The examples of the page /docs run as they stand there, and the page keeps nobody out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import save_picture, serious_faults
from helpers.places import ROOT
from helpers.up import Up, running
from playwright.sync_api import Browser, Page, expect

from infra.services import require

PHONE: Any = {"width": 320, "height": 640}
SOURCE = re.compile(r'<h4 id="[\w-]+">(\w+)</h4>\s*<pre [^>]*><code>(.*?)</code></pre>', re.DOTALL)
SDK = ROOT / "infra/sdk"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("system")) as started:
        yield started


def address(system: Up) -> str:
    return f"{system.first['url']}/docs"


def shown(system: Up, browser: Browser, **options: Any) -> Page:
    page = browser.new_context(**options).new_page()
    page.goto(address(system))
    return page


def examples(system: Up) -> list[tuple[str, str]]:
    """Language and text of each, from the page."""
    text = subprocess.run(["curl", "-sS", address(system)], capture_output=True, text=True, check=True).stdout
    return [(language, unescape(source)) for language, source in SOURCE.findall(text)]


def test_each_example_runs_as_it_stands(system: Up, tmp_path: Path) -> None:
    shutil.copytree(SDK / "javascript", tmp_path / "node_modules/carillon-client")
    commands = {"curl": ["sh", "-eu"], "Python": [sys.executable], "JavaScript": [require("node")]}
    environment = {
        **os.environ,
        "PYTHONPATH": str(SDK / "python"),
        "CARILLON_URL": f"{system.first['url']}/v1",
        "CARILLON_KEY": system.first["keys"]["producer"],
        "CARILLON_TOKEN": system.carillon("token", "grace").stdout.strip(),
    }
    found = examples(system)
    assert [language for language, _ in found] == [*commands] * 5
    for place, (language, text) in enumerate(found):
        file = tmp_path / f"example{place}.{'mjs' if language == 'JavaScript' else 'txt'}"
        file.write_text(text)
        done = subprocess.run(
            [*commands[language], file.name],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (text, done.stderr)
        assert "about:blank" not in done.stdout, (text, done.stdout)
        assert done.stdout.strip(), text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_keeps_nobody_out(system: Up, browser: Browser, scheme: str, tmp_path: Path) -> None:
    page = shown(system, browser, viewport=PHONE, color_scheme=scheme)
    assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than a phone"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 22, 22)"}[scheme]
    save_picture(page, tmp_path / f"docs-{scheme}.png")


def test_the_page_is_read_by_keyboard_alone(system: Up, browser: Browser) -> None:
    page = shown(system, browser)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Cancel an event kept for later":
            break
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#cancelNotification$"))
    expect(page.get_by_role("heading", name="Cancel an event kept for later")).to_be_in_viewport()
    page.get_by_role("region", name="Where to call and as whom").focus()
    expect(page.get_by_role("region", name="Where to call and as whom")).to_be_focused()
