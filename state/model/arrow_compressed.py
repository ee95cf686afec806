"""Buffers compressed as Arrow's format has them: each behind its length, and at the level that suits what is in it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow

from state.model.arrow_stream import BufferBytes, PlainColumn

pa: Any = pyarrow  # its stubs want the name itself
CODEC = "zstd"
_SLOW, _FAST = (pa.Codec(CODEC, compression_level=level) for level in (1, -2))
"""The fast one finds what is repeated, but writes the rest as it is."""
_LENGTH = 8
_SAMPLE = 4_096
_WORTH = 16
"""The fast one may be longer by one part in so many: of a sample, which repeats less than the whole."""


def compressed_columns(columns: Mapping[str, PlainColumn]) -> dict[str, PlainColumn]:
    """The same columns for a compressed batch."""
    last: list[tuple[BufferBytes, BufferBytes]] = []
    return {name: _compressed(column, last) for name, column in columns.items()}


def _compressed(column: PlainColumn, last: list[tuple[BufferBytes, BufferBytes]]) -> PlainColumn:
    values = None if column.values is None else _compressed(column.values, last)
    buffers = column.kept or list(_buffers(column, last))
    if column.kept is not None:
        column.kept[:] = buffers
    return column._replace(buffers=tuple(buffers), values=values)


def _buffers(column: PlainColumn, last: list[tuple[BufferBytes, BufferBytes]]) -> Iterator[BufferBytes]:
    """`last`: what was compressed last, and what it became. Counts of an hour and of a day are often the same."""
    for number, buffer in enumerate(column.buffers):
        if not len(buffer):
            yield b""
            continue
        if not last or last[0][0] != buffer:
            codec = _FAST if number and _is_random(column.kind, buffer) else _SLOW
            packed = codec.compress(buffer, asbytes=True)
            last[:] = [(buffer, len(buffer).to_bytes(_LENGTH, "little") + packed)]
        yield last[0][1]


def _is_random(kind: str, buffer: BufferBytes) -> bool:
    """Whether little is saved by what only the slow one does: tags are hashes, and most addresses have a token in
    bytes or one in letters.
    """
    if kind != "binary":
        return kind == "tag"
    some = memoryview(buffer)[:_SAMPLE]
    slow, fast = (len(codec.compress(some, asbytes=True)) for codec in (_SLOW, _FAST))
    return fast * _WORTH <= slow * (_WORTH + 1)
