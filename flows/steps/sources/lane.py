"""A log source whose partitions rest while their lane is full, and that says now and then that time has passed.

Records are handed out in portions, and between two of them it is asked again whether there is room: a record may hold
thousands of deliveries, so a lane is over its bound by what one portion comes to, not by what an epoch may read. What
was not handed out when a drain begins is read again by the next start.

Both in one source on purpose: every source partition must end an epoch before any goes on, so a second source that
sleeps between its ticks holds up the first one by that sleep at each end of an epoch (25 ms of 200 were measured).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.log.bytewax import AT_ONCE, LogSource, Offsets, SourcePartition
from connectors.log.interface import Record
from flows.steps.sources.ticks import Tick

Item = list[Record] | Tick
_SOON = timedelta(milliseconds=2)
_PORTION_BYTES = 1_000_000
"""Values of records handed out at once, unless a single one is larger: some thousand deliveries."""


class LaneSource(FixedPartitionedSource[Item, Offsets]):
    """Emits what `source` emits, and a `Tick` per interval for each of the first `ticking` partitions."""

    def __init__(
        self,
        source: LogSource,
        *,
        tick: timedelta,
        ticking: int,
        drain: Callable[[], bool],
        has_room: Callable[[int], bool] = lambda _partition: True,
    ) -> None:
        """`has_room(partition)`: whether its records may be read now; a drain is never held up."""
        self._source, self._tick, self._ticking = source, tick, ticking
        self._drain, self._has_room = drain, has_room

    def list_parts(self) -> list[str]:
        return self._source.list_parts()

    def build_part(self, step_id: str, for_part: str, resume_state: Offsets | None) -> _LanePartition:
        part, number = self._source.build_part(step_id, for_part, resume_state), int(for_part[1:])
        tick = Tick(number) if number < self._ticking else None
        return _LanePartition(part, tick, self._tick, self._drain, lambda: self._has_room(number))


class _LanePartition(StatefulSourcePartition[Item, Offsets]):
    def __init__(
        self,
        part: SourcePartition,
        tick: Tick | None,
        interval: timedelta,
        drain: Callable[[], bool],
        has_room: Callable[[], bool],
    ) -> None:
        self._part, self._drain, self._has_room = part, drain, has_room
        self._tick, self._interval_s = tick, interval.total_seconds()
        self._due = time.monotonic()  # the first tick comes at once: it opens the lane
        self._resting = False
        self._unread: deque[Record] = deque()
        """Was read from the log, not handed out yet."""

    def next_batch(self) -> list[Item]:
        self._resting = not (self._drain() or self._has_room())
        items: list[Item] = [] if self._resting else self._portion()
        self._part.hold("rests" if self._resting else "serves" if self._unread else None)
        now = time.monotonic()
        if self._tick is not None and now >= self._due:
            self._due = now + self._interval_s
            items.append(self._tick)
        return items

    def next_awake(self) -> datetime | None:
        if self._resting:
            return datetime.now(UTC) + _SOON
        return AT_ONCE if self._unread else self._part.next_awake()

    def _portion(self) -> list[Item]:
        """The next records.

        :raises StopIteration: the partition has ended.
        """
        if self._drain() or not self._unread:  # a drain is for the source to judge
            for records in self._part.next_batch():
                self._unread.extend(records)
        portion: list[Record] = []
        size = 0
        while self._unread and (not portion or size + len(self._unread[0].value) <= _PORTION_BYTES):
            portion.append(self._unread.popleft())
            size += len(portion[-1].value)
        return [portion] if portion else []

    def snapshot(self) -> Offsets:
        return self._part.snapshot()

    def close(self) -> None:
        self._part.close()
