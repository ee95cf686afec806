"""Events as nearly all are: to one person, with ASCII texts, a flat payload and no wish for a time, a place or stages.

They are looked at in one go, in a sixth of the time that it takes to look for every error. What is not so is not wrong:
it is looked at closely (`operators.admit`).
"""

from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta

from operators.private_numbers import DIGITS_MIN, count_digits
from state.model.documents import PAYLOAD_BYTES_MAX, Document, Exact
from state.model.event import RawEvent

_Short = Annotated[str, Meta(min_length=1, max_length=256)]
"""`Text` but for its characters: those of all texts of an event are looked at together."""
_FLAT = frozenset((str, int, bool, type(None)))


class PlainEvent(Document):
    """The members of `NewEvent` that such an event has."""

    type: _Short
    target: _Short
    event_id: _Short | None = None
    idempotency_key: _Short | None = None
    priority: Literal["P1", "P2"] | None = None
    fan_out_type: Literal["DIRECT"] | None = None
    actor: _Short | None = None
    object: _Short | None = None
    payload: dict[str, Any] | None = None
    ttl_ms: Exact | None = None
    created_at: Exact | None = None

    def raw(self, sender_id: str, event_id: str) -> RawEvent:
        """As any other event that was sent."""
        return RawEvent(
            event_id=event_id, type=self.type, priority=self.priority, sender_id=sender_id, actor=self.actor,
            target=self.target, object=self.object, payload=self.payload, ttl_ms=self.ttl_ms,
            idempotency_key=self.idempotency_key, created_at=self.created_at,
        )  # fmt: skip


def plain_event(body: Any) -> PlainEvent | None:
    """The event, if it is such a one: then no member is wrong by itself."""
    try:
        event = msgspec.convert(body, PlainEvent)
    except msgspec.ValidationError:
        return None
    texts = f"{event.type}{event.target}{event.event_id}{event.idempotency_key}{event.actor}{event.object}"
    if not (texts.isascii() and texts.isprintable()):
        return None
    return event if event.payload is None or _is_plain_payload(event.payload) else None


def _is_plain_payload(payload: dict[str, Any]) -> bool:
    """Whether it is flat and in ASCII, and has too few digits for a number that a lock screen must not show."""
    if not _FLAT.issuperset(map(type, payload.values())):
        return False
    try:
        encoded = orjson.dumps(payload)
    except orjson.JSONEncodeError:
        return False
    return len(encoded) <= PAYLOAD_BYTES_MAX and encoded.isascii() and count_digits(encoded) < DIGITS_MIN
