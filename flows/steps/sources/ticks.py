"""A source that says, now and then, that time has passed: for work that must happen while nothing arrives."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

_AWAKE = timedelta(milliseconds=2)
"""A source that sleeps longer holds up every other source of the worker: until it has ended an epoch too, they may not
begin the next, and the engine does not rest meanwhile. The source beside it waits for the log, so that this is no loop.
"""


class Tick(NamedTuple):
    """An interval has passed for a partition."""

    partition: int


class TickSource(FixedPartitionedSource[Tick, None]):
    """A `Tick` per partition at the start and after each interval, by a monotonic clock in seconds. Keeps no state."""

    def __init__(
        self,
        partitions: int,
        interval: timedelta,
        *,
        clock: Callable[[], float],
        drain: Callable[[], bool],
        mine: Callable[[int], bool] = lambda _number: True,
    ) -> None:
        """`mine(number)`: whether this process of the cluster ticks for that partition."""
        self._partitions, self._interval, self._clock, self._drain = partitions, interval, clock, drain
        self._mine = mine

    def list_parts(self) -> list[str]:
        return [f"p{number:03}" for number in range(self._partitions) if self._mine(number)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_TickPartition":
        return _TickPartition(int(for_part[1:]), self._interval, self._clock, self._drain)


class _TickPartition(StatefulSourcePartition[Tick, None]):
    def __init__(
        self, partition: int, interval: timedelta, clock: Callable[[], float], drain: Callable[[], bool]
    ) -> None:
        self._tick, self._interval = Tick(partition), interval.total_seconds()
        self._clock, self._drain = clock, drain
        self._due = clock()

    def next_batch(self) -> list[Tick]:
        if self._drain():
            raise StopIteration
        now = self._clock()
        if now < self._due:
            return []
        self._due = now + self._interval
        return [self._tick]

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + _AWAKE

    def snapshot(self) -> None:
        return None
