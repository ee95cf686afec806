"""A real browser for the pages of a module, started with its first page."""

from collections.abc import Iterator

import pytest
from helpers.browser import started_browser
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started_browser() as started:
        yield started
