"""What `carillon up` costs while nothing happens: counted, not timed."""

import sys
import time
from pathlib import Path

import pytest
from helpers.up import running

AT_REST_AFTER_S = 18
"""From 15 s without a record on, ticks come once a second."""
LOOKED_FOR_S = 5
LOOKS = 24
"""A busy machine comes to rest later, but then it stays so; who polls never does."""


def wakes(pid: int) -> int:
    """How often a thread of the process has gone to sleep."""
    lines = [line for status in Path(f"/proc/{pid}/task").glob("*/status") for line in status.read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches:"))


def wakes_a_second(pids: list[int]) -> float:
    before = sum(map(wakes, pids))
    time.sleep(LOOKED_FOR_S)
    return (sum(map(wakes, pids)) - before) / LOOKED_FOR_S


def memory_mb(pid: int) -> int:
    """What the process holds, with its share of what it has in common with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="/proc of Linux tells it")
def test_at_rest_the_system_sleeps_and_is_small(tmp_path: Path) -> None:
    with running(tmp_path / "data") as up:
        pids = [*up.pids().values(), up.process.pid]
        time.sleep(AT_REST_AFTER_S)
        looks = [wakes_a_second(pids)]
        while max(looks[-2:]) >= 190 or len(looks) < 2:
            assert len(looks) < LOOKS, f"somebody polls: {looks}"
            looks.append(wakes_a_second(pids))
        assert sum(map(memory_mb, pids)) < 550
        assert up.stop() == 0
