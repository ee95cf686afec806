"""A real browser: Debian's Chromium, driven by Playwright's own client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from helpers.places import ROOT
from playwright.sync_api import Browser, Page, expect, sync_playwright

from infra.services import require

SOON_MS = 90_000
"""How long a page may take to show what it should."""
expect.set_options(timeout=SOON_MS)


@contextmanager
def started_browser() -> Iterator[Browser]:
    """One browser without windows. For a module at most: Playwright keeps an event loop in the thread that uses it.

    :raises ServiceError: there is no Chromium and it cannot be installed; the text says what to type.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require("chromium"), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def serious_faults(page: Page) -> list[dict[str, Any]]:
    """What axe-core finds in the page that keeps people out: impact serious or critical."""
    found = Axe().run(page).response["violations"]
    return [fault for fault in found if fault["impact"] in ("serious", "critical")]


def pictures(otherwise: Path) -> Path:
    """Where pictures go: into the documents, if `make pictures` asks for them."""
    return ROOT / "docs" if os.environ.get("PICTURES") else otherwise


def save_picture(page: Page, path: Path) -> None:
    """A picture of what the page shows now, the same for the same page: nothing moves, no caret."""
    page.screenshot(path=path, animations="disabled", caret="hide")
