"""What a user says of single rows of his inbox: read, unread, archived (RULES 3.G)."""

from typing import Literal

import msgspec

from state.model.event import SafeInt

RowStatus = Literal["read", "unread", "archived"]


class NamedRow(msgspec.Struct, frozen=True):
    """A row as the user saw it."""

    type: str
    event_id: str
    """Of the event that began it."""
    at: SafeInt
    """Time of its latest item: what came later was not seen."""
    object: str | None = None
