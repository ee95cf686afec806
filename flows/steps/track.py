"""The sink of the track flow: ledger records become Parquet parts, under a manifest that says how far they reach.

One sink partition owns the archive of one partition of topic `ledger`. It gathers records for a few seconds or up to a
number, writes them as one part, and commits the part together with the offset behind it: what was gathered and not yet
written is read again after a crash.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.archive.parquet import ArchiveWriter
from connectors.log.interface import Log, Record
from connectors.metrics import DEAD_LETTERS
from flows.steps.resuming import dead_letter
from flows.steps.ticks import Tick
from state.ledger import ledger_table

Item = list[Record] | Tick


@dataclass(frozen=True, slots=True)
class PartOptions:
    """When gathered records become a part."""

    interval: timedelta = timedelta(seconds=3)
    """At the latest this long after the first was gathered."""
    records_max: int = 50_000
    """As soon as so many were gathered."""
    bytes_max: int = 64 << 20
    """As soon as so many bytes were gathered."""


@dataclass(frozen=True, slots=True)
class TrackParts:
    """What the sink builds its partitions from."""

    open_archive: Callable[[int], ArchiveWriter]
    open_log: Callable[[], Log]
    partitions: int
    now_ms: Callable[[], int]
    options: PartOptions = PartOptions()


class TrackSink(FixedPartitionedSink[Item, None]):
    """Takes (partition number as text, records or tick). Every record is archived; repeats cost space, not truth."""

    def __init__(self, parts: TrackParts) -> None:
        self._parts = parts

    def list_parts(self) -> list[str]:
        return [str(number) for number in range(self._parts.partitions)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_TrackPartition":
        return _TrackPartition(int(for_part), self._parts)


class _TrackPartition(StatefulSinkPartition[Item, None]):
    def __init__(self, partition: int, parts: TrackParts) -> None:
        self._parts, self._options = parts, parts.options
        self._archive, self._log = parts.open_archive(partition), parts.open_log()
        self._gathered: list[Record] = []
        self._bytes = 0
        self._since_ms = 0

    def write_batch(self, values: list[Item]) -> None:
        for value in values:
            if isinstance(value, list):
                self._gather(value)
        if self._is_due():
            self._write()
        if any(isinstance(value, Tick) for value in values):
            self._keep_house()

    def snapshot(self) -> None:
        """The manifest knows where to go on."""

    def close(self) -> None:
        self._write()
        self._log.close()

    def _gather(self, records: list[Record]) -> None:
        next_offset = self._gathered[-1].offset + 1 if self._gathered else self._archive.offset
        fresh = [record for record in records if record.offset >= next_offset]
        if fresh and not self._gathered:
            self._since_ms = self._parts.now_ms()
        self._gathered += fresh
        self._bytes += sum(len(record.value) for record in fresh)

    def _is_due(self) -> bool:
        if not self._gathered:
            return False
        waited_ms = self._parts.now_ms() - self._since_ms
        return (
            waited_ms >= self._options.interval // timedelta(milliseconds=1)
            or len(self._gathered) >= self._options.records_max
            or self._bytes >= self._options.bytes_max
        )

    def _write(self) -> None:
        if not self._gathered:
            return
        table, refused = ledger_table(self._gathered)
        if refused:
            now_ms = self._parts.now_ms()
            records = {record.offset: record for record in self._gathered}
            partitions = self._log.partitions("dead_letters")
            self._log.append(
                [
                    dead_letter(
                        records[each.record.offset], each.error, stage="track", at=now_ms, partitions=partitions
                    )
                    for each in refused
                ]
            )
            DEAD_LETTERS.labels("track").inc(len(refused))
        self._archive.write(table, self._gathered[-1].offset + 1)
        self._gathered, self._bytes = [], 0

    def _keep_house(self) -> None:
        now_ms = self._parts.now_ms()
        self._archive.merge_hours(now_ms)
        self._archive.remove_retired(now_ms)
