"""Lists that people turn over page by page, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
ListCursor = tuple[int, ...]
"""Where a page begins; what its numbers mean, who gave it knows. Empty: with the newest."""
PAGE_WITHIN = timedelta(milliseconds=120)
"""Then a page ends, full or not, and offers to go on."""
_DIGITS_MAX = 16


class Listed(NamedTuple, Generic[T]):
    """What was found, the newest first."""

    found: Sequence[T]
    onward: ListCursor | None
    """Where the next page begins; None: there is nothing more."""
    looked_to_ms: int | None = None
    """Time was up before the page was full, and nothing older than this was looked at. None: it is full, or all was."""
    unreadable: int = 0
    """Records on the way that do not decode."""


def cursor_text(cursor: ListCursor | None) -> str | None:
    """As it stands in an address."""
    return None if cursor is None else "-".join(map(str, cursor))


def cursor_of(text: str | None) -> ListCursor | None:
    """The cursor of a text; None: it is none."""
    parts = [] if text is None else text.split("-")
    if not all(part.isascii() and part.isdigit() and len(part) < _DIGITS_MAX for part in parts):
        return None
    return tuple(map(int, parts))
