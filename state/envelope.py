"""The envelope of log records (TOPICS.md): headers by name."""

from collections.abc import Sequence

Headers = Sequence[tuple[str, bytes]]


def header(headers: Headers, name: str) -> bytes | None:
    """The last value of a header, None if it is absent."""
    return next((value for key, value in reversed(headers) if key == name), None)


def schema_of(headers: Headers) -> str:
    """Header `schema`, empty if absent or not ASCII."""
    return (header(headers, "schema") or b"").decode("ascii", "replace")
