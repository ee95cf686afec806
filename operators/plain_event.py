"""Events as nearly all are: to one person, with ASCII texts, a flat payload and no wish for a time, a place or stages.

They are looked at in one go, in a sixth of the time that it takes to look for every error. What is not so is not wrong:
it is looked at closely (`operators.admit`).
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta

from operators.payload_schema import schema_errors
from operators.private_numbers import DIGITS_MIN, count_digits
from operators.render import missing_values
from state.model.admission import Sender
from state.model.documents import PAYLOAD_BYTES_MAX, Document, Exact
from state.model.errors import UNDECODABLE
from state.model.event import RawEvent
from state.model.registry import Registry, TypeProfile, names_type

_Short = Annotated[str, Meta(min_length=1, max_length=256)]
"""`Text` but for its characters: those of all texts of an event are looked at together."""
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789\n"))
"""But ends of lines."""


class PlainEvent(Document, omit_defaults=True, gc=False):
    """The members of `NewEvent` that such an event has."""

    type: _Short
    target: _Short
    event_id: _Short | None = None
    idempotency_key: _Short | None = None
    priority: Literal["P1", "P2"] | None = None
    fan_out_type: Literal["DIRECT"] | None = None
    actor: _Short | None = None
    object: _Short | None = None
    payload: dict[str, str | int | bool | None] | None = None
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
    """Whether it is in ASCII, and has too few digits for a number that a lock screen must not show."""
    try:
        encoded = orjson.dumps(payload)
    except orjson.JSONEncodeError:
        return False
    return len(encoded) <= PAYLOAD_BYTES_MAX and encoded.isascii() and count_digits(encoded) < DIGITS_MIN


_decode_all = msgspec.json.Decoder(list[PlainEvent]).decode
_encoder = msgspec.json.Encoder()


def plain_events(body: bytes) -> Sequence[PlainEvent | dict[str, Any]] | None:
    """The events of a JSON array, read and looked at together; one that may have such a number is a document.

    None: some event is no plain one, or the array says a member twice.
    """
    if not body.isascii() or b"\\" in body or b"\x7f" in body:  # else no text has a control character
        return None
    try:
        events = _decode_all(body)
    except UNDECODABLE:
        return None
    if _encoder.encode(events).count(b":") != body.count(b":"):  # a member was lost: there twice, or null
        return None
    payloads = _encoder.encode_lines([event.payload for event in events])
    digits = payloads.translate(None, _NO_DIGITS)
    return [
        event if len(of_payload) < DIGITS_MIN and len(payload) <= PAYLOAD_BYTES_MAX else msgspec.to_builtins(event)
        for event, payload, of_payload in zip(events, payloads.splitlines(), digits.splitlines(), strict=True)
    ]


class OrdinaryTypes:
    """Which types ask nothing of a plain event that it does not have, and may be sent by this sender; what follows from
    type and class alone is asked once.
    """

    def __init__(self, registry: Registry, sender: Sender) -> None:
        self._registry, self._sender = registry, sender
        self._profiles: dict[tuple[str, str | None], TypeProfile | None] = {}

    def profile(self, event: PlainEvent) -> TypeProfile | None:
        """Of its type, if it is such a one."""
        kind = event.type, event.priority
        if kind in self._profiles:
            profile = self._profiles[kind]
        else:
            profile = self._profiles[kind] = self._ask(*kind)
        if profile is None or schema_errors(profile.schema, event.payload):
            return None
        return None if missing_values(profile.name, event.payload, event.priority or profile.klass) else profile

    def _ask(self, type_name: str, priority: str | None) -> TypeProfile | None:
        profile = self._registry.profile(type_name)
        may = profile.registered and not profile.pinned and "DIRECT" in profile.fan_out and owns(self._sender, profile)
        return profile if may and "P0" != (priority or profile.klass) >= profile.klass else None


def owns(sender: Sender, profile: TypeProfile) -> bool:
    """Whether the sender may send this type: named by the type, or configured for its class; and for its name."""
    if profile.owners:
        if sender.sender_id not in profile.owners:
            return False
    elif profile.klass not in sender.classes:
        return False
    return any(names_type(pattern, profile.name) for pattern in sender.types)
