"""The log at the end of a dataflow: a sink that holds the epoch.

An epoch is complete only when its outputs are in the log. A failed append ends the flow, which goes on after its last
complete epoch: nothing is lost, and some outputs may be appended twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.log.interface import Log, NewRecord
from connectors.log.sharing import Partitions, SharedLog, logged


def sink_key(topic: str, partition: int) -> str:
    """The key under which a record for this partition goes into `LogSink`."""
    return f"{topic}/{partition}"


def keyed(records: Iterable[NewRecord]) -> list[tuple[str, list[NewRecord]]]:
    """Records in lists by partition, with their keys, as `LogSink` takes them. The engine spends as much on a list as
    on a record, several times what it costs to make one.
    """
    places: dict[tuple[str, int], list[NewRecord]] = {}
    for record in records:
        places.setdefault(record[:2], []).append(record)
    return [(sink_key(*place), found) for place, found in places.items()]


class LogSink(FixedPartitionedSink[NewRecord | list[NewRecord], None]):
    """Appends records, or lists of them, that come as (key, record) with the key of `sink_key`.

    All records of one partition pass through one part, so their order is that of arrival there; a list must hold
    records of one partition, or of partitions whose order does not matter. The records of a call are in the log when it
    returns. A failed append raises and ends the flow: nothing is skipped, the epoch stays open.
    """

    def __init__(self, open_log: Callable[[], Log], topics: Sequence[str]) -> None:
        """Describe the sink; it has as many parts as the widest topic has partitions."""
        self._shared = SharedLog(open_log)
        self._partitions = Partitions(self._shared, topics)
        self._part_of: dict[str, int] = {}

    def list_parts(self) -> list[str]:
        """Name the parts."""
        return [f"part{number:03}" for number in range(self._partitions.most())]

    def part_fn(self, item_key: str) -> int:
        """Partition n goes to part n modulo their number; topics with one partition are spread by name."""
        if item_key not in self._part_of:
            topic, _, number = item_key.rpartition("/")
            shift = zlib.adler32(topic.encode()) if self._partitions.of(topic) == 1 else 0
            self._part_of[item_key] = int(number) + shift
        return self._part_of[item_key]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _SinkPartition:
        """Open the process's log for the part."""
        return _SinkPartition(self._shared)


class _SinkPartition(StatefulSinkPartition[NewRecord | list[NewRecord], None]):
    """One part: a worker's share of the partitions."""

    def __init__(self, shared: SharedLog) -> None:
        self._shared, self._destination = shared, shared.acquire()

    def write_batch(self, values: list[NewRecord | list[NewRecord]]) -> None:
        records: list[NewRecord] = []
        for value in values:
            if isinstance(value, list):
                records.extend(value)
            else:
                records.append(value)
        if records:
            with logged("sink"):
                self._destination.append(records)

    def snapshot(self) -> None:
        """Everything was appended by `write_batch`."""

    def close(self) -> None:
        self._shared.release()
