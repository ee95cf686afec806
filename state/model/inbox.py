"""The operations of topic `inbox` (TOPICS.md). Times in ms UTC.

`inbox/2+arrow` is one operation for many users: an Arrow IPC stream with a column of users, one of their languages
where these differ, and the operation in the schema's metadata. Earlier releases wrote `inbox/1+arrow`, with a column
for each field, null where it is missing; the payload was a text column of JSON.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from state.model.errors import MalformedRecordError
from state.model.row_status import NamedRow, RowStatus
from state.model.schema import Schema


class InboxOperation(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One operation on a user's rows; `place` is a position in the decision log."""

    op: Literal["add", "take_back", "retract", "read", "status", "erase"]
    user: str
    type: str = ""
    object: str | None = None
    actor: str | None = None
    event_id: str = ""
    windowed: bool = False
    at: int | None = None
    place: int | None = None
    parent_event_id: str | None = None
    up_to: int | None = None
    status: RowStatus | None = None
    rows: tuple[NamedRow, ...] | None = None
    logged: int | None = None
    """Of what the user himself does: the offset of his record in `reads`."""
    priority: str | None = None
    payload: Any = None
    """The event's map."""
    language: str | None = None
    """The reader's language tag, by which the row's texts are found; None: the first of `operators.templates`."""


class StoredOperation(InboxOperation, kw_only=True, frozen=True):
    """An operation as it is read: the payload stays JSON, and what was left out has its default."""

    at: int = 0
    place: int = 0
    up_to: int = 0
    payload: msgspec.Raw = msgspec.Raw()

    def payload_json(self) -> bytes | None:
        """The payload as JSON, None where there is none."""
        content = bytes(self.payload)
        return None if content in (b"", b"null") else content


@dataclass(frozen=True, slots=True)
class AddedSlice:
    """The operations of a batch that adds one event, not windowed, to the rows of many users, once to each."""

    operation: StoredOperation
    """That of the first user; the others differ in the user alone."""
    names: bytes
    """All users, sorted (`state/inbox/slices.py`)."""
    count: int
    languages: Mapping[str | None, bytes] = field(default_factory=dict)
    """Where users differ in it: the users of each language tag, sorted."""

    def parts(self) -> "list[AddedSlice]":
        """One for each language."""
        if not self.languages:
            return [self]
        return [self._part(language, names) for language, names in self.languages.items()]

    def _part(self, language: str | None, names: bytes) -> "AddedSlice":
        first, *_ = users = names[1:-1].split(b"\0")
        operation = msgspec.structs.replace(self.operation, user=first.decode("utf-8"), language=language)
        return AddedSlice(operation, names, len(users))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[StoredOperation]:
        for part in self.parts():
            for name in part.names[1:-1].split(b"\0"):
                yield msgspec.structs.replace(part.operation, user=name.decode("utf-8"))


INBOX = Schema("inbox", StoredOperation)
INBOX_SLICE = "inbox/2+arrow"
_JSON, _ARROW = INBOX.json.decode(), INBOX.arrow.decode()


def decode_operations(schema: str, value: bytes) -> list[StoredOperation]:
    """The operations of one record, in order.

    :raises MalformedRecordError: naming the schema or the field that does not fit.
    """
    if schema == _JSON:
        return [INBOX.decode(value)]
    if schema == _ARROW:
        return _decode_arrow(value)
    if schema == INBOX_SLICE:
        from state.model.inbox_slice import shared_operations  # with pyarrow

        return shared_operations(value)
    raise MalformedRecordError(f"header schema: {schema!r} is none of {_JSON}, {_ARROW}, {INBOX_SLICE}")


def decode_at_once(schema: str, value: bytes) -> "list[StoredOperation] | AddedSlice":
    """As `decode_operations`, but a batch that is one event for many users stays as it is."""
    if schema in (_ARROW, INBOX_SLICE):
        from state.model.inbox_slice import added_slice, shared_slice  # with pyarrow

        added = added_slice(value) if schema == _ARROW else shared_slice(value)
        if added is not None:
            return added
    return decode_operations(schema, value)


def _decode_arrow(value: bytes) -> list[StoredOperation]:
    from state.model.arrow import batch_rows  # with pyarrow, which is heavy: only large fan-outs come so

    return operations_of(batch_rows(value, "inbox"))


def operations_of(rows: list[dict[str, Any]]) -> list[StoredOperation]:
    """The operations of the rows of a batch.

    :raises MalformedRecordError: naming the field that does not fit.
    """
    try:
        return msgspec.convert([_given(row) for row in rows], list[StoredOperation])
    except msgspec.ValidationError as error:
        raise MalformedRecordError(f"inbox: {error}") from error


def _given(row: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in row.items() if value is not None}
    if "payload" in given:
        given["payload"] = msgspec.Raw(given["payload"])
    return given
