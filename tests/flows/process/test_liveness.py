"""A dataflow that stands still in a process whose other threads live is noticed; one that waits or is busy is not."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import get_ident

import pytest
from helpers.places import ROOT
from helpers.waiting import wait_for

from flows.process.liveness import GETS_ON, STANDS_STILL, Liveness
from flows.up.processes import ProcessEvent, ProcessGroup, ProcessSpec
from state.disk.poison import STARTS_MAX, PoisonJournal
from state.progress import made

STANDS_FOR = timedelta(seconds=4)


def spec_of(directory: Path, *flows: str) -> ProcessSpec:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "CARILLON_CONFIG": os.devnull}
    command = (sys.executable, "-m", "helpers.stalling_flows", str(directory), *flows)
    return ProcessSpec("flows", command, environment)


def says(name: str, sign: bytes) -> ProcessSpec:
    """A process that gives the same sign for ever."""
    program = f"import os, time\nwhile True: os.write(0, {sign!r}); time.sleep(0.2)"
    return ProcessSpec(name, (sys.executable, "-c", program), dict(os.environ), unit="both")


@pytest.fixture
def events() -> list[ProcessEvent]:
    return []


@pytest.fixture
def group(tmp_path: Path, events: list[ProcessEvent]) -> Iterator[ProcessGroup]:
    group = ProcessGroup(tmp_path, events.append, stands_for=STANDS_FOR)
    yield group
    group.kill()


def watched_until(group: ProcessGroup, true: Callable[[], bool], seconds: float) -> None:
    def watched() -> bool:
        group.watch()
        return true()

    wait_for(watched, seconds)


def said(group: ProcessGroup, text: str) -> int:
    return group.log_file("flows").read_text().splitlines().count(text)


def kinds(events: list[ProcessEvent]) -> list[str]:
    return [event.event for event in events]


@pytest.mark.parametrize("flows", [["stuck"], ["idle", "stuck"]], ids=["alone", "beside a flow that gets on"])
def test_a_flow_that_stands_still_is_killed_and_started_again(
    group: ProcessGroup, events: list[ProcessEvent], tmp_path: Path, flows: list[str]
) -> None:
    group.start(spec_of(tmp_path, *flows))
    watched_until(group, lambda: said(group, "stuck") == 1, 90)
    began = time.monotonic()
    watched_until(group, lambda: "stalled" in kinds(events), 90)
    assert time.monotonic() - began > STANDS_FOR.total_seconds() / 2
    watched_until(group, lambda: "restart" in kinds(events), 90)
    assert kinds(events) == ["start", "stalled", "exit", "restart"]


def test_a_record_that_never_comes_back_is_skipped_in_the_end(
    group: ProcessGroup, events: list[ProcessEvent], tmp_path: Path
) -> None:
    for _ in range(STARTS_MAX - 1):  # so often it stood still there before
        journal = PoisonJournal.open(tmp_path / "poison-stuck")
        journal.begin("t", 0, 3)
        journal.close()
    group.start(spec_of(tmp_path, "stuck"))
    watched_until(group, lambda: said(group, "skipped") == 1, 90)
    assert kinds(events) == ["start", "stalled", "exit", "restart"]
    assert said(group, "stuck") == 1


@pytest.mark.parametrize(
    ("flows", "done"), [(["idle", "long"], "handled 4"), (["long", "slow"], "handled 4")], ids=["long", "two slow ones"]
)
def test_a_flow_that_is_busy_or_idle_is_left_alone(
    group: ProcessGroup, events: list[ProcessEvent], tmp_path: Path, flows: list[str], done: str
) -> None:
    group.start(spec_of(tmp_path, *flows))
    watched_until(group, lambda: said(group, done) == 1, 90)
    assert kinds(events) == ["start"]


def test_in_a_unit_one_that_is_busy_keeps_the_others_waiting(group: ProcessGroup, events: list[ProcessEvent]) -> None:
    group.start(says("busy", GETS_ON))
    group.start(says("waits", STANDS_STILL))
    end = time.monotonic() + 2 * STANDS_FOR.total_seconds()
    watched_until(group, lambda: time.monotonic() > end, 90)
    assert kinds(events) == ["start", "start"]


def test_a_unit_all_of_which_stands_still_is_killed(group: ProcessGroup, events: list[ProcessEvent]) -> None:
    group.start(says("one", STANDS_STILL))
    group.start(says("two", STANDS_STILL))
    group.start(replace(says("other", GETS_ON), unit=""))
    watched_until(group, lambda: kinds(events).count("restart") == 2, 90)
    assert kinds(events) == ["start", "start", "start", "stalled", "exit", "exit", "restart", "restart"]


def test_a_process_gets_on_when_each_of_its_flows_did_since_it_said_so() -> None:
    liveness = Liveness()
    assert liveness.sign() == GETS_ON, "a process that starts has no flow yet"
    liveness.asks("one", get_ident())
    liveness.asks("other", -1)
    made()
    assert liveness.sign() == GETS_ON
    assert liveness.sign() == STANDS_STILL
    made()
    assert liveness.sign() == STANDS_STILL, "one stands still beside another that gets on"
    liveness.asks("other", get_ident())
    assert liveness.sign() == GETS_ON
