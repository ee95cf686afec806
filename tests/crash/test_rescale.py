"""1 -> 2 -> 4 -> 3 -> 1 processes of decide under the stock runner, kill -9 in every stage: what they write is what the
decision log decides in one go, byte by byte.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from helpers import work_log
from helpers.decided import assert_complete, written
from helpers.flow_bench import Bench, decided_in_one_go

from flows.cluster import ClusterPlace
from flows.slots import DecideSlot
from state.model.errors import StateLockedError
from state.moving import Layout, read_layout

ROOT = Path(__file__).resolve().parents[2]
EPOCH_S = 1


class Cluster:
    """The processes of decide over one data directory, as `python -m bytewax.run` starts them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []
        self.starts = 0

    def start(self, processes: int, workers: int = 1) -> None:
        """Start them all; they find each other."""
        with contextlib.ExitStack() as held:
            free = [held.enter_context(socket.socket()) for _ in range(processes)]
            for each in free:
                each.bind(("127.0.0.1", 0))
            addresses = ";".join(f"127.0.0.1:{each.getsockname()[1]}" for each in free)
        self.starts += 1
        for number in range(processes):
            several = ["-i", str(number), "-a", addresses] if processes > 1 else []
            self.processes.append(self._start([*several, "-w", str(workers)]))

    def _start(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bytewax.run", "flows.decide:build()", "-s", str(EPOCH_S), *arguments]
        environment = {**os.environ, "CARILLON_DATA_DIR": str(self._directory), "CARILLON_LANES__P1_PER_EPOCH": "150"}
        with (self._directory / "decide.out").open("ab") as output:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)

    def kill(self) -> list[int]:
        """kill -9 all that are left, as a process manager does when one of them died; their exit codes."""
        for process in self.processes:
            process.kill()
        codes = [process.wait(20) for process in self.processes]
        self.processes.clear()
        return codes

    def kill_one(self, number: int) -> None:
        """kill -9 one; the others end by themselves, since a cluster lives and dies as one."""
        assert self.processes[number].poll() is None, f"it was not alive: {self.output()}"
        self.processes[number].kill()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        self.kill()

    def drain(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(60) for process in self.processes] == [0] * len(self.processes), self.output()
        self.processes.clear()

    def output(self) -> str:
        """The end of what they printed."""
        return (self._directory / "decide.out").read_text(errors="replace")[-4000:]

    def moves(self) -> list[tuple[int, int]]:
        """(groups moved, processes) of every move that a process told."""
        text = (self._directory / "decide.out").read_text(errors="replace")
        found = re.findall(r'"groups": (\d+).*?"processes": (\d+).*"event": "key_groups_moved"', text)
        return [(int(groups), int(processes)) for groups, processes in found]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path)
    yield started
    started.kill()


def _decided(bench: Bench) -> int:
    return len(written(bench, ("ledger",)).get("ledger", ()))


def _wait_for(bench: Bench, cluster: Cluster, count: int, deadline_s: float = 60) -> None:
    """Until so many ledger records are written.

    :raises AssertionError: they are not, in time.
    """
    end = time.monotonic() + deadline_s
    while _decided(bench) < count:
        assert time.monotonic() < end, f"{_decided(bench)} of {count}: {cluster.output()}"
        time.sleep(0.1)


STAGES = [(1, 1), (2, 2), (4, 1), (3, 1), (1, 2)]
"""(processes, workers of each)."""


def test_1_2_4_3_1_processes_with_a_kill_in_each(bench: Bench, cluster: Cluster) -> None:
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
        _wait_for(bench, cluster, before + 1)
        cluster.kill_one(choose.randrange(processes))
    cluster.start(*STAGES[-1])
    expected = decided_in_one_go(bench)
    _wait_for(bench, cluster, len(expected["ledger"]))
    assert read_layout(bench.directory / "state" / "decide") == Layout(*STAGES[-1])
    cluster.drain()
    assert_complete(bench, expected)
    assert {processes for groups, processes in cluster.moves() if groups} >= {2, 4, 3}, "no group was moved"
    twice = len(bench.read("ledger")) - len(expected["ledger"])
    assert twice > 0, "no kill came between what was written and what was committed"


def test_a_process_of_another_number_waits_for_the_others_to_end_or_says_who_is_left(
    bench: Bench, cluster: Cluster, tmp_path: Path
) -> None:
    bench.append(*work_log.ticks(1))
    cluster.start(1)
    end = time.monotonic() + 60
    while not (bench.directory / "state" / "decide" / "0" / "offsets.json").exists():  # it lives by its placement now
        assert time.monotonic() < end, cluster.output()
        time.sleep(0.1)
    lock = bench.directory / "state" / "decide" / "0" / "owner.lock"
    with pytest.raises(StateLockedError, match=rf"of another number.*{lock.read_text().split()[0]} decide, process 0"):
        DecideSlot(bench.directory / "state" / "decide", ClusterPlace(1, 2, 1), others_end_within=timedelta())
    cluster.kill()
    slot = DecideSlot(bench.directory / "state" / "decide", ClusterPlace(1, 2, 1), others_end_within=timedelta())
    assert slot.groups == {group for group in range(240) if group % 2}
    slot.close()
