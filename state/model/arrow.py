"""Batches of records as Arrow IPC streams. Apart, since pyarrow is heavy: loaded by who meets a batch."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow

from state.model.arrow_compressed import CODEC, compressed_columns
from state.model.arrow_stream import (
    COMMON,
    PlainColumn,
    arrow_column,
    is_simple,
    plain_column,
    plain_numbers,
    stream_bytes,
)
from state.model.errors import MalformedRecordError

pa: Any = pyarrow  # its stubs refuse NumPy buffers and boolean masks
Column = Any  # an Arrow array of some type, or a PlainColumn
TEXT = pa.string()
_PLAIN = pa.ipc.IpcWriteOptions(use_threads=False)  # without any each stream looks into the environment
_COMPRESSED = pa.ipc.IpcWriteOptions(compression=CODEC, use_threads=False)
_ALONE = pa.ipc.IpcReadOptions(use_threads=False)  # to hand columns to threads costs more than it brings
_COMPRESSED_FROM = 40_000
"""Bytes. Above, what is saved takes longer to be stored; below, each column costs more than it saves."""
_SMALL = 4
"""Times as large as there are numbers: up to there a table of all is shorter work than sorting them."""
_encoder = msgspec.json.Encoder()
_INTEGER_TYPES = {np.dtype(name): pa.from_numpy_dtype(np.dtype(name)) for name in np.typecodes["AllInteger"]}
_UNSIGNED = [(1 << np.dtype(kind).itemsize * 8, np.dtype(kind)) for kind in (np.uint8, np.uint16, np.uint32)]
_AS_UNSIGNED = {np.dtype(f"i{size}"): (np.dtype(f"u{size}"), (1 << size * 8 - 1) - 1) for size in (4, 8)}
_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)


def batch_bytes(columns: Mapping[str, Column], common: object = None) -> bytes:
    """One record batch as a stream; `common` is what all of its rows share, as a struct or a mapping."""
    shared = None if common is None else _encoder.encode(common)
    plain = {name: plain_column(column) for name, column in columns.items()}
    if shared is not None and is_simple(plain, shared):
        if sum(each.size for each in plain.values()) < _COMPRESSED_FROM:
            return stream_bytes(plain, shared)
        return stream_bytes(compressed_columns(plain), shared, CODEC)
    arrays = [arrow_column(each) for each in columns.values()]
    metadata = None if shared is None else {COMMON: shared}
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns), metadata=metadata)
    is_large = batch.get_total_buffer_size() >= _COMPRESSED_FROM  # `nbytes` takes 12 us
    sink, options = pa.BufferOutputStream(), _COMPRESSED if is_large else _PLAIN
    with pa.ipc.RecordBatchStreamWriter(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def batch_table(value: bytes, what: str) -> pyarrow.Table:
    """The stream as a table.

    :raises MalformedRecordError: it is no such stream; the text begins with `what` it should be.
    """
    try:
        table: pyarrow.Table = pa.ipc.open_stream(value, options=_ALONE).read_all()
        table.validate(full=True)  # what does not fit together ends the process that reads it
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise MalformedRecordError(f"{what}: {error}") from error
    return table


def batch_rows(value: bytes, what: str) -> list[dict[str, Any]]:
    """The rows of a stream by the names of its columns. Raises as `batch_table`."""
    return batch_table(value, what).to_pylist()


def common_json(table: pyarrow.Table, what: str) -> bytes:
    """What all rows have in common, as JSON.

    :raises MalformedRecordError: the stream does not say.
    """
    found = (table.schema.metadata or {}).get(COMMON)
    if found is None:
        raise MalformedRecordError(f"{what}: the schema's metadata have no {COMMON.decode()!r}")
    return bytes(found)


def shared_column(column: Column) -> Column:
    """For several batches, which compress it once."""
    plain = plain_column(column)
    return column if plain is None else plain._replace(kept=[])


def integers(values: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None = None) -> Column:
    """Integers of any type, null where missing. `pyarrow.array` takes ten times as long for a short column."""
    held = missing is not None and missing.any()
    valid = _bits(~missing) if held and missing is not None else None
    kind = _INTEGER_TYPES[values.dtype]
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(np.ascontiguousarray(values))])


def flags(values: npt.NDArray[np.bool_]) -> Column:
    """Flags, and a mask for a filter; the same is true of `pyarrow.array` here."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(values)])


def _bits(values: npt.NDArray[np.bool_]) -> Any:
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def narrow(values: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None = None) -> PlainColumn:
    """Integers in the smallest type that holds all; zero below the nulls, so that equal columns are equal bytes."""
    missing = missing if missing is not None and np.count_nonzero(missing) else None
    shown = values if missing is None else np.where(missing, 0, values)
    return plain_numbers(shown.astype(_narrowest(shown)), missing)


def narrow_parts(
    values: npt.NDArray[Any], sizes: Sequence[int], missing: npt.NDArray[np.bool_] | None = None
) -> list[PlainColumn]:
    """`narrow` of each of the parts that the values come to, none of which is empty."""
    if len(sizes) == 1:
        return [narrow(values, missing)]
    ends = list(accumulate(sizes))
    begins = [0, *ends[:-1]]
    nulls = [0] * len(sizes)
    if missing is not None:
        nulls = np.add.reduceat(missing, begins, dtype=np.int64).tolist()
        values = np.where(missing, 0, values)
    kind, most = _AS_UNSIGNED[values.dtype]
    highest = np.maximum.reduceat(values.view(kind), begins).tolist()
    found, cast = [], dict[np.dtype[Any], bytes]()
    for begin, end, top, null in zip(begins, ends, highest, nulls, strict=True):
        narrowest = (_unsigned(top) if top <= most else None) or _narrowest(values[begin:end])
        content = cast.get(narrowest)
        if content is None:
            content = cast[narrowest] = values.astype(narrowest).tobytes()
        valid = _packed(~missing[begin:end]) if null and missing is not None else b""
        size = narrowest.itemsize
        buffers = valid, content[begin * size : end * size]
        found.append(PlainColumn(narrowest.str, end - begin, null, buffers))
    return found


