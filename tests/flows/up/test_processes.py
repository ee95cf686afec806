"""The supervisor's parts in isolation: restart with back-off, drain in turns, no orphan whatever happens."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.places import ROOT
from helpers.waiting import wait_for

from flows.config.settings import GatewayTable, Settings
from flows.up.ports import any_port
from flows.up.processes import ProcessError, ProcessEvent, ProcessGroup, ProcessSpec
from flows.up.supervisor import Supervisor

POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("drained", time.monotonic(), flush=True), sys.exit(0)))
print("up", flush=True)
while True: time.sleep(0.02)
"""
DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)"


def spec_of(name: str, program: str, turn: int = 1) -> ProcessSpec:
    return ProcessSpec(name, (sys.executable, "-c", program), dict(os.environ), turn)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def threads_of(pid: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]


@pytest.fixture
def events() -> list[ProcessEvent]:
    return []


@pytest.fixture
def group(tmp_path: Path, events: list[ProcessEvent]) -> Iterator[ProcessGroup]:
    group = ProcessGroup(tmp_path, events.append, silent_for=timedelta(seconds=2))
    yield group
    group.kill()


def is_up(group: ProcessGroup, name: str) -> bool:
    file = group.log_file(name)
    return file.exists() and "up" in file.read_text()


def test_a_killed_process_comes_back(group: ProcessGroup, events: list[ProcessEvent]) -> None:
    group.start(spec_of("one", POLITE))
    first = group.pids()["one"]
    os.kill(first, signal.SIGKILL)

    def restarted() -> bool:
        group.watch()
        return [event.event for event in events] == ["start", "exit", "restart"]

    wait_for(restarted)
    assert events[1].code == -signal.SIGKILL
    assert events[2].pid == group.pids()["one"] != first


def test_the_end_of_a_log_is_that_of_this_run(group: ProcessGroup) -> None:
    file = group.log_file("one")
    file.write_text("what an earlier run said\n" * 3)
    assert group.last_lines("two", 8) == []
    group.start(spec_of("one", "print('up', flush=True)"))
    wait_for(lambda: is_up(group, "one"))
    assert group.last_lines("one", 8) == ["up"]

    def twice() -> bool:
        group.watch()
        return group.last_lines("one", 8) == ["up", "up"]

    wait_for(twice)


def test_back_off_grows_with_failures(group: ProcessGroup, events: list[ProcessEvent]) -> None:
    group.start(spec_of("bad", "raise SystemExit(3)"))
    exits, starts = list[float](), list[float]()

    def third() -> bool:
        """An end is known at the earliest when it was looked for, a start at the latest when that was over."""
        seen, before = len(events), time.monotonic()
        group.watch()
        told = [event.event for event in events[seen:]]
        exits.extend([before] * told.count("exit"))
        starts.extend([time.monotonic()] * told.count("restart"))
        return len(starts) >= 3

    wait_for(third)
    pauses = [start - end for end, start in zip(exits, starts, strict=False)]
    assert pauses[0] >= 0.2 * 0.9
    assert pauses[1] >= 0.5 * 0.9
    assert pauses[2] >= 1.0 * 0.9
    assert group.failures("bad") >= 3


def test_stages_drain_in_order_and_the_deaf_are_killed(group: ProcessGroup) -> None:
    group.start(spec_of("late", POLITE, turn=3))
    group.start(spec_of("deaf", DEAF, turn=2))
    group.start(spec_of("early", POLITE, turn=1))
    wait_for(lambda: all(is_up(group, name) for name in ("late", "deaf", "early")))
    pids = group.pids()
    assert group.drain(timedelta(seconds=4)) == ["deaf"]
    moments = {name: float(group.log_file(name).read_text().split()[-1]) for name in ("early", "late")}
    assert moments["late"] - moments["early"] >= 3.5
    assert not any(alive(pid) for pid in pids.values())


