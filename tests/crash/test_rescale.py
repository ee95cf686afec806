"""1 -> 2 -> 4 -> 3 -> 1 processes of decide under the stock runner, kill -9 in every stage: what they write is what the
decision log decides in one go, byte by byte.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from helpers import work_log
from helpers.decided import assert_complete, written
from helpers.flow_bench import Bench, decided_in_one_go
from helpers.stock_runner import StockRunner
from helpers.waiting import wait_for

from flows.process.cluster import ClusterPlace
from flows.recovery.slots import DecideSlot
from flows.steps.decide.epoch_credit import highest_credit
from state.decide.moving import Layout, read_layout
from state.model.errors import StateLockedError

SMALL_EPOCHS = {"CARILLON_LANES__P1_PER_EPOCH": "150"}


def _moves(cluster: StockRunner) -> list[tuple[int, int]]:
    """(groups moved, processes) of every move that a process told."""
    found = re.findall(r'"groups": (\d+).*?"processes": (\d+).*"event": "key_groups_moved"', cluster.output())
    return [(int(groups), int(processes)) for groups, processes in found]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[StockRunner]:
    started = StockRunner("decide", tmp_path, SMALL_EPOCHS)
    yield started
    started.kill()


def _decided(bench: Bench) -> int:
    return len(written(bench, ("ledger",)).get("ledger", ()))


def _until_decided(bench: Bench, cluster: StockRunner, count: int, deadline_s: float = 150) -> None:
    """Until so many ledger records are written."""
    wait_for(lambda: _decided(bench) >= count, deadline_s, lambda: f"{count}: {cluster.output()[-4000:]}", every_s=0.1)


STAGES = [(1, 1), (2, 2), (4, 1), (3, 1), (1, 2)]
"""(processes, workers of each)."""


def test_1_2_4_3_1_processes_with_a_kill_in_each(bench: Bench, cluster: StockRunner) -> None:
    choose = random.Random(11)
    settings = len(list(work_log.settings(random.Random(0))))
    everything = work_log.day(choose, events=600)
    bench.append(*everything[:settings])
    records = everything[settings:]
    share = len(records) // len(STAGES) + 1
    for number, (processes, workers) in enumerate(STAGES):
        bench.append(*records[number * share : (number + 1) * share])
        before = _decided(bench)
        cluster.start(processes, workers)
        if number % 2:
            time.sleep(choose.uniform(0.5, 2.0))  # while they start, or move what the number of processes misplaced
            cluster.kill()
            cluster.start(processes, workers)
        _until_decided(bench, cluster, before + 1)
        cluster.kill_one(choose.randrange(processes))
    cluster.start(*STAGES[-1])
    expected = decided_in_one_go(bench)
    _until_decided(bench, cluster, len(expected["ledger"]))
    assert read_layout(bench.directory / "state" / "decide") == Layout(*STAGES[-1])
    cluster.drain()
    assert_complete(bench, expected)
    assert {processes for groups, processes in _moves(cluster) if groups} >= {2, 4, 3}, "no group was moved"
    assert highest_credit(bench.log) == 300, "a rebuild would go by the settings of its own day"
    twice = len(bench.read("ledger")) - len(expected["ledger"])
    assert twice > 0, "no kill came between what was written and what was committed"


def test_a_process_of_another_number_waits_for_the_others_to_end_or_says_who_is_left(
    bench: Bench, cluster: StockRunner, tmp_path: Path
) -> None:
    bench.append(*work_log.ticks(1))
    cluster.start(1)
    lives_by_its_placement = bench.directory / "state" / "decide" / "0" / "offsets.json"
    wait_for(lives_by_its_placement.exists, 90, lambda: cluster.output()[-4000:])
    lock = bench.directory / "state" / "decide" / "0" / "owner.lock"
    with pytest.raises(StateLockedError, match=rf"of another number.*{lock.read_text().split()[0]} decide, process 0"):
        DecideSlot(bench.directory / "state" / "decide", ClusterPlace(1, 2, 1), others_end_within=timedelta())
    cluster.kill()
    slot = DecideSlot(bench.directory / "state" / "decide", ClusterPlace(1, 2, 1), others_end_within=timedelta())
    assert slot.groups == {group for group in range(240) if group % 2}
    slot.close()
