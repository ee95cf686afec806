"""What the topic `schedule` holds beside the events that are kept (TOPICS.md): orders, and answers to them."""

from typing import Literal

import msgspec

from state.model.schema import Schema


class Cancel(msgspec.Struct, frozen=True):
    """The order to cancel a kept event."""

    event_id: str


class Released(msgspec.Struct, frozen=True, omit_defaults=True):
    """The order to release a kept event, or what became of one: the answer to a cancel."""

    event_id: str
    how: Literal["released", "cancelled"]
    by: str | None = None
    """The sender who cancelled it: nobody cancels what another one sent."""


CANCEL = Schema("cancel", Cancel)
RELEASED = Schema("released", Released)
