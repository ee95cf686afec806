"""The sink of the track flow: records of the archived topics become Parquet parts, under manifests that say how far.

One sink partition owns the archive of one partition number of every archived topic. It gathers records, for a while or
up to a number, and writes them as one part per hour. A part is committed together with the offset behind it. Records
that were gathered and not yet written are read again after a crash.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.archive.forms import LEDGER, RAW, SLICES, ArchiveForm, raw_table
from connectors.archive.manifest import COLUMNAR
from connectors.archive.parquet import ArchiveOptions, ArchiveWriter
from connectors.archive.slice_parts import kept_slices
from connectors.log.interface import Log, Record
from connectors.log.source import SourceBatch, Tick
from connectors.metrics import ARCHIVE_BEHIND_SECONDS
from flows.steps.dead_letters import RecordHandler, Unhandled, location_of
from state.disk.lock import StateLock
from state.disk.poison import STARTS_MAX, PoisonJournal
from state.ledger import packed_ledger
from state.model.durations import HOUR_MS

Refusals = list[tuple[Record, Exception | None]]
"""Records that are no part of the archive, with what they raised; None: they ended the process."""


class Converted(NamedTuple):
    """What becomes of records."""

    rows: pa.Table
    slices: pa.Table
    """What is kept as it is."""
    refused: Refusals


_NO_SLICES = SLICES.schema.empty_table()
_CAREFUL_RECORDS = 256
"""Converted together after a death among many, before it is one by one: most deaths are no record's fault."""
_TOGETHER = -2
"""In the journal, in place of a key group: the record and those after it are converted together."""
_WARN_EVERY_MS = HOUR_MS
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PartOptions:
    """When gathered records become a part."""

    interval: timedelta = timedelta(seconds=3)
    """At the latest this long after the first was gathered."""
    records_max: int = 50_000
    """As soon as so many were gathered."""
    bytes_max: int = 2 << 20
    """As soon as so many bytes were gathered: of slices some 130 000 rows, which take 100 MB as columns."""
    kept_bytes: int = 24 << 10
    """Slices of so many bytes are kept as they are until their hour is merged."""


@dataclass(frozen=True, slots=True)
class ArchivedTopic:
    """One topic in the archive."""

    name: str
    parts: PartOptions = PartOptions()
    archive: ArchiveOptions = field(default_factory=ArchiveOptions)

    @property
    def form(self) -> ArchiveForm:
        """The ledger and what was heard later are archived as columns, every other topic as it is."""
        return LEDGER if self.name in COLUMNAR else RAW

    def table(self, records: Sequence[Record]) -> Converted:
        """The rows of records, slices that are kept, and what does not fit."""
        if self.name not in COLUMNAR:
            return Converted(raw_table(records), _NO_SLICES, [])
        kept, others = kept_slices(records, self.parts.kept_bytes)
        table, refused = packed_ledger(others)
        places = {record.offset: record for record in records} if refused else {}
        return Converted(table, kept, [(places[each.record.offset], each.error) for each in refused])

    def all_of(self, found: Sequence[Converted]) -> Converted:
        """The same of some conversions."""
        rows = pa.concat_tables([self.form.schema.empty_table(), *(each.rows for each in found)])
        kept = pa.concat_tables([_NO_SLICES, *(each.slices for each in found)])
        return Converted(rows, kept, [refused for each in found for refused in each.refused])


@dataclass(frozen=True, slots=True)
class TrackParts:
    """What the sink builds its partitions from."""

    directory: Path
    """The archive: a directory per topic, below it one per partition."""
    state: Path
    """Where each partition's owner keeps its lock and its notes on what it processes."""
    topics: Sequence[ArchivedTopic]
    open_log: Callable[[], Log]
    partitions: int
    now_ms: Callable[[], int]
    hot: timedelta
    """How long the log keeps records."""


