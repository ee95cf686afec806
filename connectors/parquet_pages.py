"""How much the pages of a Parquet file unpack to, as each page says itself: what the file's end says may be forged.

A page begins with its header, a struct of Thrift's compact protocol: field 2 is the size unpacked, 3 the size in the
file (both i32), and 5, 7 and 8 are structs that say how values are encoded. Arrow unpacks a page by these numbers.
"""

from collections.abc import Iterator
from typing import IO, Any, Final, NamedTuple

from state.model.errors import MalformedRecordError

_I32, _BINARY, _STRUCT, _STOP = 5, 8, 12, 0
_NUMBERS: Final = (4, 5, 6)
_FLAGS: Final = (1, 2)
_WINDOWS = (4 << 10, 1 << 20)
"""Bytes that are read of a header; few are longer than the first."""
_DEPTH_MAX = 4
_PREFIXED = 7
"""The encoding DELTA_BYTE_ARRAY: each value goes on from the one before, so that few bytes are many."""
_UNPACKED, _PACKED = 2, 3
_ENCODING_AT = {5: 2, 7: 2, 8: 4}
"""Where the encoding is, by the field of the kind of page: data, dictionary, data of version 2."""
_DICTIONARY, _VALUES = 7, 1


class _Page(NamedTuple):
    fields: dict[int, Any]
    header_bytes: int


def unpacked_sizes(file: IO[bytes], start: int, length: int) -> Iterator[int]:
    """What each page of a column chunk unpacks to, in bytes.

    :raises MalformedRecordError: a header is none, or its page unpacks to more than can be told from it.
    """
    at, end = start, start + length
    while at < end:
        page = _page(file, at)
        unpacked, packed = _size(page.fields.get(_UNPACKED)), _size(page.fields.get(_PACKED))
        if not _tells_all(page.fields, unpacked):
            raise MalformedRecordError("a page does not tell what it unpacks to")
        yield unpacked
        at += page.header_bytes + packed


def _size(told: Any) -> int:
    if isinstance(told, int) and told >= 0:
        return told
    raise MalformedRecordError("a page does not tell its size")


def _tells_all(fields: dict[int, Any], unpacked: int) -> bool:
    kinds = {field: value for field, value in fields.items() if isinstance(value, dict)}
    encodings = {kinds[field].get(place) for field, place in _ENCODING_AT.items() if field in kinds}
    values = kinds.get(_DICTIONARY, {}).get(_VALUES, 0)
    return _PREFIXED not in encodings and isinstance(values, int) and 0 <= values <= unpacked


def _page(file: IO[bytes], at: int) -> _Page:
    for window in _WINDOWS:
        file.seek(at)
        reader = _Reader(file.read(window))
        try:
            return _Page(reader.struct(), reader.at)
        except IndexError:  # it is longer, or the file ends
            continue
    raise MalformedRecordError("a page has no header")


class _Reader:
    """Thrift's compact protocol, as far as headers of pages use it."""

    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The i32 fields and structs of a struct.

        :raises IndexError: it ends early.
        :raises MalformedRecordError: it is none, or names a field twice.
        """
        found: dict[int, Any] = {}
        seen, field = set[int](), 0
        while (head := self._byte()) != _STOP:
            kind = head & 15
            field = field + (head >> 4) if head >> 4 else self._number()
            if field in seen or depth > _DEPTH_MAX:
                raise MalformedRecordError("a field is there twice")
            seen.add(field)
            value = self._value(kind, depth)
            if kind in (_I32, _STRUCT):
                found[field] = value
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _NUMBERS:
            return self._number()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _BINARY:
            length = self._varint()
            self.at += length
        elif kind not in _FLAGS:
            raise MalformedRecordError("a field is of no kind that headers have")
        return None

    def _byte(self) -> int:
        byte = self._content[self.at]
        self.at += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while shift < 64:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
        raise MalformedRecordError("a number has no end")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
