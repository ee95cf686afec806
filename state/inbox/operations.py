"""Operations of topic `inbox` as they are read (TOPICS.md), and their place in the order of their source.

`inbox/1+json` is one operation, `inbox/1+arrow` an Arrow IPC stream whose columns bear the names of the JSON fields; a
column that is missing is null throughout. The payload of a batch is a string column of JSON.
"""

from typing import Any, Literal, NamedTuple

import msgspec
import pyarrow as pa

from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.keys import KEY_GROUPS

JSON_SCHEMA = "inbox/1+json"
ARROW_SCHEMA = "inbox/1+arrow"
_INT64_MAX = (1 << 63) - 1


class OutputHeader(NamedTuple):
    """Header `seq`: what an output of decide (`d`) or transactional (`t`) follows from."""

    source: str
    group: int
    offset: int
    ordinal: int

    @property
    def mark(self) -> tuple[int, int]:
        """What a consumer remembers per (topic, source, group): it drops what is not above it."""
        return self.offset, self.ordinal


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation on a user's rows; times in ms UTC, `place` a position in the decision log."""

    op: Literal["add", "take_back", "retract", "read"]
    user: str
    type: str = ""
    object: str | None = None
    windowed: bool = False
    event_id: str = ""
    actor: str | None = None
    at: int = 0
    place: int = 0
    payload: msgspec.Raw = msgspec.Raw()
    parent_event_id: str | None = None
    up_to: int = 0

    def payload_json(self) -> bytes | None:
        """The payload as JSON, None where there is none."""
        content = bytes(self.payload)
        return None if content in (b"", b"null") else content


_decoder = msgspec.json.Decoder(Operation)


def parse_output_header(value: bytes | None) -> OutputHeader:
    """:raises MalformedRecordError: the header is absent or not `source:group:offset:ordinal`, within their ranges."""
    try:
        source, group, offset, ordinal = (value or b"").decode("ascii").split(":")
        sequence = OutputHeader(source, int(group), int(offset), int(ordinal))
    except ValueError as error:
        raise MalformedRecordError("header seq: expected source:group:offset:ordinal") from error
    if not (0 <= sequence.group < KEY_GROUPS and 0 <= sequence.offset <= _INT64_MAX >= sequence.ordinal >= 0):
        raise MalformedRecordError(f"header seq: expected a group below {KEY_GROUPS}, then numbers of 63 bits")
    return sequence


def decode_operations(schema: str, value: bytes) -> list[Operation]:
    """The operations of one record, in order.

    :raises MalformedRecordError: naming the schema or the field that does not fit.
    """
    if schema == JSON_SCHEMA:
        return [_decode(value)]
    if schema == ARROW_SCHEMA:
        return _decode_arrow(value)
    raise MalformedRecordError(f"header schema: {schema!r} is none of {JSON_SCHEMA}, {ARROW_SCHEMA}")


def _decode(value: bytes) -> Operation:
    try:
        return _decoder.decode(value)
    except UNDECODABLE as error:
        raise MalformedRecordError(f"inbox: {error}") from error


def _decode_arrow(value: bytes) -> list[Operation]:
    try:
        rows = pa.ipc.open_stream(value).read_all().to_pylist()
        return msgspec.convert([_given(row) for row in rows], list[Operation])
    except (pa.ArrowInvalid, msgspec.ValidationError) as error:
        raise MalformedRecordError(f"inbox: {error}") from error


def _given(row: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in row.items() if value is not None}
    if "payload" in given:
        given["payload"] = msgspec.Raw(given["payload"])
    return given
