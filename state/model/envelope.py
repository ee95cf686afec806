"""The envelope of log records (TOPICS.md): headers by name, and the header `seq` of what flows write."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from state.model.errors import MalformedRecordError
from state.model.keys import KEY_GROUPS

_INT64_MAX = (1 << 63) - 1
TopicPartition = tuple[str, int]
LogPosition = tuple[str, int, int]
"""Topic, partition, offset."""


def header(headers: Sequence[tuple[str, bytes]], name: str) -> bytes | None:
    """The last value of a header, None if it is absent."""
    for key, value in reversed(headers):
        if key == name:
            return value
    return None


def schema_of(headers: Sequence[tuple[str, bytes]]) -> str:
    """Header `schema`, empty if absent or not ASCII."""
    return (header(headers, "schema") or b"").decode("ascii", "replace")


def refuse_other_versions(headers: Sequence[tuple[str, bytes]]) -> None:
    """A record of a later form must not be read as one of today's. One without a schema is read as today's.

    :raises MalformedRecordError: the header `schema` names another version than 1, or another encoding than JSON.
    """
    for name, value in headers:
        if name == "schema" and not value.endswith(b"/1+json"):
            raise MalformedRecordError("header schema: this program reads version 1 as JSON only (<name>/1+json)")


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


def parse_output_header(value: bytes | None) -> OutputHeader:
    """:raises MalformedRecordError: the header is absent or not `source:group:offset:ordinal`, within their ranges."""
    try:
        name, *numbers = (value or b"").split(b":")
        source = name.decode("ascii")
        group, offset, ordinal = map(int, numbers)
    except ValueError as error:
        raise MalformedRecordError("header seq: expected source:group:offset:ordinal") from error
    if not (0 <= group < KEY_GROUPS and 0 <= offset <= _INT64_MAX >= ordinal >= 0):
        raise MalformedRecordError(f"header seq: expected a group below {KEY_GROUPS}, then numbers of 63 bits")
    return OutputHeader(source, group, offset, ordinal)


def output_headers(schema: bytes, source: str, group: int, offset: int, ordinal: int) -> tuple[tuple[str, bytes], ...]:
    """Of a record that a flow writes: what it is, and which output of which record."""
    return ("schema", schema), ("seq", seq_of(source, group) % (offset, ordinal))


@lru_cache(2 * KEY_GROUPS)
def seq_of(source: str, group: int) -> bytes:
    """The header `seq` of a source and a group, but for offset and ordinal, which are put in by `%`."""
    return b"%s:%d:%%d:%%d" % (source.encode(), group)
