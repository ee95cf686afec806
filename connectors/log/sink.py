"""The log at the end of a dataflow: a sink that holds the epoch.

An epoch is complete only when its outputs are in the log. A failed append ends the flow, which goes on after its last
complete epoch: nothing is lost, and some outputs may be appended twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.log.interface import Log, NewRecord
from connectors.log.sharing import Partitions, SharedLog, logged


def sink_key(topic: str, partition: int) -> str:
    """The key under which a record for this partition goes into `LogSink`."""
    return f"{topic}/{partition}"


def keyed(record: NewRecord) -> tuple[str, NewRecord]:
    """A record with its key, as `LogSink` takes it."""
    return sink_key(record.topic, record.partition), record


class LogSink(FixedPartitionedSink[NewRecord | list[NewRecord], None]):
    """Appends records, or lists of them, that come as (key, record) with the key of `sink_key`.

    All records of one partition pass through one of `lanes` sink partitions, so their order is that of arrival there; a
    list must hold records of one partition, or of partitions whose order does not matter. The records of a call are
    in the log when it returns; with a `linger`, at the latest by a call after that time, by the end of the epoch, or
    when `buffer_max` records wait. A failed append raises and ends the flow: nothing is skipped, the epoch stays open.
    """

    def __init__(
        self,
        open_log: Callable[[], Log],
        topics: Sequence[str],
        *,
        lanes: int | None = None,
        linger: timedelta = timedelta(),
        buffer_max: int = 4096,
    ) -> None:
        """Describe the sink. `lanes` must never shrink for a recovery store; default: the widest topic's partitions."""
        self._shared, self._lanes = SharedLog(open_log), lanes
        self._linger, self._buffer_max = linger, buffer_max
        self._partitions = Partitions(self._shared, topics)
        self._lane_of: dict[str, int] = {}

    def list_parts(self) -> list[str]:
        """Name the lanes."""
        return [f"lane{number:03}" for number in range(self._lanes or self._partitions.most())]

    def part_fn(self, item_key: str) -> int:
        """Partition n goes to lane n modulo the lanes; topics with one partition are spread by name."""
        if item_key not in self._lane_of:
            topic, _, number = item_key.rpartition("/")
            shift = zlib.adler32(topic.encode()) if self._partitions.of(topic) == 1 else 0
            self._lane_of[item_key] = int(number) + shift
        return self._lane_of[item_key]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _SinkPartition:
        """Open the process's log for the lane."""
        return _SinkPartition(self._shared, self._linger, self._buffer_max)


class _SinkPartition(StatefulSinkPartition[NewRecord | list[NewRecord], None]):
    """One lane."""

    def __init__(self, shared: SharedLog, linger: timedelta, buffer_max: int) -> None:
        self._shared, self._destination = shared, shared.acquire()
        self._linger, self._buffer_max = linger, buffer_max
        self._buffer: list[NewRecord] = []
        self._oldest_at: datetime | None = None

    def write_batch(self, values: list[NewRecord | list[NewRecord]]) -> None:
        for value in values:
            if isinstance(value, list):
                self._buffer.extend(value)
            else:
                self._buffer.append(value)
        now = datetime.now(UTC)
        self._oldest_at = self._oldest_at or now
        if len(self._buffer) >= self._buffer_max or now - self._oldest_at >= self._linger:
            self._flush()

    def snapshot(self) -> None:
        self._flush()

    def close(self) -> None:
        self._shared.release()

    def _flush(self) -> None:
        if self._buffer:
            with logged("sink"):
                self._destination.append(self._buffer)
            self._buffer = []
        self._oldest_at = None