def test_who_dies_by_sigterm_or_had_died_before_has_not_drained(group: ProcessGroup) -> None:
    group.start(spec_of("early", "import time; print('up', flush=True); time.sleep(60)"))
    group.start(spec_of("dead", "print('up', flush=True); raise SystemExit(1)"))
    group.start(spec_of("polite", POLITE))
    wait_for(lambda: all(is_up(group, name) for name in ("early", "dead", "polite")))
    wait_for(lambda: "dead" not in group.pids())
    group.watch()
    assert group.drain(timedelta(seconds=10)) == ["early", "dead"]


BEATING = """
import socket, sys, time
line = socket.socket(fileno=0); print("up", flush=True)
while True: line.send(b"."); time.sleep(0.1)
"""


def watched(group: ProcessGroup, events: list[ProcessEvent], kind: str) -> Callable[[], bool]:
    def seen() -> bool:
        group.watch()
        return any(event.event == kind for event in events)

    return seen


def test_a_unit_dies_and_comes_back_as_one(group: ProcessGroup, events: list[ProcessEvent]) -> None:
    for name in ("one", "two"):
        group.start(replace(spec_of(name, POLITE), unit="both"))
    group.start(spec_of("other", POLITE))
    before = group.pids()
    os.kill(before["two"], signal.SIGKILL)
    wait_for(watched(group, events, "restart"))
    group.watch()
    after = group.pids()
    told = [(event.event, event.name) for event in events[3:]]
    assert told == [("exit", "two"), ("exit", "one"), ("restart", "one"), ("restart", "two")]
    assert after["one"] != before["one"]
    assert after["two"] != before["two"]
    assert after["other"] == before["other"]
    assert not alive(before["one"])
    assert group.failures("one") == group.failures("two") == 1


def test_a_stopped_process_is_killed_and_started_again(group: ProcessGroup, events: list[ProcessEvent]) -> None:
    group.start(spec_of("beats", BEATING))
    group.start(spec_of("mute", POLITE))  # says nothing, as a program of somebody else
    pids = group.pids()
    wait_for(lambda: is_up(group, "beats") and is_up(group, "mute"))
    end = time.monotonic() + 3
    while time.monotonic() < end:  # as long as it beats it lives
        group.watch()
        time.sleep(0.05)
    assert [event.event for event in events] == ["start", "start"]
    os.kill(pids["beats"], signal.SIGSTOP)
    began = time.monotonic()
    wait_for(watched(group, events, "hung"))
    assert time.monotonic() - began > 1.5
    wait_for(watched(group, events, "restart"))
    assert [(event.event, event.name) for event in events[2:]] == [
        ("hung", "beats"), ("exit", "beats"), ("restart", "beats")
    ]  # fmt: skip
    assert group.pids()["mute"] == pids["mute"]


def test_a_process_that_never_gives_a_sign_of_life_is_not_waited_for_without_end(
    tmp_path: Path, events: list[ProcessEvent]
) -> None:
    group = ProcessGroup(tmp_path, events.append, silent_for=timedelta(seconds=0.3), unheard_for=timedelta(seconds=1))
    group.start(spec_of("mute", POLITE))
    wait_for(lambda: is_up(group, "mute"))
    os.kill(group.pids()["mute"], signal.SIGSTOP)
    try:
        wait_for(watched(group, events, "restart"))
    finally:
        group.kill()
    assert [event.event for event in events] == ["start", "hung", "exit", "restart"]


UNENDING = """
import os, socket, time
line = socket.socket(fileno=0); line.send(b".")
os.setpgid(0, os.getpgid(os.getppid()))  # out of the group that is killed: to its owner it is as one that is frozen
print("up", flush=True); time.sleep(60)
"""


