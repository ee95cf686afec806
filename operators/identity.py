"""What makes an event a repeat of another one (RULES 1, "Repeats").

The gateway (which answers) and `sequence` (which decides, in log order) compare the same bytes:

- with a client's key the scope is (sender_id, idempotency_key);
- without one, events of class P1 and P2 are compared with the latest keyless event of the same `repeat_kind`: equal
  `content_identity` makes a repeat. Keyless P0 events are never compared.

`content_identity` is SHA-256 over the RFC 8785 form of
``{"class","deliver_at","parent_event_id","payload","retracts","ttl_ms"}`` after defaults. One extension: integers
beyond 2^53 - 1, which RFC 8785 leaves out, keep all their digits, so that two payloads that differ are never one.
"""

from hashlib import sha256
from operator import attrgetter
from typing import Any

import msgspec
import orjson
import rfc8785
from msgspec import UNSET, defstruct, to_builtins
from msgspec.structs import asdict

from state.model.admission import RepeatCheck
from state.model.durations import DAY_MS
from state.model.event import Event

EVENT_ID_WINDOW_MS = DAY_MS
"""A repeated event_id is recognised this long after acceptance (RULES 1)."""

RepeatKind = tuple[str, str, str | None, str | None, str | None, str | None, str]
_SAFE_INTEGER_MAX = 2**53 - 1


def repeat_kind(event: Event) -> RepeatKind:
    """(sender, type, actor, target, object, segment, fan_out_type): what keyless events must share to be compared."""
    return (
        event.sender_id, event.type, event.actor, event.target, event.object, event.segment, event.fan_out_type,
    )  # fmt: skip


def is_compared_by_content(event: Event) -> bool:
    """Whether RULES 1 compares this event with the latest one of its kind: keyless and not of class P0."""
    return event.idempotency_key is None and event.priority != "P0"


def content_identity(event: Event) -> bytes:
    """32 bytes that are equal exactly when the contents of two events of one kind are (RULES 1)."""
    content = {
        "class": event.priority,
        "deliver_at": event.deliver_at,
        "parent_event_id": event.parent_event_id,
        "payload": event.payload,
        "retracts": event.retracts,
        "ttl_ms": event.ttl_ms,
    }
    return sha256(canonical_json(content)).digest()


def body_identity(event: Event) -> bytes:
    """32 bytes over everything a client with a key sent, after defaults: what makes "a different body" (409).

    The event_id is compared apart, for a client may learn it from the first answer.
    """
    body = _SentBody(*_body_of(event))
    if event.rollout is UNSET and event.to is None and _is_plain(event.payload):
        return sha256(_encode_plain(body)).digest()
    content = asdict(body)
    if event.rollout is not UNSET:
        content["rollout"] = to_builtins(event.rollout)
    return sha256(canonical_json(content)).digest()


_NOT_SENT = (
    "event_id",
    "ingested_at",
    "sender_id",
    "idempotency_key",
    "recipients",
    "slot",
    "draft",
    "rollout",
    "part",
    "ahead_ms",
)
_BODY_FIELDS = sorted(name for name in Event.__struct_fields__ if name not in _NOT_SENT)
_body_of = attrgetter(*_BODY_FIELDS)
_SentBody = defstruct("_SentBody", [(name, Any) for name in _BODY_FIELDS], gc=False)
_encode_plain = msgspec.json.Encoder(order="deterministic").encode
"""The canonical form of a body that has neither floats nor keys beyond ASCII."""


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 form of a JSON value.

    orjson gives it, ten times faster than the reference, where no number is a float and no key leaves ASCII (for those
    alone the two differ in number format and order of keys).
    """
    if _is_plain(value):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return _canonical_any(value)


def _is_plain(value: Any) -> bool:
    """Whether orjson's form is the canonical one. Every event passes here, so texts, the most frequent, come first."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return -_SAFE_INTEGER_MAX <= value <= _SAFE_INTEGER_MAX  # type: ignore[no-any-return] # an int by its type
    if kind is dict:
        for key, item in value.items():  # noqa: SIM110 - a generator costs twice as much
            if not key.isascii() or not (type(item) is str or _is_plain(item)):
                return False
        return True
    return isinstance(value, (list, tuple)) and all(map(_is_plain, value))


def _canonical_any(value: Any) -> bytes:
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be", "surrogatepass"))
        return b"{" + b",".join(_canonical_text(k) + b":" + _canonical_any(v) for k, v in ordered) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(_canonical_any, value)) + b"]"
    if isinstance(value, str):
        return _canonical_text(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _SAFE_INTEGER_MAX:
        return str(value).encode()
    return rfc8785.dumps(value)


def _canonical_text(text: str) -> bytes:
    return orjson.dumps(text)


def repeat_check(event: Event, *, given: bool, repeat_window_ms: int) -> RepeatCheck:
    """What recognises repeats of an event accepted now (its ingested_at), or of a kept one until after its release."""
    kept = event.deliver_at if event.deliver_at is not None and event.deliver_at > event.ingested_at else 0
    begin = kept or event.ingested_at
    scope, content = _scope_and_content(event)
    return RepeatCheck(
        event.event_id, given, event.sender_id,
        scope, event.idempotency_key is not None, content,
        begin + repeat_window_ms, begin + EVENT_ID_WINDOW_MS, kept,
        event.fan_out_type,
    )  # fmt: skip


def _scope_and_content(event: Event) -> tuple[bytes | None, bytes]:
    if event.idempotency_key is not None:
        return _named(["key", event.sender_id, event.idempotency_key]), body_identity(event)
    if is_compared_by_content(event):
        return _named(["kind", *repeat_kind(event)]), content_identity(event)
    return None, b""


def _named(parts: list[str | None]) -> bytes:
    """16 bytes for a list of texts; JSON keeps `a:b` and `a`, `b` apart."""
    return sha256(orjson.dumps(parts)).digest()[:16]