class TrackSink(FixedPartitionedSink[SourceBatch, None]):
    """Takes (partition number as text, records or tick). Every record is archived; repeats cost space, not truth."""

    def __init__(self, parts: TrackParts) -> None:
        self._parts = parts

    def list_parts(self) -> list[str]:
        """As Bytewax numbers them: in the order of their names."""
        return [f"{number:03}" for number in range(self._parts.partitions)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_TrackPartition":
        return _TrackPartition(int(for_part), self._parts)


class _TrackPartition(StatefulSinkPartition[SourceBatch, None]):
    def __init__(self, partition: int, parts: TrackParts) -> None:
        own = parts.state / f"p{partition:03}"
        self._lock = StateLock.acquire(own, f"track partition {partition}")
        self._journal = PoisonJournal.open(own / "processing.journal", slots=4, unit=parts.state.parent)
        self._log = parts.open_log()
        self._topics = {
            topic.name: _TopicArchive(topic, partition, parts, self._log, self._journal) for topic in parts.topics
        }

    def write_batch(self, values: list[SourceBatch]) -> None:
        for value in values:
            if isinstance(value, list):
                for topic, records in groupby(value, attrgetter("topic")):
                    self._topics[topic].gather(list(records))
        ticked = any(isinstance(value, Tick) for value in values)
        for archive in self._topics.values():
            if archive.is_due():
                archive.write()
            if ticked:
                archive.keep_house()

    def snapshot(self) -> None:
        """The manifests know where to go on."""

    def close(self) -> None:
        for archive in self._topics.values():
            archive.write()
        self._log.close()
        self._journal.close()
        self._lock.release()


class _TopicArchive:
    """One partition of one topic: what was gathered, and its archive."""

    def __init__(
        self, topic: ArchivedTopic, partition: int, parts: TrackParts, log: Log, journal: PoisonJournal
    ) -> None:
        self._topic, self._partition, self._parts, self._log = topic, partition, parts, log
        self._archive = ArchiveWriter(parts.directory / topic.name / str(partition), topic.archive, topic.form)
        self._journal = journal
        self._handler = RecordHandler("track", journal, log.partitions("dead_letters"))
        died_in = [
            place for place, starts in journal.counts.items()
            if (place.topic, place.partition) == (topic.name, partition) and starts < STARTS_MAX
        ]  # fmt: skip
        self._careful = bool(died_in)
        self._died_in = {place.offset for place in died_in if place.group == _TOGETHER}
        self._gathered: list[Record] = []
        self._bytes = 0
        self._since_ms = self._warned_ms = 0

    def gather(self, records: list[Record]) -> None:
        next_offset = self._gathered[-1].offset + 1 if self._gathered else self._archive.offset
        read_again = records[0].offset < next_offset
        fresh = [record for record in records if record.offset >= next_offset] if read_again else records
        if fresh and not self._gathered:
            self._since_ms = self._parts.now_ms()
        self._gathered += fresh
        self._bytes += sum(len(record.value) for record in fresh)

    def is_due(self) -> bool:
        if not self._gathered:
            return False
        options, waited_ms = self._topic.parts, self._parts.now_ms() - self._since_ms
        return (
            waited_ms >= options.interval // timedelta(milliseconds=1)
            or len(self._gathered) >= options.records_max
            or self._bytes >= options.bytes_max
        )

    def write(self) -> None:
        if not self._gathered:
            return
        self._leave_out_what_is_gone()
        for records in _by_hour(self._gathered):
            found = self._converted(records)
            if found.refused:
                now_ms = self._parts.now_ms()
                self._log.append(
                    [self._handler.set_aside(record, Unhandled(error), now_ms) for record, error in found.refused]
                )
            self._archive.write(found.rows, records[-1].offset + 1, found.slices)
        self._gathered, self._bytes = [], 0

    def keep_house(self) -> None:
        now_ms = self._parts.now_ms()
        self._archive.merge_hours(now_ms)
        self._archive.drop_old(now_ms)
        self._archive.remove_retired(now_ms)
        behind_ms = max(0, now_ms - self._gathered[0].timestamp_ms) if self._gathered else 0
        ARCHIVE_BEHIND_SECONDS.labels(self._topic.name).set(behind_ms / 1000)
        if behind_ms > self._parts.hot / timedelta(milliseconds=2) and now_ms - self._warned_ms >= _WARN_EVERY_MS:
            self._warned_ms = now_ms
            _logger.warning(
                "archive_far_behind", topic=self._topic.name, partition=self._partition, behind_ms=behind_ms,
                remedy="raise log.retention until it has caught up: what the log drops before is not archived",
            )  # fmt: skip

    def _leave_out_what_is_gone(self) -> None:
        """Where the log has dropped what was not archived, the manifest must not say that it was."""
        first, expected = self._gathered[0].offset, self._archive.offset
        if first == expected:
            return
        begin = min(first, self._log.begin_offset(self._topic.name, self._partition))
        if begin > expected:
            if expected:
                _logger.error("archive_has_a_hole", topic=self._topic.name, partition=self._partition,
                              first=expected, end=begin)  # fmt: skip
            self._archive.skip_to(begin)

    def _converted(self, records: Sequence[Record]) -> Converted:
        """All at once; in small parts where that raises, or where the process died while it did this before."""
        convicted = [record for record in records if self._is_suspect(record)] if self._journal.counts else []
        left = [record for record in records if record not in convicted] if convicted else list(records)
        size = _CAREFUL_RECORDS if self._careful else max(len(left), 1)
        self._careful = False
        found = self._topic.all_of([self._part(left[first : first + size]) for first in range(0, len(left), size)])
        return found._replace(refused=[*found.refused, *((record, None) for record in convicted)])

    def _part(self, records: Sequence[Record]) -> Converted:
        """Together; where that fails, as before or now, in smaller parts, and in the end one by one."""
        if len(records) == 1:
            return self._alone(records[0])
        if records[0].offset not in self._died_in:
            where = location_of(records[0], _TOGETHER)
            found = self._handler.handle(where, partial(self._topic.table, records))
            if not isinstance(found, Unhandled):
                return found
        size = _CAREFUL_RECORDS if len(records) > _CAREFUL_RECORDS else 1
        return self._topic.all_of([self._part(records[first : first + size]) for first in range(0, len(records), size)])

    def _alone(self, record: Record) -> Converted:
        found = self._handler.handle(location_of(record), partial(self._topic.table, [record]))
        if isinstance(found, Unhandled):
            return self._topic.all_of([])._replace(refused=[(record, found.error)])
        return found

    def _is_suspect(self, record: Record) -> bool:
        return self._journal.suspect(*location_of(record))


def _by_hour(records: list[Record]) -> Iterable[list[Record]]:
    """Mostly it is one."""
    times = [record.timestamp_ms for record in records]
    if min(times) // HOUR_MS == max(times) // HOUR_MS:
        return [records]
    return [[*hour] for _, hour in groupby(records, lambda record: record.timestamp_ms // HOUR_MS)]
