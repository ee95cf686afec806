"""`sequence` and `schedule` under the stock runner with any number of workers and processes: one owner, exact across
1 -> 2 -> 1 with kill -9 in between.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import orjson
import pytest
from helpers.flow_bench import Bench, user_in_group
from helpers.stock_runner import StockRunner
from helpers.waiting import wait_for

from connectors.log import Record
from flows.process.open import clock_ms
from state.model.work import EventWork, PreferenceWork, SliceWork, TickWork, decode_work

GROUPS = (3, 70, 150, 239)
STAGES = ((1, 2), (2, 1), (2, 1), (1, 1))
"""Processes and workers of each."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    opened.clock.now = clock_ms()
    yield opened
    opened.close()


def _feed(bench: Bench, stage: int, number: int) -> Counter[str]:
    """Direct events, a repeat, a fan-out and a setting; gives the ids of those that count."""
    name = f"{stage}-{number}"
    direct = [bench.event(f"e{name}-{n}", target=f"u{n}", object=name) for n in range(20)]
    repeat = bench.event(f"r{name}", target="u3", object=name)
    post = bench.event(f"p{name}", "new_post", actor="star", target=None, object=name, fan_out_type="FOLLOWERS")
    bench.append(bench.preference("u1", frequency_cap={"max_per_hour": number}), *direct, repeat, post)
    return Counter(f"e{name}-{n}" for n in range(20))


def _sequenced(bench: Bench) -> Counter[str]:
    return Counter(work.event.event_id for _, _, work in bench.work() if isinstance(work, EventWork))


def test_sequence_is_exact_with_any_number_of_workers(bench: Bench, tmp_path: Path) -> None:
    bench.append(*(bench.follow(user_in_group(group), "star") for group in GROUPS))
    runner = StockRunner("sequence", tmp_path)
    accepted: Counter[str] = Counter()
    posts: list[str] = []
    try:
        for stage, (processes, workers) in enumerate(STAGES):
            runner.start(processes, workers)
            accepted.update(_feed(bench, stage, 1))
            wait_for(lambda: accepted <= _sequenced(bench), 150, lambda: runner.output()[-3000:])
            if stage == 1:
                time.sleep(2.5)  # two epochs: what follows has a checkpoint to begin with
            accepted.update(_feed(bench, stage, 2))
            posts += [f"p{stage}-1", f"p{stage}-2"]
            runner.kill_one(stage % processes)
        runner.start(2, 2)
        wait_for(lambda: accepted <= _sequenced(bench), 150, lambda: runner.output()[-3000:])
        runner.drain()
    finally:
        runner.kill()
    assert _sequenced(bench) == accepted, "each once"
    assert len(bench.sources()) == len(set(bench.sources()))
    slices = [(work.event.event_id, work.g) for _, _, work in bench.work() if isinstance(work, SliceWork)]
    assert sorted(slices) == sorted((post, group) for post in posts for group in GROUPS)
    assert len([work for _, _, work in bench.work() if isinstance(work, PreferenceWork)]) == 2 * len(STAGES)
    _time_never_falls(bench.read("work"))


def _time_never_falls(records: list[Record]) -> None:
    for partition in range(4):
        works = [decode_work(record.value) for record in records if record.partition == partition]
        stamps = [work.stamp for work in works]
        assert stamps == sorted(stamps)
        assert any(isinstance(work, TickWork) for work in works), "every partition has ticks"


def test_schedule_is_exact_with_any_number_of_workers(bench: Bench, tmp_path: Path) -> None:
    runner, names = StockRunner("schedule", tmp_path), []
    numbers = count()

    def keep(several: int, later_ms: int) -> None:
        for _ in range(several):
            names.append(f"k{next(numbers)}")
            due = clock_ms() + later_ms
            bench.append(bench.event(names[-1], "reminder", topic="schedule", deliver_at=due, object=names[-1]))

    def released() -> set[str]:
        return {orjson.loads(record.value)["event_id"] for record in bench.read("events.p1")}

    try:
        for processes, workers in ((1, 2), (2, 1), (1, 1)):
            bench.clock.now = clock_ms()
            keep(5, 500)
            runner.start(processes, workers)
            wait_for(lambda: released() >= set(names[-5:]), 150, lambda: runner.output()[-3000:])
            keep(5, 1500)
            runner.kill_one(processes - 1)
        runner.start(2)
        wait_for(lambda: released() == set(names), 150, lambda: runner.output()[-3000:])
        runner.drain()
    finally:
        runner.kill()
    assert max(_due(record) - record.timestamp_ms for record in bench.read("events.p1")) <= 0, "none comes early"


def _due(record: Record) -> int:
    return int(orjson.loads(record.value)["deliver_at"])
