"""Arrow IPC streams of one batch, as Arrow writes them: a small one byte for byte, in a third of its time.

Arrow builds each message of a stream anew, and needs an object for each column. Here it builds the messages once for
columns of some names and kinds. Of other batches of these only numbers in them differ: how many rows and nulls there
are, and where each buffer lies (Message.fbs of Arrow's format, and the layout of flatbuffers).
"""

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt
import pyarrow

pa: Any = pyarrow  # its stubs refuse NumPy buffers
BufferBytes = bytes | bytearray | memoryview
COMMON = b"common"
"""Key of the schema's metadata under which lies, as JSON, what all rows have in common (TOPICS.md)."""
_INTEGERS = {np.dtype(code).str: pa.from_numpy_dtype(np.dtype(code)) for code in np.typecodes["AllInteger"]}
_TEXTS = {"text": pa.string(), "binary": pa.binary()}
_TYPES = {**_INTEGERS, **_TEXTS, "tag": pa.binary(8), "dictionary": pa.dictionary(pa.int32(), pa.string())}
_KINDS = {pa.StringArray: "text", pa.BinaryArray: "binary"}
_SAMPLES = {"text": "x", "binary": b"x", "tag": bytes(8), "dictionary": "x"}
_END = b"\xff\xff\xff\xff\0\0\0\0"
_PREFIX = 8
"""Bytes of a message before its head: a mark, and how long the head is."""
_TO_EIGHT = [bytes(-size % 8) for size in range(8)]
_COMMON_MIN = 32
"""Bytes: so many of a kind are nowhere else in a schema."""
_DICTIONARY_BATCH = 2
_STREAMS_MAX = 500


class PlainColumn(NamedTuple):
    """A column as its buffers, the first of which says what is not null: it is empty where nothing is."""

    kind: str
    """A key of `_TYPES`."""
    rows: int
    nulls: int
    buffers: tuple[BufferBytes, ...]
    values: "PlainColumn | None" = None
    """Of a dictionary: its texts."""
    kept: list[BufferBytes] | None = None
    """Where its compressed buffers stay, if other batches have it too."""

    def array(self) -> Any:
        """The same for Arrow."""
        buffers = [pa.py_buffer(each) for each in self.buffers]
        if not self.nulls:
            buffers[0] = None
        kind = _TYPES[self.kind] if self.values is None else pa.int32()
        column = pa.Array.from_buffers(kind, self.rows, buffers)
        return column if self.values is None else pa.DictionaryArray.from_arrays(column, self.values.array())

    @property
    def size(self) -> int:
        """Bytes of all buffers."""
        return sum(map(len, self.buffers)) + (0 if self.values is None else self.values.size)


def plain_numbers(values: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None = None) -> PlainColumn:
    """Integers, null where missing."""
    nulls = 0 if missing is None else np.count_nonzero(missing)
    valid = np.packbits(~missing, bitorder="little").tobytes() if nulls and missing is not None else b""
    return PlainColumn(values.dtype.str, len(values), int(nulls), (valid, values.tobytes()))


def plain_texts(texts: Sequence[bytes | None]) -> PlainColumn:
    """Texts in UTF-8; None: null."""
    offsets = np.zeros(len(texts) + 1, np.int32)
    np.cumsum([0 if text is None else len(text) for text in texts], out=offsets[1:])
    there = np.array([text is not None for text in texts], np.bool_)
    nulls = len(texts) - int(np.count_nonzero(there))
    valid = np.packbits(there, bitorder="little").tobytes() if nulls else b""
    content = b"".join([text for text in texts if text is not None])
    return PlainColumn("text", len(texts), nulls, (valid, offsets.tobytes(), content))


def arrow_column(column: Any) -> Any:
    """A column as Arrow has it."""
    return column.array() if isinstance(column, PlainColumn) else column


