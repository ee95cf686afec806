"""A lane's step takes what came before it does its other work, so that all lanes have taken theirs by then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from connectors.log.interface import NewRecord, Record
from connectors.log.source import Tick
from flows.steps.alternation import Alternation
from flows.steps.lanes.steps import LaneLogic, Lanes


class NotedLane:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.open, self.asked = 0, list[str]()
        self.alternation = Alternation(lambda: 0.0)

    def accept(self, records: Sequence[Record]) -> list[NewRecord]:
        self.asked.append(f"accept {len(records)}")
        return []

    def collect(self) -> list[NewRecord]:
        self.asked.append("collect")
        return []


def logic_of(lane: NotedLane) -> LaneLogic:
    parts = SimpleNamespace(lanes=4, dispatcher=SimpleNamespace(queues=SimpleNamespace(in_flight=0)))
    return LaneLogic(cast(Lanes, SimpleNamespace(parts=parts, lane=lambda _number: lane)))


def test_what_came_is_taken_at_once_and_the_rest_is_done_as_soon_as_the_engine_comes_back() -> None:
    lane = NotedLane()
    logic, record = logic_of(lane), cast(Any, SimpleNamespace(partition=1))
    logic.on_batch([[record, record], Tick(1), [record]])
    assert lane.asked == ["accept 3"]
    due = logic.notify_at()
    assert due is not None
    assert due <= datetime.now(UTC), "also where nothing is open: letters and counts are to be told"
    logic.on_notify()
    assert lane.asked == ["accept 3", "collect"]
    assert logic.notify_at() is None


def test_a_tick_alone_has_the_rest_done_at_once() -> None:
    lane = NotedLane()
    logic = logic_of(lane)
    logic.on_batch([Tick(1)])
    assert lane.asked == ["collect"]
    assert logic.notify_at() is None


def test_a_tick_behind_what_came_leaves_nothing_to_call_the_engine_back_for() -> None:
    """Between two looks there is one turn: until the next the engine would come back in vain, again and again."""
    lane = NotedLane()
    logic, record = logic_of(lane), cast(Any, SimpleNamespace(partition=1))
    logic.on_batch([[record]])
    logic.on_batch([Tick(1)])
    assert lane.asked == ["accept 1", "collect"]
    assert logic.notify_at() is None
