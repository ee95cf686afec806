"""Writes one partition of the ledger's archive: Parquet parts of a few seconds, merged by hour.

Guarantee: what `write` returned from is durable together with the offset behind it, all or nothing. One writer per
partition. Columns: `state/ledger.py`; rows go by (key group, user, time), so that a user's records lie together.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from connectors.archive.manifest import Manifest, Part, Retired, flush_directory, read_manifest, write_manifest
from connectors.metrics import ARCHIVE_PARTS, ARCHIVE_ROWS
from state.ledger import SCHEMA, latest

dataset: Any = pyarrow.dataset  # its stubs refuse expressions
HOUR_MS = 3_600_000
_SORTING: list[tuple[str, Literal["ascending", "descending"]]] = [
    ("key_group", "ascending"),
    ("user", "ascending"),
    ("time", "ascending"),
    ("log_offset", "ascending"),
]
_SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """Sizes and delays of the archive."""

    row_group_rows: int = 20_000
    """Rows per row group: what a query of one user reads at least."""
    settle: timedelta = timedelta(minutes=2)
    """How long after its end an hour is merged."""
    merge_rows_max: int = 500_000
    """Rows merged at a time, about 1 kB of memory each: an hour with more becomes several parts by key group."""
    readers: timedelta = timedelta(minutes=5)
    """How long a query may still use parts that were merged away."""


class ArchiveWriter:
    """The writer of one partition. Blocks on the disk; one thread at a time."""

    def __init__(self, directory: Path, options: ArchiveOptions | None = None) -> None:
        """Open or begin the partition; files that a crash left unnamed are removed."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._options = directory, options or ArchiveOptions()
        self._manifest = read_manifest(directory)
        self._remove_unnamed()

    @property
    def offset(self) -> int:
        """The first offset of the log that the archive does not include."""
        return self._manifest.offset

    @property
    def manifest(self) -> Manifest:
        """What is committed."""
        return self._manifest

    def write(self, table: pa.Table, offset: int) -> None:
        """Add a part (none, if the table is empty) and make `offset` the place to go on."""
        manifest = msgspec.structs.replace(self._manifest, offset=offset)
        if len(table):
            manifest = self._with_part(manifest, table, _hour(table), compacted=False)
        self._commit(manifest)
        ARCHIVE_ROWS.inc(len(table))

    def merge_hours(self, now_ms: int) -> int:
        """Merge the parts of each hour that ended into one with the last state of each key. Gives the hours merged."""
        settled = now_ms - self._options.settle // timedelta(milliseconds=1)
        merged = 0
        for hour in sorted({part.hour for part in self._manifest.parts}):
            parts = [part for part in self._manifest.parts if part.hour == hour]
            if (hour + 1) * HOUR_MS <= settled and not all(part.compacted for part in parts):
                self._merge(hour, parts, now_ms)
                merged += 1
        return merged

    def remove_retired(self, now_ms: int) -> int:
        """Remove the files that no query may use any more. Gives how many."""
        latest_use = now_ms - self._options.readers // timedelta(milliseconds=1)
        gone = [retired for retired in self._manifest.retired if retired.at <= latest_use]
        if gone:
            kept = tuple(retired for retired in self._manifest.retired if retired.at > latest_use)
            self._commit(msgspec.structs.replace(self._manifest, retired=kept))
            self._unlink(retired.file for retired in gone)
        return len(gone)

    def _merge(self, hour: int, parts: list[Part], now_ms: int) -> None:
        manifest = msgspec.structs.replace(
            self._manifest,
            parts=tuple(part for part in self._manifest.parts if part.hour != hour),
            retired=(*self._manifest.retired, *(Retired(part.file, now_ms) for part in parts)),
        )
        for table in self._merged(parts):
            manifest = self._with_part(manifest, table, hour, compacted=True)
        self._commit(manifest)
        ARCHIVE_PARTS.labels("merged").inc(len(parts))

    def _merged(self, parts: list[Part]) -> Iterator[pa.Table]:
        """The last state of each key, in tables of bounded size; the states of a key are in one key group."""
        files = [str(self._directory / part.file) for part in parts]
        source = dataset.dataset(files, schema=SCHEMA, format="parquet")
        groups = np.unique(source.to_table(columns=["key_group"])["key_group"].to_numpy())
        pieces = -(-sum(part.rows for part in parts) // self._options.merge_rows_max)
        for piece in np.array_split(groups, min(pieces, len(groups))):
            first, last = int(piece[0]), int(piece[-1])
            chosen = (dataset.field("key_group") >= first) & (dataset.field("key_group") <= last)
            yield latest(source.to_table(filter=chosen))

    def _with_part(self, manifest: Manifest, table: pa.Table, hour: int, *, compacted: bool) -> Manifest:
        name = f"{manifest.serial:010}{_SUFFIX}"
        path = self._directory / name
        pq.write_table(
            table.sort_by(_SORTING), path, compression="zstd", row_group_size=self._options.row_group_rows
        )  # fmt: skip
        _flush_file(path)
        ARCHIVE_PARTS.labels("written").inc()
        part = Part(name, hour, len(table), path.stat().st_size, compacted)
        return msgspec.structs.replace(manifest, serial=manifest.serial + 1, parts=(*manifest.parts, part))

    def _commit(self, manifest: Manifest) -> None:
        flush_directory(self._directory)
        write_manifest(self._directory, manifest)
        self._manifest = manifest

    def _remove_unnamed(self) -> None:
        named = {part.file for part in self._manifest.parts} | {retired.file for retired in self._manifest.retired}
        self._unlink(path.name for path in self._directory.glob(f"*{_SUFFIX}") if path.name not in named)

    def _unlink(self, names: Iterable[str]) -> None:
        for name in names:
            (self._directory / name).unlink(missing_ok=True)
            ARCHIVE_PARTS.labels("removed").inc()


def _hour(table: pa.Table) -> int:
    first: int = table["log_ms"][0].as_py()
    return first // HOUR_MS


def _flush_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
