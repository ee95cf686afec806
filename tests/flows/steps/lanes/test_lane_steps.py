"""A lane's step takes what came before it does its other work, which the lanes do in turn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from connectors.log.interface import NewRecord, Record
from connectors.log.source import Tick
from flows.steps.lanes.lane import Lane
from flows.steps.lanes.steps import LaneLogic, Lanes
from flows.steps.lanes.turns import LaneTurns


class NotedLane:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.open, self.asked = 0, list[str]()
        self.complete = self.hungry = False

    def accept(self, records: Sequence[Record]) -> list[NewRecord]:
        self.asked.append(f"accept {len(records)}")
        return []

    @property
    def busy(self) -> bool:
        return self.open > 0 or self.complete

    def store(self) -> bool:
        stores, self.complete = self.complete, False
        self.asked += ["store"] * stores
        return stores

    def collect(self) -> list[NewRecord]:
        self.asked.append("collect")
        return []


def logic_of(lane: NotedLane, turns: LaneTurns | None = None) -> LaneLogic:
    parts = SimpleNamespace(lanes=4, dispatcher=SimpleNamespace(queues=SimpleNamespace(in_flight=0)))
    turns = turns or LaneTurns(lambda: 0.0)
    return LaneLogic(cast(Lanes, SimpleNamespace(parts=parts, lane=lambda _number: lane, turns=turns)))


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


def test_between_two_looks_one_lane_works_and_the_others_are_asked_again_soon() -> None:
    turns, lanes = LaneTurns(lambda: 0.0), [NotedLane() for _ in range(3)]
    logics, record = [logic_of(lane, turns) for lane in lanes], cast(Any, SimpleNamespace(partition=1))
    for lane, logic in zip(lanes, logics, strict=True):
        lane.open = 1
        logic.on_batch([[record]])
        assert logic.notify_at() is not None
    assert [lane.asked for lane in lanes] == [["accept 1"]] * 3, "what came is taken by all"
    worked = []
    for _ in range(4):
        turns.alternation.looked()
        for logic in [*logics, *logics]:
            logic.on_notify()
        worked.append([lane.asked.count("collect") for lane in lanes])
    assert worked == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1]]
    due = logics[0].notify_at()
    assert due is not None
    assert due > datetime.now(UTC), "not at once: it is not its turn"


def test_a_lane_with_something_open_stores_a_complete_epoch_in_a_turn_of_its_own() -> None:
    lane, turns = NotedLane(), LaneTurns(lambda: 0.0)
    logic, record = logic_of(lane, turns), cast(Any, SimpleNamespace(partition=1))
    lane.open = 1
    logic.on_batch([[record]])
    lane.complete = True
    logic.on_notify()
    assert lane.asked == ["accept 1", "store"]
    turns.alternation.looked()
    logic.on_notify()
    assert lane.asked == ["accept 1", "store", "collect"]


def test_a_lane_without_anything_open_waits_for_no_turn() -> None:
    turns, lanes = LaneTurns(lambda: 0.0), [NotedLane(), NotedLane()]
    logics, record = [logic_of(lane, turns) for lane in lanes], cast(Any, SimpleNamespace(partition=1))
    lanes[0].open = 1
    for logic in logics:
        logic.on_batch([[record]])
        logic.on_notify()
    assert [lane.asked[-1] for lane in lanes] == ["collect", "collect"]


def test_a_lane_whose_epoch_was_stored_meanwhile_by_another_thread_has_its_turn() -> None:
    """Between the question whether it is busy and that after the first busy one; the step failed, and its process."""
    assert LaneTurns(lambda: 0.0).may_work(cast(Lane, NotedLane()))
