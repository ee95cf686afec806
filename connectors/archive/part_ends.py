"""What the end of a part's file says of its row groups: how many rows, bounds of columns, where their filters are.

Its digest is in the file's name, since a flipped bit there may make Arrow end the process, and so is that of the
filters, where one would hide what is there; pages have checksums of their own. Parts of earlier releases have none of
these.

A part never changes, so this is kept for those that were read lately; another file under the same name has another time
or inode. Arrow decodes such an end in some 0.3 ms, which was most of a query's time where there are hundreds of parts.

A filter is Parquet's own (a Bloom filter in blocks): 32 bytes a block, behind a header that is shorter than one. The
upper half of a text's XXH64 says which block, and the lower half one bit in each of its eight words.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import structlog
import xxhash

from connectors.metrics import ARCHIVE_DAMAGE
from state.model.errors import StateDamagedError

BOUNDED: Final = ("kind", "key_group", "user", "time", "event_id", "first_event_id", "log_ms")
"""Columns whose bounds parts of the ledger have; those of earlier releases lack the last."""
FILTERED: Final = ("event_id", "emission_id")
"""Columns with filters; parts of earlier releases have none."""
FILTERED_MERGED: Final = ("event_id",)
"""The same of an hour that is merged. Its order and the bounds of `key_group` find the few rows of a person there, and
each row of a fan-out has an `emission_id` of its own: a filter would take more room than all else of it.
"""
_PARTS_KEPT = 4_096
ASKED_MAX = 16
"""With more values, one of them is nearly always there."""
_BLOCK_BYTES, _TAIL_BYTES = 32, 8
_WORDS: Final = (
    0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31,
)  # fmt: skip
"""One for each word of a block, as the format gives them."""
_LOW = (1 << 32) - 1
_logger = structlog.get_logger(__name__)
Bounds = tuple[Any, Any] | None
"""The lowest and the highest value; None: all are null."""


@contextmanager
def naming_damage(file: Path) -> Iterator[None]:
    """Around a look into a part.

    :raises StateDamagedError: it is no sound Parquet, or the disk cannot read it.
    """
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO):
            raise
        raise StateDamagedError(f"{file} is damaged: put a copy of it in its place") from error


@contextmanager
def opened_part(file: Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """A part to be read, with Arrow's options.

    :raises FileNotFoundError: it was merged away.
    :raises StateDamagedError: it is no sound Parquet, or the disk cannot read it.
    """
    row_groups_of(file)
    with naming_damage(file), pq.ParquetFile(file, page_checksum_verification=True, **options) as part:
        yield part


def digests_of(file: Path) -> list[str]:
    """What the name of a part has behind its number: the digest of its end, and of its filters if there are any."""
    return [_digest_of_end(file), *_digest_of_filters(file, _told_by(file))]


def _digest_of_end(file: Path) -> str:
    """Of the metadata at the end of a Parquet file and of their length; of a file that was cut off, of what is left."""
    with file.open("rb") as opened:
        begin = max(opened.seek(0, os.SEEK_END) - _TAIL_BYTES, 0)
        opened.seek(begin)
        length = int.from_bytes(opened.read(4), "little")
        opened.seek(max(begin - length, 0))
        return xxhash.xxh3_64_hexdigest(opened.read())


def _digest_of_filters(file: Path, groups: Sequence[RowGroup]) -> list[str]:
    places = sorted(place for group in groups for place in group.filters.values())
    digest = xxhash.xxh3_64()
    with file.open("rb") as opened:
        for start, length in places:
            opened.seek(start)
            digest.update(opened.read(length))
    return [digest.hexdigest()] if places else []


class Extent(Protocol):
    """What is known of some rows before they are read."""

    def may_lie(self, name: str, low: Any, high: Any) -> bool:
        """Whether a value of a column may be of [low, high]."""
        ...

    def may_have(self, name: str, values: Sequence[Any]) -> bool:
        """Whether a column may have one of the values."""
        ...


class RowGroup(NamedTuple):
    """What is known of a row group of a part before it is read."""

    file: Path
    number: int
    rows: int
    bounds: Mapping[str, Bounds]
    filters: Mapping[str, tuple[int, int]]
    """Where a column's filter begins in the file, and its length."""

    def may_lie(self, name: str, low: Any, high: Any) -> bool:
        """Whether a value of a column may be of [low, high]."""
        bounds = self.bounds.get(name, (low, high))
        return bounds is not None and bool(bounds[0] <= high and low <= bounds[1])

    def may_have(self, name: str, values: Sequence[Any]) -> bool:
        """Whether a column may have one of the values.

        :raises FileNotFoundError: the part was merged away.
        """
        place = self.filters.get(name)
        if place is None or len(values) > ASKED_MAX:
            return True
        with self.file.open("rb", buffering=0) as file:
            return any(_may_have(file.fileno(), *place, value) for value in values)


def row_groups_of(file: Path) -> Sequence[RowGroup]:
    """The row groups of a part, in order.

    :raises FileNotFoundError: the part was merged away.
    """
    now = file.stat()
    return _row_groups(file, (now.st_ino, now.st_mtime_ns))


@lru_cache(_PARTS_KEPT)
def _row_groups(file: Path, _version: tuple[int, int]) -> Sequence[RowGroup]:
    with naming_damage(file):
        _, *told = file.stem.split("-")
        if told and _digest_of_end(file) != told[0]:
            raise OSError(errno.EIO, "its end is not what was written")
        groups = _told_by(file)
        if told[1:] and _digest_of_filters(file, groups) != told[1:]:
            ARCHIVE_DAMAGE.inc()
            _logger.warning("archive_filter_damaged", file=str(file), remedy="put a copy of it in its place")
            return [group._replace(filters={}) for group in groups]  # slower, and nothing is hidden
        return groups


def _told_by(file: Path) -> Sequence[RowGroup]:
    end = pq.read_metadata(file, memory_map=True)
    return [_row_group(file, number, end.row_group(number)) for number in range(end.num_row_groups)]


def _row_group(file: Path, number: int, group: Any) -> RowGroup:
    found = (group.column(place) for place in range(group.num_columns))
    chunks = {chunk.path_in_schema: chunk for chunk in found}
    bounds = {
        name: bounds for name in BOUNDED if name in chunks and (bounds := _bounds(chunks[name], group.num_rows)) != ()
    }
    filters = {
        name: (chunks[name].bloom_filter_offset, chunks[name].bloom_filter_length)
        for name in FILTERED
        if name in chunks and chunks[name].bloom_filter_length
    }
    return RowGroup(file, number, group.num_rows, bounds, filters)


def _bounds(chunk: Any, rows: int) -> Any:
    """Empty: the file does not say."""
    told = chunk.statistics
    if told is None:
        return ()
    if told.has_min_max:
        return told.min, told.max
    return None if told.has_null_count and told.null_count == rows else ()


def _may_have(file: int, start: int, length: int, value: str) -> bool:
    digest = xxhash.xxh64_intdigest(value.encode())
    header, blocks = length % _BLOCK_BYTES, length // _BLOCK_BYTES
    block = os.pread(file, _BLOCK_BYTES, start + header + ((digest >> 32) * blocks >> 32) * _BLOCK_BYTES)
    words = (int.from_bytes(block[at : at + 4], "little") for at in range(0, _BLOCK_BYTES, 4))
    return all(word >> ((digest & _LOW) * odd % (1 << 32) >> 27) & 1 for word, odd in zip(words, _WORDS, strict=True))
