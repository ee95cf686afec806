"""Writes one partition of an archived topic: Parquet parts of a few seconds, merged by hour, dropped by age.

Guarantee: when `write` returns, the records and the offset behind them are durable, all or nothing. One writer per
partition. What parts hold: `connectors.archive.forms`.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from connectors.archive.forms import LEDGER, SLICES, ArchiveForm
from connectors.archive.manifest import ArchiveManifest, Part, Retired, mended_manifest, part_files, write_manifest
from connectors.archive.part_ends import digests_of
from connectors.metrics import ARCHIVE_DAMAGE, ARCHIVE_PARTS, ARCHIVE_ROWS
from state.disk.files import rename_flushed
from state.model.durations import HOUR_MS, in_ms
from state.model.errors import StateDamagedError
from state.progress import made

_logger = structlog.get_logger(__name__)
_NO_SPAN = (-1, -1)
_LEFT_FOR = timedelta(minutes=10)
_ALIKE = 16
"""So many small parts of about the same size become one: a row is written some three times before its hour ends."""


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """Sizes, delays and life of an archived topic."""

    row_group_rows: int = 20_000
    """Rows per row group: what a query of one user reads at least."""
    settle: timedelta = timedelta(minutes=2)
    """How long after its end an hour is merged."""
    merge_rows_max: int = 500_000
    """Rows merged at a time, about 1 kB of memory each: an hour with more becomes several parts."""
    readers: timedelta = timedelta(minutes=5)
    """How long a query may still use parts that were merged away or dropped."""
    retention: timedelta | None = None
    """Hours that ended longer ago are dropped. None: they are kept."""


class ArchiveWriter:
    """The writer of one partition. Blocks on the disk; one thread at a time."""

    def __init__(self, directory: Path, options: ArchiveOptions | None = None, form: ArchiveForm = LEDGER) -> None:
        """Open or begin the partition; files that a crash left unnamed are removed."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._options, self._form = directory, options or ArchiveOptions(), form
        self._manifest = mended_manifest(directory)
        self._left: dict[int, int] = {}
        """Hours that cannot be merged, and when to try again."""
        self._remove_unnamed()

    @property
    def offset(self) -> int:
        """The first offset of the log that the archive does not include."""
        return self._manifest.offset

    @property
    def manifest(self) -> ArchiveManifest:
        """What is committed."""
        return self._manifest

    def skip_to(self, offset: int) -> None:
        """Go on at this offset, since the log retains nothing below; takes hold with the next `write`."""
        self._manifest = msgspec.structs.replace(self._manifest, offset=offset)

    def write(self, table: pa.Table, offset: int, kept: pa.Table | None = None) -> None:
        """Add a part, and one of slices that are kept as they are (none, if the table is empty), and make `offset` the
        place to go on. The two have one number.
        """
        serial = self._manifest.serial
        manifest = msgspec.structs.replace(self._manifest, offset=offset)
        for form, rows in ((self._form, table), (SLICES, kept)):
            if rows is not None and len(rows):
                hour: int = rows[form.log_time][0].as_py() // HOUR_MS
                span = (self.offset, offset) if form.ordered else _NO_SPAN
                manifest = msgspec.structs.replace(manifest, serial=serial)
                manifest = self._with_part(manifest, rows, hour, span, form=form)
                ARCHIVE_ROWS.inc(form.rows(rows))
        self._commit(manifest)

    def merge_hours(self, now_ms: int) -> int:
        """Merge the parts of each hour that ended, and join small ones of the others. Gives the hours merged.

        An hour with a part that is damaged or gone stays as it is, and is looked at again after some minutes.
        """
        merged, before = 0, self._manifest
        for hour in sorted({part.hour for part in self._manifest.parts}):
            if self._left.get(hour, now_ms) > now_ms:
                continue
            try:
                merged += self._merge_hour(hour, now_ms)
            except (StateDamagedError, FileNotFoundError) as error:
                self._left[hour] = now_ms + in_ms(_LEFT_FOR)
                ARCHIVE_DAMAGE.inc()
                _logger.warning("archive_part_damaged", problem=str(error))
        if self._manifest is not before:
            pa.default_memory_pool().release_unused()  # its allocator keeps what the merge took: 45 of 110 MB
        return merged

    def _merge_hour(self, hour: int, now_ms: int) -> bool:
        parts = [part for part in self._manifest.parts if part.hour == hour]
        if (hour + 1) * HOUR_MS > now_ms - in_ms(self._options.settle):
            self._join(hour, parts, now_ms)
            return False
        if all(part.compacted for part in parts):
            return False
        made()
        self._merge(hour, parts, now_ms)
        return True

    def _join(self, hour: int, parts: list[Part], now_ms: int) -> None:
        """A query opens every part: there are a few dozen small ones of an hour at most."""
        small = [
            part for part in parts if not part.compacted and part.rows * _ALIKE <= 2 * self._options.row_group_rows
        ]
        for form in (self._form, SLICES):
            mine = [part for part in small if part.file.endswith(form.suffix)]
            [(size, number)] = Counter(part.rows.bit_length() // 4 for part in mine).most_common(1) or [(0, 0)]
            if number >= _ALIKE and form.joined is not None:
                alike = [part for part in mine if part.rows.bit_length() // 4 == size][:_ALIKE]
                table = form.joined([self._directory / part.file for part in alike])
                self._commit(self._with_part(_without(self._manifest, alike, now_ms), table, hour, form=form))
                ARCHIVE_PARTS.labels("merged").inc(len(alike))

    def drop_old(self, now_ms: int) -> int:
        """Drop the hours that are past their retention: out of the manifest now, off the disk when no query uses them
        any more. Gives the parts dropped.
        """
        if self._options.retention is None:
            return 0
        oldest = now_ms - in_ms(self._options.retention)
        old = [part for part in self._manifest.parts if (part.hour + 1) * HOUR_MS <= oldest]
        if old:
            self._commit(_without(self._manifest, old, now_ms))
            ARCHIVE_PARTS.labels("dropped").inc(len(old))
        return len(old)

    def remove_retired(self, now_ms: int) -> int:
        """Remove the files that no query may use any more. Gives how many."""
        latest_use = now_ms - in_ms(self._options.readers)
        gone = [retired for retired in self._manifest.retired if retired.at <= latest_use]
        if gone:
            kept = tuple(retired for retired in self._manifest.retired if retired.at > latest_use)
            self._commit(msgspec.structs.replace(self._manifest, retired=kept))
            self._unlink(retired.file for retired in gone)
        return len(gone)

    def _merge(self, hour: int, parts: list[Part], now_ms: int) -> None:
        manifest = _without(self._manifest, parts, now_ms)
        for run in _adjoining(parts) if self._form.ordered else [parts]:
            manifest = self._with_merged(manifest, hour, run)
        ordered = sorted(manifest.parts, key=lambda part: part.first) if self._form.ordered else manifest.parts
        self._commit(msgspec.structs.replace(manifest, parts=tuple(ordered)))
        ARCHIVE_PARTS.labels("merged").inc(len(parts))

    def _with_merged(self, manifest: ArchiveManifest, hour: int, parts: Sequence[Part]) -> ArchiveManifest:
        """With parts that lie side by side as few; together they cover the same offsets."""
        files = [self._directory / part.file for part in parts]
        first, written = parts[0].first, 0
        rows = sum(part.rows for part in parts)
        for table in self._form.merged(files, self._options.merge_rows_max):
            written += len(table)
            span = _NO_SPAN
            if self._form.ordered:
                end: int = parts[-1].end if written == rows else table["offset"][-1].as_py() + 1
                span, first = (first, end), end
            manifest = self._with_part(manifest, table, hour, span, compacted=True)
        return manifest

    def _with_part(
        self,
        manifest: ArchiveManifest,
        table: pa.Table,
        hour: int,
        span: tuple[int, int] = _NO_SPAN,
        *,
        compacted: bool = False,
        form: ArchiveForm | None = None,
    ) -> ArchiveManifest:
        form = form or self._form
        draft = self._directory / f"{manifest.serial:010}{form.suffix}"
        group_rows = form.row_group_rows or self._options.row_group_rows
        pq.write_table(
            form.unfolded(table), draft, compression="zstd", row_group_size=group_rows, write_batch_size=group_rows,
            write_page_checksum=True, **(form.written_merged if compacted else form.written),
        )  # fmt: skip
        path = draft.with_stem("-".join([draft.stem, *digests_of(draft)]))
        rename_flushed(draft, path)
        ARCHIVE_PARTS.labels("written").inc()
        part = Part(path.name, hour, form.rows(table), path.stat().st_size, compacted, *span)
        return msgspec.structs.replace(manifest, serial=manifest.serial + 1, parts=(*manifest.parts, part))

    def _commit(self, manifest: ArchiveManifest) -> None:
        write_manifest(self._directory, manifest)
        self._manifest = manifest

    def _remove_unnamed(self) -> None:
        named = {part.file for part in self._manifest.parts} | {retired.file for retired in self._manifest.retired}
        self._unlink(path.name for path in part_files(self._directory) if path.name not in named)

    def _unlink(self, names: Iterable[str]) -> None:
        for name in names:
            (self._directory / name).unlink(missing_ok=True)
            ARCHIVE_PARTS.labels("removed").inc()


def _without(manifest: ArchiveManifest, parts: Sequence[Part], now_ms: int) -> ArchiveManifest:
    """With these parts retired."""
    gone = {part.file for part in parts}
    kept = tuple(part for part in manifest.parts if part.file not in gone)
    retired = (*manifest.retired, *(Retired(part.file, now_ms) for part in parts))
    return msgspec.structs.replace(manifest, parts=kept, retired=retired)


def _adjoining(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Runs of parts without a hole between them: merging over one would hide it."""
    ordered = sorted(parts, key=lambda part: part.first)
    holes = itertools.accumulate(
        (before.end != part.first for before, part in itertools.pairwise(ordered)), initial=False
    )
    for _, run in itertools.groupby(zip(holes, ordered, strict=True), key=lambda pair: pair[0]):
        yield [part for _, part in run]