def plain_column(column: Any) -> PlainColumn | None:
    """A column as its buffers; None: it is Arrow's, and not text or binary in one piece."""
    if isinstance(column, PlainColumn):
        return column
    kind = _KINDS.get(type(column))
    if kind is None or column.offset:
        return None
    rows, nulls = len(column), column.null_count
    valid, offsets, content = (memoryview(b"") if each is None else memoryview(each) for each in column.buffers())
    if len(offsets) < 4 * (rows + 1) or offsets[:4] != bytes(4):
        return None
    end = int.from_bytes(offsets[4 * rows : 4 * (rows + 1)], "little")
    return PlainColumn(
        kind, rows, nulls, (valid[: -(-rows // 8) if nulls else 0], offsets[: 4 * (rows + 1)], content[:end])
    )


def is_simple(columns: Mapping[str, PlainColumn | None], common: bytes) -> TypeGuard[Mapping[str, PlainColumn]]:
    """Whether `stream_bytes` can write it."""
    given = len(columns) > 0 and len(common) >= _COMMON_MIN
    return given and all(each is not None and each.rows > 0 for each in columns.values())


def stream_bytes(columns: Mapping[str, PlainColumn], common: bytes, codec: str | None = None) -> bytes:
    """One batch with this in the schema's metadata; `codec`: by which its buffers are compressed already."""
    stream = _stream(tuple(columns), tuple([each.kind for each in columns.values()]), len(common), codec)
    parts: list[BufferBytes] = [stream.before_common, common, stream.behind_common]
    dictionaries = [each.values for each in columns.values() if each.values is not None]
    for message, values in zip(stream.dictionaries, dictionaries, strict=True):
        message.write(parts, [values])
    stream.batch.write(parts, [*columns.values()])
    parts.append(_END)
    return b"".join(parts)


class _BatchForm(NamedTuple):
    """The head of a batch, and where in it the numbers are."""

    head: bytes
    body_size: int
    rows: int
    nodes: int
    buffers: int

    def write(self, parts: list[BufferBytes], columns: Sequence[PlainColumn]) -> None:
        head, nodes, places, at = bytearray(self.head), list[int](), list[int](), 0
        parts.append(head)
        for column in columns:
            nodes += (column.rows, column.nulls)
            for buffer in column.buffers:
                size = len(buffer)
                places += (at, size)
                parts += (buffer, _TO_EIGHT[size % 8])
                at += size + -size % 8
        struct.pack_into("<q", head, self.body_size, at)
        struct.pack_into("<q", head, self.rows, columns[0].rows)
        struct.pack_into(f"<{len(nodes)}q", head, self.nodes, *nodes)
        struct.pack_into(f"<{len(places)}q", head, self.buffers, *places)


class _StreamForm(NamedTuple):
    before_common: bytes
    behind_common: bytes
    dictionaries: tuple[_BatchForm, ...]
    batch: _BatchForm


@lru_cache(_STREAMS_MAX)
def _stream(names: tuple[str, ...], kinds: tuple[str, ...], common_size: int, codec: str | None) -> _StreamForm:
    """Of a batch that Arrow writes."""
    common = b"\1" * common_size
    samples = [pa.array([_SAMPLES.get(kind, 1)], _TYPES[kind]) for kind in kinds]
    batch = pa.RecordBatch.from_arrays(samples, names=list(names), metadata={COMMON: common})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.RecordBatchStreamWriter(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    written = sink.getvalue().to_pybytes()
    schema, messages = _head(written, 0), list[_BatchForm]()
    at = len(schema)
    while not written.startswith(_END, at):
        messages.append(_message(_head(written, at)))
        at += len(messages[-1].head) + _signed(messages[-1].head, messages[-1].body_size)
    before, behind = schema.split(common)
    return _StreamForm(before, behind, tuple(messages[:-1]), messages[-1])


def _head(written: bytes, at: int) -> bytes:
    return written[at : at + _PREFIX + _signed(written, at + 4)]


def _message(head: bytes) -> _BatchForm:
    root = _followed(head, _PREFIX)
    table = _followed(head, _field(head, root, 2))
    if head[_field(head, root, 1)] == _DICTIONARY_BATCH:
        table = _followed(head, _field(head, table, 1))
    nodes, buffers = (_followed(head, _field(head, table, number)) + 4 for number in (1, 2))
    return _BatchForm(head, _field(head, root, 3), _field(head, table, 0), nodes, buffers)


def _followed(head: bytes, at: int) -> int:
    """Where an offset leads."""
    return at + _signed(head, at)


def _field(head: bytes, table: int, number: int) -> int:
    """Where a table has a field."""
    entry = table - _signed(head, table) + 4 + 2 * number
    return table + int.from_bytes(head[entry : entry + 2], "little")


def _signed(head: bytes, at: int) -> int:
    return int.from_bytes(head[at : at + 4], "little", signed=True)
