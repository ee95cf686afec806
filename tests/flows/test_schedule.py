"""Kept events by the order of their topic: released once, cancelled for good, whatever crashes in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import orjson
from helpers.flow_bench import Bench, seconds, until
from helpers.flow_processes import FlowProcesses
from helpers.waiting import wait_for

from connectors.log import NewRecord
from flows.process.open import clock_ms
from state.model.work import EventWork
from state.schedule.store import ScheduleStore

MINUTE_MS = 60_000
WHILE_S = 0.9
"""A look comes every 250 ms: enough for an order, its reading and its release."""


def _kept(bench: Bench, event_id: str, due: int, **fields: object) -> NewRecord:
    return bench.event(event_id, "reminder", topic="schedule", deliver_at=due, **fields)


def _released(bench: Bench) -> list[str]:
    return [orjson.loads(record.value)["event_id"] for record in bench.read("events.p1")]


def _answers(bench: Bench) -> list[tuple[str, str]]:
    values = [orjson.loads(record.value) for record in bench.read("schedule")]
    return [(value["event_id"], value["how"]) for value in values if "how" in value]


def _until(bench: Bench, true: Callable[[], bool]) -> None:
    """Run the flow until something holds."""
    bench.schedule(until(true))
    assert true()


def test_released_when_its_time_has_come_and_not_before(bench: Bench) -> None:
    due = bench.clock.now + MINUTE_MS
    bench.append(_kept(bench, "e1", due))
    bench.clock.now = due - 1
    bench.schedule(seconds(WHILE_S))
    assert (_released(bench), _answers(bench)) == ([], [])
    bench.clock.now = due
    _until(bench, lambda: _released(bench) == ["e1"])
    event = orjson.loads(bench.read("events.p1")[0].value)
    assert (event["ingested_at"], event["deliver_at"]) == (due, due)
    bench.schedule(seconds(WHILE_S))
    assert (_released(bench)[:1], _answers(bench)) == (["e1"], [("e1", "released")])


def test_a_kept_event_survives_crashes_before_the_first_checkpoint_after_a_start(bench: Bench) -> None:
    """The rows of before are replaced, never only deleted: a second crash soon after the first loses nothing."""
    due = bench.clock.now + MINUTE_MS
    bench.append(_kept(bench, "e1", due), _kept(bench, "e2", due))
    bench.schedule(seconds(0.4))
    bench.schedule(seconds(0.4))
    for _ in range(3):
        store = ScheduleStore(bench.directory / "state" / "schedule")
        assert [event.event_id for event in store.load().events()] == ["e1", "e2"]
        assert store.next_offset() == 2
        store.commit()
        store.close()
    bench.clock.now = due
    _until(bench, lambda: sorted(_released(bench)) == ["e1", "e2"])


def test_a_cancel_before_the_order_wins_and_one_after_it_comes_too_late(bench: Bench) -> None:
    due = bench.clock.now + MINUTE_MS
    bench.append(_kept(bench, "early", due), _kept(bench, "late", due), bench.cancel("early"))
    bench.clock.now = due
    _until(bench, lambda: _released(bench) == ["late"])
    bench.append(bench.cancel("late"), bench.cancel("never"))
    _until(bench, lambda: ("never", "released") in _answers(bench))
    assert set(_released(bench)) == {"late"}, "what a restart makes it release again, sequence knows by its event_id"
    answers = _answers(bench)
    assert list(dict.fromkeys(answers)) == [("early", "cancelled"), ("late", "released"), ("never", "released")]
    assert answers.count(("late", "released")) >= 2, "the release, and the answer to the cancel"


def test_a_cancel_that_stands_before_the_order_wins_although_the_order_was_given(bench: Bench) -> None:
    """The topic's order decides: the order was written by an owner who had not read the cancel."""
    due = bench.clock.now + MINUTE_MS
    order = NewRecord("schedule", 0, b"e1", b'{"event_id":"e1","how":"released"}', (("schema", b"released/1+json"),))
    bench.append(_kept(bench, "e1", due), bench.cancel("e1"), order)
    bench.clock.now = due
    bench.schedule(seconds(WHILE_S))
    assert _released(bench) == []


def test_a_retraction_cancels_the_kept_events_of_its_kind(bench: Bench) -> None:
    due = bench.clock.now + MINUTE_MS
    bench.append(_kept(bench, "mine", due), _kept(bench, "other", due, object="p"))
    bench.append(bench.event("r", "reminder", topic="schedule", retracts=True))
    _until(bench, lambda: _answers(bench) == [("mine", "cancelled")])
    bench.clock.now = due
    _until(bench, lambda: _released(bench) == ["other"])


def test_a_kept_retraction_cancels_at_its_release(bench: Bench) -> None:
    first, second = bench.clock.now + MINUTE_MS, bench.clock.now + 2 * MINUTE_MS
    bench.append(_kept(bench, "e1", second), _kept(bench, "r", first, retracts=True))
    bench.clock.now = first
    _until(bench, lambda: _released(bench) == ["r"] and ("e1", "cancelled") in _answers(bench))
    bench.clock.now = second
    bench.schedule(seconds(WHILE_S))
    assert _released(bench)[-1] == "r"


def test_several_of_one_time_come_in_the_order_of_their_acceptance_also_after_a_restart(bench: Bench) -> None:
    due = bench.clock.now + MINUTE_MS
    names = [f"e{number}" for number in (9, 3, 7, 1, 8, 2)]
    bench.append(*(_kept(bench, name, due, object=name) for name in names[:3]))
    bench.schedule(seconds(0.4))
    bench.append(*(_kept(bench, name, due, object=name) for name in names[3:]))
    bench.schedule(seconds(0.4))
    bench.clock.now = due
    _until(bench, lambda: len(set(_released(bench))) == 6)
    assert _released(bench)[:6] == names


def test_a_record_that_does_not_decode_stops_nobody(bench: Bench) -> None:
    due = bench.clock.now + MINUTE_MS
    for schema in (b"event/1+json", b"cancel/1+json", b"released/1+json"):
        bench.append(NewRecord("schedule", 0, b"x", b"not json", (("schema", schema),)))
    bench.append(_kept(bench, "e1", due))
    bench.clock.now = due
    _until(bench, lambda: _released(bench) == ["e1"])
    dead = [orjson.loads(record.value) for record in bench.read("dead_letters")]
    assert sorted({each["source"][2] for each in dead}) == [0, 1, 2]
    assert {each["stage"] for each in dead} == {"schedule"}


def test_kill_9_across_the_due_time_decides_one_release(bench: Bench, tmp_path: Path) -> None:
    processes = FlowProcesses(tmp_path)
    try:
        bench.clock.now = clock_ms()
        due = bench.clock.now + 4_000
        bench.append(*(_kept(bench, f"e{number}", due, object=f"o{number}") for number in range(20)))
        for name in ("schedule", "sequence"):
            processes.start(name)
        while clock_ms() < due + 2_500:
            time.sleep(0.45)
            processes.kill("schedule")
            processes.start("schedule")
        wait_for(lambda: len(set(_released(bench))) == 20, what="every kept event is released")
        assert min(r.timestamp_ms for r in bench.read("events.p1")) >= due

        def decided() -> list[str]:
            return [work.event.event_id for _, _, work in bench.work() if isinstance(work, EventWork)]

        wait_for(lambda: len(decided()) >= 20, what="every release is in the decision log")
        time.sleep(0.5)
        assert sorted(decided()) == sorted(f"e{number}" for number in range(20))
    finally:
        processes.end()
