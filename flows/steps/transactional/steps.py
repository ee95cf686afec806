"""The Bytewax side of P0: lanes as keyed steps over the partitions of `events.p0`."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import structlog
from bytewax.operators import StatefulBatchLogic

from connectors.log.interface import NewRecord
from flows.steps.sources.lane import Item
from flows.steps.sources.ticks import Tick
from flows.steps.transactional.lane import P0Lane
from flows.steps.transactional.parts import P0Parts

_SOON = timedelta(milliseconds=2)
_LATER = timedelta(milliseconds=25)
DRAIN_DEADLINE = timedelta(seconds=20)
OPEN_MAX = 20_000
"""Open decisions of a lane from which on no more of its partition are read.

Whatever fails at once is over within a minute for each of its channels (RULES 4); what a provider keeps waiting is not,
since the minute begins with the first attempt, and a provider has a bound of requests in flight. A decision with three
deliveries takes 6 kB of memory, as measured, so a full lane takes 120 MB, which is also what a restart resumes.
"""
_logger = structlog.get_logger(__name__)


class P0Lanes:
    """The open lanes of this process."""

    def __init__(self, parts: P0Parts, *, open_max: int = OPEN_MAX) -> None:
        self.parts, self._open_max = parts, open_max
        self._lanes: dict[int, P0Lane] = {}
        self._full: set[int] = set()
        self._lock = threading.RLock()

    def lane(self, number: int) -> P0Lane:
        """A lane, opened at the first call."""
        with self._lock:
            if number not in self._lanes:
                self._lanes[number] = P0Lane(self.parts, number)
            return self._lanes[number]

    def has_room(self, partition: int) -> bool:
        """Whether records of a partition may be read; the others wait in the log, where their ttl goes on."""
        lane, was_full = self._lanes.get(partition), partition in self._full
        limit = self._open_max - self._open_max // 10 if was_full else self._open_max  # it is not told at every end
        if lane is None or lane.open < limit:
            self._full.discard(partition)
        elif not was_full:
            self._full.add(partition)
            _logger.error("p0_lane_full", partition=partition, open=lane.open, effect="its events wait in the log")
        return partition not in self._full

    def epoch(self) -> None:
        """An epoch is complete."""
        for lane in list(self._lanes.values()):
            lane.epoch()


class P0Logic(StatefulBatchLogic[Item, NewRecord, None]):
    """One lane as a keyed step; `None` as state: the lane's file has it."""

    def __init__(self, lanes: P0Lanes) -> None:
        self._lanes = lanes
        self._lane: P0Lane | None = None

    def on_batch(self, values: list[Item]) -> tuple[list[NewRecord], bool]:
        if self._lane is None:
            self._lane = self._lanes.lane(lane_number(values[0]))
        records = [record for value in values if isinstance(value, list) for record in value]
        outputs = self._lane.accept(records) if records else []
        return [*outputs, *self._lane.collect()], False

    def on_notify(self) -> tuple[list[NewRecord], bool]:
        return ([] if self._lane is None else self._lane.collect()), False

    def on_eof(self) -> tuple[list[NewRecord], bool]:
        """Finish what is under way, and leave the rest for the next start."""
        if self._lane is None:
            return [], False
        self._lanes.parts.sender.drain(DRAIN_DEADLINE)
        return self._lane.collect(last=True), False

    def notify_at(self) -> datetime | None:
        if self._lane is None or not self._lane.open:
            return None
        return datetime.now(UTC) + (_SOON if self._lanes.parts.sender.in_flight else _LATER)

    def snapshot(self) -> None:
        return None


def lane_number(item: Item) -> int:
    """The lane of records or of a tick."""
    return item.partition if isinstance(item, Tick) else item[0].partition
