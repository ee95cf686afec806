"""The source of the P0 flow: one reader, one source partition for all partitions of the topic.

Source partitions wait for each other at every end of an epoch, and each of them may be waiting for a record at that
time: with one for each of two partitions of the topic, one event in a hundred was held up by 20 ms. One alone waits for
nobody, and the log's doorbell wakes it. In a cluster every process has one, over the partitions whose lanes it holds.

A partition whose lane is full is passed over: its records wait in the log, and the other partitions go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.log.bytewax import AT_ONCE
from connectors.log.interface import Log, Record
from flows.steps.sources.lane import Item
from flows.steps.sources.ticks import Tick

_WAIT = timedelta(milliseconds=10)
_BATCH_MAX = 500


class P0Source(FixedPartitionedSource[Item, None]):
    """Emits the records of each partition in order, as lists, and a `Tick` per partition and interval."""

    def __init__(
        self,
        open_log: Callable[[], Log],
        topic: str,
        *,
        start: Callable[[int], int],
        tick: timedelta,
        drain: Callable[[], bool],
        on_epoch: Callable[[], None],
        process: int = 0,
        mine: Callable[[int], bool] = lambda _partition: True,
        has_room: Callable[[int], bool] = lambda _partition: True,
    ) -> None:
        """`start(partition)` gives the first offset; `on_epoch` is called when an epoch is complete.

        `process` of the cluster reads the partitions that are `mine`, each while its lane `has_room`.
        """
        self._open_log, self._topic, self._start = open_log, topic, start
        self._process, self._mine = process, mine
        self._tick, self._drain, self._on_epoch, self._has_room = tick, drain, on_epoch, has_room

    def list_parts(self) -> list[str]:
        return ["p0" if self._process == 0 else f"p0-{self._process}"] if self._partitions() else []

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _P0Partition:
        starts = {(self._topic, number): self._start(number) for number in self._partitions()}
        return _P0Partition(self._open_log(), starts, self._tick, self._drain, self._on_epoch, self._has_room)

    def _partitions(self) -> list[int]:
        log = self._open_log()
        try:
            return [number for number in range(log.partitions(self._topic)) if self._mine(number)]
        finally:
            log.close()


class _P0Partition(StatefulSourcePartition[Item, None]):
    def __init__(
        self,
        log: Log,
        starts: dict[tuple[str, int], int],
        interval: timedelta,
        drain: Callable[[], bool],
        on_epoch: Callable[[], None],
        has_room: Callable[[int], bool],
    ) -> None:
        self._log, self._reader = log, log.reader(starts)
        self._places, self._has_room = list(starts), has_room
        self._interval_s, self._due = interval.total_seconds(), time.monotonic()
        self._drain, self._on_epoch = drain, on_epoch
        self._begins = False

    def next_batch(self) -> list[Item]:
        if self._drain():
            raise StopIteration
        if self._begins:
            self._begins = False
            self._on_epoch()
        by_partition: dict[int, list[Record]] = {}
        readable = {place for place in self._places if self._has_room(place[1])}
        for record in self._reader.poll(_BATCH_MAX, _WAIT, None if len(readable) == len(self._places) else readable):
            by_partition.setdefault(record.partition, []).append(record)
        return [*by_partition.values(), *self._ticks()]

    def next_awake(self) -> datetime:
        """At once: the reader waits by itself."""
        return AT_ONCE

    def snapshot(self) -> None:
        self._begins = True

    def close(self) -> None:
        self._reader.close()
        self._log.close()

    def _ticks(self) -> list[Item]:
        now = time.monotonic()
        if now < self._due:
            return []
        self._due = now + self._interval_s
        return [Tick(number) for _, number in self._places]