def _packed(there: npt.NDArray[np.bool_]) -> bytes:
    return np.packbits(there, bitorder="little").tobytes()


def _unsigned(highest: int) -> np.dtype[Any] | None:
    """The smallest type without a sign for it, but for one of eight bytes."""
    return next((kind for above, kind in _UNSIGNED if highest < above), None)


def _narrowest(values: npt.NDArray[Any]) -> np.dtype[Any]:
    kind, most = _AS_UNSIGNED[values.dtype]
    highest = int(np.maximum.reduce(values.view(kind), initial=0))
    if highest <= most and (found := _unsigned(highest)) is not None:  # none is negative
        return found
    lowest, highest = int(values.min(initial=0)), int(values.max(initial=0))
    if lowest < 0 and highest >= _UNSIGNED[-1][0]:  # beside a negative one NumPy would take a float for it
        return values.dtype
    return np.result_type(np.min_scalar_type(lowest), np.min_scalar_type(highest))


def distinct_of_parts(
    numbers: npt.NDArray[np.int32], sizes: Sequence[int]
) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """`distinct_numbers` of each of the parts that these come to."""
    if len(sizes) == 1:
        return [distinct_numbers(numbers)]
    width = int(numbers.max(initial=0)) + 1
    found, places = np.unique(np.repeat(np.arange(len(sizes)) * width, sizes) + numbers, return_inverse=True)
    firsts = np.searchsorted(found, np.arange(len(sizes) + 1) * width).tolist()
    ends = [0, *accumulate(sizes)]
    return [
        (found[first:last] - part * width, places[begin:end] - first)
        for part, ((first, last), (begin, end)) in enumerate(zip(pairwise(firsts), pairwise(ends), strict=True))
    ]


def distinct_numbers(numbers: npt.NDArray[np.int32]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The different numbers, ascending, and of each the place there; none is negative. As `numpy.unique` has them,
    which sorts: twenty times as long where the numbers are small.
    """
    if int(np.maximum.reduce(numbers, initial=0)) > _SMALL * len(numbers):
        return np.unique(numbers, return_inverse=True)
    present = np.bincount(numbers) > 0
    return present.nonzero()[0], (present.cumsum() - 1).take(numbers)


def same(value: object, rows: int, kind: Any = TEXT) -> Column:
    """The same value in every row, one byte each."""
    return pa.DictionaryArray.from_arrays(integers(np.zeros(rows, np.int8)), _only(value, kind))


@lru_cache(maxsize=100)
def _only(value: object, kind: Any) -> Column:
    """The slices of an event have most of their values in common."""
    return pa.array([value], kind)


def coded(codes: npt.NDArray[Any], values: Sequence[object]) -> Column:
    """Of few texts one for each row, by number."""
    kind = np.int8 if len(values) <= 1 << 7 else np.int32
    return pa.DictionaryArray.from_arrays(integers(codes.astype(kind)), pa.array(values, TEXT))


def numbers_of(column: Column, what: str) -> npt.NDArray[np.int64]:
    """A column of integers.

    :raises MalformedRecordError: it is none, or has a null; the text begins with `what` it should be.
    """
    if not pa.types.is_integer(column.type) or column.null_count:
        raise MalformedRecordError(f"{what}: not integers throughout")
    numbers: npt.NDArray[np.int64] = column.to_numpy().astype(np.int64)
    return numbers


def tag_column(tags: npt.NDArray[np.uint64]) -> PlainColumn:
    """The users' part of emission ids, eight bytes each."""
    return PlainColumn("tag", len(tags), 0, (b"", tags.astype("<u8").tobytes()))


def emission_ids(bases: Sequence[str], of: npt.NDArray[np.int32], tags: Column, what: str) -> Column:
    """`state.model.keys.emission_id` of many: shared parts, for each row the number of its own, and then its user's tag
    in hex, from a column of tags.

    :raises MalformedRecordError: it is none; the text begins with `what` it should be.
    """
    if tags.type != pa.binary(8) or tags.null_count:
        raise MalformedRecordError(f"{what}: not eight bytes throughout")
    own = np.frombuffer(tags.buffers()[1], np.uint8)[tags.offset * 8 :][: len(tags) * 8]
    shared = np.frombuffer("".join(bases).encode(), np.uint8).reshape(len(bases), -1)
    width = shared.shape[1] + 16
    text = np.empty((len(tags), width), np.uint8)
    text[:, :-16] = shared.take(of, axis=0)
    text[:, -16:] = _HEX[own.reshape(-1, 8)].view(np.uint8)
    offsets = np.arange(len(tags) + 1, dtype=np.int32) * width
    return pa.StringArray.from_buffers(len(tags), pa.py_buffer(offsets), pa.py_buffer(text))


def with_gaps(texts: Column, there: npt.NDArray[np.bool_]) -> Column:
    """Texts for the rows where they are, and null between them."""
    own = np.frombuffer(texts.buffers()[1], np.int32)[: len(texts) + 1]
    offsets = own[np.concatenate([[0], np.cumsum(there)])]
    return pa.StringArray.from_buffers(len(there), pa.py_buffer(offsets), texts.buffers()[2], _bits(there))
