"""Several blocks of slices (`state/inbox/slices.py`) become one, sorted by name: as columns, without loops over names.

Apart, since NumPy and pyarrow are heavy: only who has met slices needs them.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow

from state.inbox.slices import SliceBlock, chunk_names
from state.model.inbox_slice import joined_names

pa: Any = pyarrow  # its stubs refuse NumPy buffers
_CHUNK_ENTRIES = 1_024
"""Entries in a chunk, about."""
_Numbers = npt.NDArray[np.int64]


class StoredBlock(NamedTuple):
    """A block and its chunks."""

    block: SliceBlock
    chunks: Sequence[bytes]


class _Columns(NamedTuple):
    """Names of some chunks, the number of slices of each name, and these slices, name by name."""

    names: bytes
    counts: _Numbers
    slices: _Numbers


def fold(
    stored: Sequence[StoredBlock], kept_from: int, names_max: int
) -> tuple[SliceBlock, Iterator[tuple[bytes, bytes]]]:
    """Blocks that follow each other as one, without slices before `kept_from`: (last name, bytes) of its chunks."""
    parts = [_columns(block, chunk) for block, chunks in stored for chunk in chunks]
    codes, names = _coded(b"".join(part.names[:-1] for part in parts))
    slices = np.concatenate([part.slices for part in parts])
    codes = np.repeat(codes, np.concatenate([part.counts for part in parts]))
    kept = slices >= kept_from
    codes, slices = codes[kept], slices[kept]
    counts = np.bincount(codes, minlength=len(names))
    first = max(stored[0].block.first, kept_from)
    block = SliceBlock(stored[0].block.tier + 1, first, stored[-1].block.last, len(slices))
    numbers = (slices[np.argsort(codes, kind="stable")] - first).astype("<u2")  # blocks come in order, so numbers do
    names = names.filter(pa.array(counts > 0))
    return block, _chunks(names, counts[counts > 0], numbers, names_max)


def _columns(block: SliceBlock, chunk: bytes) -> _Columns:
    names = chunk_names(block, chunk)
    count = names.count(b"\0") - 1
    if block.tier == 0:
        return _Columns(names, np.ones(count, np.int64), np.full(count, block.first, np.int64))
    numbers = np.frombuffer(chunk, "<u2", offset=4 + len(names)).astype(np.int64)
    return _Columns(names, numbers[:count], block.first + numbers[count:])


def _coded(text: bytes) -> tuple[_Numbers, Any]:
    """Each name's number among the different ones, and these, sorted; a zero byte is before each name."""
    characters = np.frombuffer(text, np.uint8)
    starts = np.flatnonzero(characters == 0)
    offsets = np.append(starts, len(text)) - np.arange(len(starts) + 1)
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(characters[characters != 0].tobytes())]
    coded = pa.Array.from_buffers(pa.binary(), len(starts), buffers).dictionary_encode()
    order = pa.compute.sort_indices(coded.dictionary)
    rank = np.empty(len(order), np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    return rank[coded.indices.to_numpy()], coded.dictionary.take(order)


def _chunks(
    names: Any, counts: _Numbers, numbers: npt.NDArray[np.uint16], names_max: int
) -> Iterator[tuple[bytes, bytes]]:
    text, ends = joined_names(names), np.append(0, np.cumsum(counts))
    gaps = np.flatnonzero(np.frombuffer(text, np.uint8) == 0)
    size = min(names_max, max(1, _CHUNK_ENTRIES * len(names) // max(1, len(numbers))))
    for first in range(0, len(names), size):
        last = min(first + size, len(names))
        part = text[gaps[first] : gaps[last] + 1]
        lists = counts[first:last].astype("<u2").tobytes() + numbers[ends[first] : ends[last]].tobytes()
        yield text[gaps[last - 1] + 1 : gaps[last]], len(part).to_bytes(4, "little") + part + lists
