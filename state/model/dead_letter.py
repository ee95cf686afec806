"""Dead letters: what could not be handled, and what an operator decided about it (TOPICS.md, `dead_letters`).

| schema | value |
|---|---|
| `dead/1+json` | `DeadLetter`: `id, source, group, kind, error, event_id, sender_id, type, stage, at` |
| `dead_action/1+json` | `DeadAction`: `id, action, at` |

The record itself stays where it is in the log. An id follows from the stage and the record's place, so a letter that is
written twice after a crash is one letter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import xxhash

from state.model.envelope import LogPosition
from state.model.errors import UNDECODABLE, CarillonError, MalformedRecordError

Kind = Literal["malformed", "raised", "killed", "failed"]
"""malformed: does not decode; raised: our code raised; killed: it ended the process five times; failed: a delivery that
ended as DEAD_LETTER."""

STAGES = ("sequence", "decide", "transactional", "deliver", "inbox", "track", "schedule")
"""The stations that write letters."""
LETTER_SCHEMA = b"dead/1+json"
ACTION_SCHEMA = b"dead_action/1+json"
AGAIN_HEADER = "again"
"""On a record that an operator gave back: the id of its dead letter (or where a replay began)."""
ATTEMPT_HEADER = "attempt"
"""Beside it from the second time on: the number, in decimal."""
KILLED = "it ended the process five times in a row"
_OWN_PACKAGES = frozenset({"state", "operators", "connectors", "flows"})
_QUOTED = re.compile(r"(?i)(invalid (?:\w+ )*value ).*?(?= - at |$)", re.DOTALL)
"""msgspec repeats what it does not know."""
_NAME_LENGTH_MAX = 256


class DeadLetter(msgspec.Struct, kw_only=True, frozen=True):
    """One record that could not be handled at one stage; `error` is safe to show."""

    id: str
    source: LogPosition
    group: int | None = None
    """Of decide only: the key group that skipped it; the others of a record for all groups did not."""
    kind: Kind
    error: str = ""
    event_id: str | None = None
    sender_id: str | None = None
    type: str | None = None
    stage: str
    at: int


class DeadAction(msgspec.Struct, frozen=True):
    """What an operator decided."""

    id: str
    action: Literal["retried", "discarded"]
    at: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: by id, or by stage and sender."""

    ids: Sequence[str] = ()
    stage: str | None = None
    sender: str | None = None
    everything: bool = False
    """For a list: also what is retried or discarded."""

    def wants(self, letter: DeadLetter) -> bool:
        """Whether a letter is among them, whatever was decided about it."""
        if self.ids:
            return letter.id in self.ids
        return self.stage in (None, letter.stage) and self.sender in (None, letter.sender_id)


class Names(msgspec.Struct, frozen=True):
    """Who a record is from and about, as far as it can be read."""

    event_id: str | None = None
    sender_id: str | None = None
    type: str | None = None


_letter_decoder = msgspec.json.Decoder(DeadLetter)
_action_decoder = msgspec.json.Decoder(DeadAction)
_encode = msgspec.json.Encoder().encode


def letter_id(stage: str, source: LogPosition, group: int | None = None) -> str:
    """The name of a letter: `<stage>/<topic>/<partition>/<offset>`, of decide with `/<group>`."""
    return "/".join(map(str, (stage, *source, *(() if group is None else (group,)))))


def place_in_id(name: str) -> LogPosition | None:
    """The place of the record that a letter of this name is about; None: it is no such name."""
    _, topic, partition, offset, *_ = [*name.split("/"), "", "", "", ""]
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        return None
    return topic, int(partition), int(offset)


def failed_delivery_id(stage: str, source: LogPosition, delivery_key: str) -> str:
    """The name of the letter of one delivery: many come from one record. The key is hashed, as it names a device."""
    return f"{letter_id(stage, source)}/{xxhash.xxh3_64_hexdigest(delivery_key.encode())}"


def is_final(letter: DeadLetter) -> bool:
    """Whether it is about one delivery, which has ended; its record may hold other deliveries too."""
    return letter.kind == "failed" or letter.id != letter_id(letter.stage, letter.source, letter.group)


def encode_letter(letter: DeadLetter) -> bytes:
    """JSON of all fields."""
    return _encode(letter)


def encode_action(action: DeadAction) -> bytes:
    """JSON of all fields."""
    return _encode(action)


def decode_letter(value: bytes) -> DeadLetter:
    """:raises MalformedRecordError: naming the field that does not fit."""
    letter: DeadLetter = _decoded(_letter_decoder, value)
    return letter


def decode_action(value: bytes) -> DeadAction:
    """:raises MalformedRecordError: naming the field that does not fit."""
    action: DeadAction = _decoded(_action_decoder, value)
    return action


def _decoded(decoder: msgspec.json.Decoder[Any], value: bytes) -> Any:
    try:
        return decoder.decode(value)
    except UNDECODABLE as error:
        raise MalformedRecordError(f"dead letter: {error}") from error


def error_text(error: Exception) -> str:
    """What a letter says: the text of an error of ours without quoted values, else only class and place in our code."""
    if isinstance(error, CarillonError):
        return _QUOTED.sub(r"\1(left out)", str(error))
    return f"{type(error).__name__} in {_place_in_our_code(error)}"


def _place_in_our_code(error: Exception) -> str:
    place, trace = "a library", error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] in _OWN_PACKAGES:
            place = f"{module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def names_in(value: bytes) -> Names:
    """Event, sender and type that a JSON record names, also one that breaks off or has fields that do not fit.

    Only names of the outermost object count, or of its `event`: a payload must not speak for its sender.
    """
    fields: dict[tuple[str, ...], str] = {}
    try:
        document = msgspec.json.decode(value)
    except UNDECODABLE:
        fields = _scanned(value[:_SCANNED_BYTES].decode("utf-8", "replace"))
    else:
        fields = _outer_texts(document)
    return Names(
        _name(fields, "event_id") or _name(fields, "first_event_id"), _name(fields, "sender_id"), _name(fields, "type")
    )


def _outer_texts(document: Any) -> dict[tuple[str, ...], str]:
    if not isinstance(document, dict):
        return {}
    found = {(name,): value for name, value in document.items() if isinstance(value, str)}
    event = document.get("event")
    inner = event if isinstance(event, dict) else {}
    return found | {("event", name): value for name, value in inner.items() if isinstance(value, str)}


def _name(fields: dict[tuple[str, ...], str], name: str) -> str | None:
    found = fields.get((name,)) or fields.get(("event", name))
    return found if found and len(found) <= _NAME_LENGTH_MAX and found.isprintable() else None


_SCANNED_BYTES = 64 * 1024
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]')


def _scanned(text: str) -> dict[tuple[str, ...], str]:
    """Strings at the outermost level and in `event` of JSON that does not parse; the first of a name counts."""
    found: dict[tuple[str, ...], str] = {}
    path: list[str] = []
    name, last, is_value = "", "", False
    for match in _PIECE.finditer(text):
        piece = match.group()
        if piece in "{[":
            path.append(name if is_value and piece == "{" else "[")
        elif piece in "}]":
            del path[-1:]
        elif piece == ":":
            name = last
        elif piece.startswith('"'):
            last = piece[1:-1]
            if is_value and (len(path) == 1 or path[1:] == ["event"]):
                found.setdefault((*path[1:], name), last)
        is_value = piece == ":"
    return found
