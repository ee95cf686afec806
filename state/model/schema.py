"""The schemas of the log's records (TOPICS.md): a name, a struct, and the one way to write and to read them."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from state.model.errors import UNDECODABLE, MalformedRecordError

S = TypeVar("S", bound=msgspec.Struct)
_encode = msgspec.json.Encoder().encode


class Schema(Generic[S]):
    """One schema: whoever reads a record of it takes it alike. A key that is null counts as missing."""

    def __init__(self, name: str, struct: type[S]) -> None:
        self.name, self.struct = name, struct
        self.json = f"{name}/1+json".encode()
        """The header `schema` of a single record."""
        self.arrow = f"{name}/1+arrow".encode()
        """The header `schema` of a batch."""
        self.headers: tuple[tuple[str, bytes], ...] = (("schema", self.json),)
        self._decode = msgspec.json.Decoder(struct).decode

    def encode(self, record: S) -> bytes:
        """JSON of the fields, in their order."""
        return _encode(record)

    def decode(self, value: bytes) -> S:
        """:raises MalformedRecordError: naming the field that does not fit."""
        try:
            return self._decode(value)
        except msgspec.ValidationError as error:
            return self._without_nulls(value, error)
        except UNDECODABLE as error:
            raise MalformedRecordError(f"{self.name}: {error}") from error

    def _without_nulls(self, value: bytes, error: msgspec.ValidationError) -> S:
        try:
            fields = msgspec.json.decode(value) if b"null" in value else None
        except UNDECODABLE as other:  # behind what does not fit
            raise MalformedRecordError(f"{self.name}: {other}") from other
        if not isinstance(fields, dict):
            raise MalformedRecordError(f"{self.name}: {error}") from error
        return self.of(fields)

    def of(self, fields: Mapping[str, Any]) -> S:
        """The record of these fields, as if they were decoded; others are ignored.

        :raises MalformedRecordError: naming the field that does not fit.
        """
        try:
            given = {name: value for name, value in fields.items() if value is not None}
            return msgspec.convert(given, self.struct)
        except UNDECODABLE as error:
            raise MalformedRecordError(f"{self.name}: {error}") from error
