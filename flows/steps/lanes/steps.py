"""The Bytewax side of deliver and transactional: lanes as keyed steps, their credit, their epochs.

A lane's step hands records to the dispatcher's loop and takes what ended from it, every few milliseconds while anything
is open (DECISIONS, Waiting in a lane). It keeps no state in Bytewax: a lane's file knows where to go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from bytewax.operators import StatefulBatchLogic

from connectors.log.interface import NewRecord
from connectors.log.sink import keyed
from connectors.log.source import SourceBatch, Tick
from flows.steps.lanes.lane import Lane, MakeStrategy
from flows.steps.lanes.parts import LaneParts
from flows.steps.lanes.turns import LaneTurns

_SOON = timedelta(milliseconds=2)
_LATER = timedelta(milliseconds=25)
DRAIN_DEADLINE = timedelta(seconds=20)


class Lanes:
    """The open lanes of this process; threads of several workers may ask."""

    def __init__(self, parts: LaneParts, make: MakeStrategy, *, open_max: int) -> None:
        self.parts, self._make, self._open_max = parts, make, open_max
        self._lanes: dict[int, Lane] = {}
        self._turns: dict[int, LaneTurns] = {}
        """By thread."""
        self._lock = threading.Lock()
        if parts.backlog is not None:
            parts.backlog.full = self.fullness

    def lane(self, number: int) -> Lane:
        """A lane, opened at the first call."""
        with self._lock:
            if number not in self._lanes:
                self._lanes[number] = Lane(self.parts, number, self._make)
            return self._lanes[number]

    @property
    def turns(self) -> LaneTurns:
        """Of this thread's lanes."""
        return self._turns.setdefault(threading.get_ident(), LaneTurns(time.monotonic))

    def has_room(self, partition: int) -> bool:
        """Whether records of a partition may be read, of some topic. Each look at the log asks."""
        for turns in list(self._turns.values()):  # the steps may have another thread than this source
            turns.alternation.looked()
        return len(self.full(partition)) < len(self.parts.topics)

    def full(self, partition: int) -> Collection[str]:
        """Topics of whose partition no more may be read: of P2 from half as much on."""
        lane = self._lanes.get(partition % self.parts.lanes)
        most = self._open_max if partition < self.parts.lanes else self._open_max // 2
        return () if lane is None else lane.full(most)

    def busy(self) -> bool:
        """Whether something is under way whose end the lanes should learn of soon."""
        return any(lane.open for lane in list(self._lanes.values()))

    def hungry(self) -> bool:
        """Whether a lane has to be asked again at once."""
        return any(lane.hungry for lane in list(self._lanes.values()))

    def fullness(self) -> float:
        """The share of its room that the fullest lane uses."""
        return max((lane.open for lane in list(self._lanes.values())), default=0) / self._open_max

    def epoch(self) -> None:
        """An epoch is complete."""
        for lane in list(self._lanes.values()):
            lane.epoch_complete()

    def close(self) -> None:
        """Give all lanes back."""
        with self._lock:
            for lane in self._lanes.values():
                lane.close()
            self._lanes.clear()


class LaneLogic(StatefulBatchLogic[SourceBatch, tuple[str, list[NewRecord]], None]):
    """One lane as a keyed step; `None` as state: the lane's file has it."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._lane: Lane | None = None
        self._accepted = False
        """Records, since its other work was done: first all lanes take theirs."""

    def on_batch(self, values: list[SourceBatch]) -> tuple[list[tuple[str, list[NewRecord]]], bool]:
        if self._lane is None:
            self._lane = self._lanes.lane(lane_number(values[0], self._lanes.parts))
        records = [record for value in values if isinstance(value, list) for record in value]
        if not records:
            return self._turn(self._lane) if not self._lane.open else ([], False)
        self._accepted = True
        return keyed(self._lane.accept(records)), False

    def on_notify(self) -> tuple[list[tuple[str, list[NewRecord]]], bool]:
        if self._lane is None or not self._is_up(self._lane):
            return [], False
        self._lanes.turns.works(self._lane)
        return self._turn(self._lane)

    def _is_up(self, lane: Lane) -> bool:
        """Whether it may work; one with nothing open does next to nothing."""
        return not lane.busy or self._lanes.turns.may_work(lane)

    def _turn(self, lane: Lane) -> tuple[list[tuple[str, list[NewRecord]]], bool]:
        """What is not taking records."""
        self._accepted = False
        return keyed([] if lane.store() else lane.collect()), False

    def on_eof(self) -> tuple[list[tuple[str, list[NewRecord]]], bool]:
        """Finish what is under way, and leave the rest for the next start."""
        if self._lane is None:
            return [], False
        self._lanes.parts.dispatcher.drain(DRAIN_DEADLINE)
        self._lane.store()
        return keyed(self._lane.collect(last=True)), False

    def notify_at(self) -> datetime | None:
        if self._lane is None or not (self._lane.busy or self._accepted):
            return None
        if self._accepted and self._is_up(self._lane):
            return datetime.now(UTC)
        soon = self._accepted or self._lane.hungry or self._lanes.parts.dispatcher.queues.in_flight
        return datetime.now(UTC) + (_SOON if soon else _LATER)

    def snapshot(self) -> None:
        return None


def lane_number(item: SourceBatch, parts: LaneParts) -> int:
    """The lane of records or of a tick."""
    return (item.partition if isinstance(item, Tick) else item[0].partition) % parts.lanes
