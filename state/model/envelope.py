"""The envelope of log records (TOPICS.md): headers by name."""

from collections.abc import Sequence

from state.model.errors import MalformedRecordError

TopicPartition = tuple[str, int]
LogPosition = tuple[str, int, int]
"""Topic, partition, offset."""


def header(headers: Sequence[tuple[str, bytes]], name: str) -> bytes | None:
    """The last value of a header, None if it is absent."""
    return next((value for key, value in reversed(headers) if key == name), None)


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