def test_nobody_waits_for_a_process_that_sigkill_does_not_end(group: ProcessGroup, events: list[ProcessEvent]) -> None:
    for name, program in (("one", POLITE), ("two", UNENDING)):
        group.start(replace(spec_of(name, program), unit="both"))
    group.start(spec_of("other", POLITE))
    wait_for(lambda: all(is_up(group, name) for name in ("one", "two", "other")))
    pids, looks = group.pids(), []

    def other_is_back() -> bool:
        began = time.monotonic()
        group.watch()
        looks.append(time.monotonic() - began)
        if [event.event for event in events].count("exit") == 1 and alive(pids["other"]):
            os.kill(pids["other"], signal.SIGKILL)
        return events[-1].event == "restart"

    try:
        wait_for(other_is_back)
        for _ in range(20):  # "two" would be due
            other_is_back()
            time.sleep(0.05)
        assert max(looks) < 2.5, "it waits for three seconds where it waits"
        told = [(event.event, event.name) for event in events[3:]]
        assert told == [("hung", "two"), ("exit", "one"), ("exit", "other"), ("restart", "other")]
    finally:
        os.kill(pids["two"], signal.SIGKILL)
    wait_for(watched_last(group, events, "restart", "two"))
    assert [(event.event, event.name) for event in events[7:]] == [
        ("exit", "two"), ("restart", "one"), ("restart", "two")
    ]  # fmt: skip
    wait_for(lambda: all("up" in group.log_file(name).read_text().splitlines()[1:] for name in ("one", "two")))
    again = group.pids()["two"]
    began = time.monotonic()
    try:
        assert group.drain(timedelta(seconds=3)) == ["two"]
        assert time.monotonic() - began < 20, "it sleeps for a minute"
    finally:
        os.kill(again, signal.SIGKILL)


def watched_last(group: ProcessGroup, events: list[ProcessEvent], kind: str, name: str) -> Callable[[], bool]:
    def seen() -> bool:
        group.watch()
        return (events[-1].event, events[-1].name) == (kind, name)

    return seen


def test_an_owner_that_was_stopped_itself_kills_nobody(group: ProcessGroup, events: list[ProcessEvent]) -> None:
    group.start(spec_of("beats", BEATING))
    wait_for(lambda: is_up(group, "beats"))
    group.watch()
    time.sleep(3)
    group.watch()
    assert [event.event for event in events] == ["start"]


def test_a_final_exit_is_final(group: ProcessGroup, events: list[ProcessEvent]) -> None:
    group.start(replace(spec_of("fenced", "raise SystemExit(4)"), final=4))

    def ended() -> bool:
        group.watch()
        return group.ended_for_good == "fenced"

    wait_for(ended)
    time.sleep(0.4)
    group.watch()
    assert [event.event for event in events] == ["start", "exit"]


OWNER = """
import os, pathlib, sys, time
from flows.up.processes import ProcessGroup, ProcessSpec
group = ProcessGroup(pathlib.Path(sys.argv[1]), lambda event: None)
sleep = ("timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)")
command = (sys.executable, "-m", "flows.up.launch", "child", "module", *sleep)
group.start(ProcessSpec("child", command, dict(os.environ), 1, 19)); group.settle()
print(group.pids()["child"], flush=True)
while True: time.sleep(0.05); group.watch()
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_no_child_outlives_a_killed_owner(tmp_path: Path, stopped: bool) -> None:
    if stopped and sys.platform != "linux":
        pytest.skip("only the kernel can end a stopped process; Linux does")
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    try:
        wait_for(lambda: len(threads_of(child)) > 1)  # the one that watches the owner is there
        assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads_of(child)} == {19}
        if stopped:
            os.kill(child, signal.SIGSTOP)
        assert alive(child)
    finally:
        owner.kill()
        owner.wait(60)
        owner.stdout.close()
    wait_for(lambda: not alive(child))


def test_processes_that_are_not_ready_in_time_are_told_from_such_as_end(tmp_path: Path) -> None:
    gateway = GatewayTable(port=any_port("127.0.0.1"), p0_port=any_port("127.0.0.1"))
    supervisor = Supervisor(Settings(data_dir=tmp_path, gateway=gateway), lambda _: None, starts_within=timedelta(0))
    try:
        with pytest.raises(ProcessError, match="did not start, though they run: not within 0 s"):
            supervisor.start(lambda: False)
    finally:
        supervisor.stop()
