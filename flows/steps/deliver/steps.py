"""The Bytewax side of deliver: lanes as keyed steps, their credit, their epochs.

A lane's step hands records to the sender's loop and takes what ended from it, every few milliseconds while anything is
open (BYTEWAX 7, pattern b). It keeps no state in Bytewax: a lane's file knows where to go on.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

from bytewax.operators import StatefulBatchLogic

from connectors.log.interface import NewRecord
from flows.steps.deliver.lane import DeliverLane
from flows.steps.deliver.parts import LaneParts
from flows.steps.sources.lane import Item
from flows.steps.sources.ticks import Tick

_SOON = timedelta(milliseconds=2)
_LATER = timedelta(milliseconds=25)
_COUNTS_SETTLE_S = 0.5
DRAIN_DEADLINE = timedelta(seconds=20)


class Lanes:
    """The open lanes of this process; threads of several workers may ask."""

    def __init__(self, parts: LaneParts, *, open_max: int) -> None:
        self.parts, self._open_max = parts, open_max
        self._lanes: dict[int, DeliverLane] = {}
        self._lock = threading.Lock()

    def lane(self, number: int) -> DeliverLane:
        """A lane, opened at the first call."""
        with self._lock:
            if number not in self._lanes:
                self._lanes[number] = DeliverLane(self.parts, number)
            return self._lanes[number]

    def has_room(self, partition: int) -> bool:
        """Whether records of a partition may be read: P2 only while a lane is less than half full."""
        lane = self._lanes.get(partition % self.parts.half)
        limit = self._open_max if partition < self.parts.half else self._open_max // 2
        return lane is None or lane.load < limit

    def epoch(self) -> None:
        """An epoch is complete."""
        for lane in list(self._lanes.values()):
            lane.epoch()

    def close(self) -> None:
        """Give all lanes back."""
        with self._lock:
            for lane in self._lanes.values():
                lane.close()
            self._lanes.clear()


class DeliverLogic(StatefulBatchLogic[Item, NewRecord, None]):
    """One lane as a keyed step; `None` as state: the lane's file has it."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._lane: DeliverLane | None = None
        self._sampled_at = 0.0
        self._ends: dict[tuple[str, int], int] | None = None

    def on_batch(self, values: list[Item]) -> tuple[list[NewRecord], bool]:
        if self._lane is None:
            self._lane = self._lanes.lane(lane_number(values[0], self._lanes.parts.half))
        records = [record for value in values if isinstance(value, list) for record in value]
        outputs = self._lane.accept(records) if records else []
        return [*outputs, *self._outputs(self._lane)], False

    def on_notify(self) -> tuple[list[NewRecord], bool]:
        return ([] if self._lane is None else self._outputs(self._lane)), False

    def on_eof(self) -> tuple[list[NewRecord], bool]:
        """Finish what is under way, and leave the rest for the next start."""
        if self._lane is None:
            return [], False
        self._lanes.parts.sender.drain(DRAIN_DEADLINE)
        outputs = self._lane.collect()
        # Decide has ended before: what was read is all there is, so the counts can be told without the usual wait.
        if self._lane.has_read(self._lane.ends()) and self._lane.counts.sample():
            outputs += self._lane.settled_counts()
        return outputs, False

    def notify_at(self) -> datetime | None:
        if self._lane is None or not self._lane.open:
            return None
        return datetime.now(UTC) + (_SOON if self._lanes.parts.sender.in_flight else _LATER)

    def snapshot(self) -> None:
        return None

    def _outputs(self, lane: DeliverLane) -> list[NewRecord]:
        return [*lane.collect(), *self._counts(lane)]

    def _counts(self, lane: DeliverLane) -> list[NewRecord]:
        """See `deliver_counts`: sample, wait, take the ends, and settle when everything below them was read."""
        now = time.monotonic()
        if not lane.counts.sampled:
            if lane.counts.sample():
                self._sampled_at = now
            return []
        if self._ends is None and now - self._sampled_at >= _COUNTS_SETTLE_S:
            self._ends = lane.ends()
        if self._ends is None or not lane.has_read(self._ends):
            return []
        self._ends = None
        return lane.settled_counts()


def lane_number(item: Item, half: int) -> int:
    """The lane of records or of a tick."""
    return (item.partition if isinstance(item, Tick) else item[0].partition) % half
