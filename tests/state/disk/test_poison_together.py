"""What dies together, each with a record in hand, the same ones every time: only the culprit is convicted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from helpers.places import ROOT

from state.disk.poison import STARTS_MAX, PoisonJournal, RecordLocation

_CULPRIT, _BYSTANDER = ("work", 0, 13, -1), ("work", 1, 7, -1)
_CHILD = """
import os, signal, sys, threading, time
from pathlib import Path
from state.disk.poison import PoisonJournal

directory = Path(sys.argv[1])
who = sys.argv[2:]

def culprit(journal):
    time.sleep(0.1)
    if journal.suspect("work", 0, 13):
        print("skipped", flush=True)
        return
    with journal.processing("work", 0, 13):
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

def bystander(journal):
    if not journal.suspect("work", 1, 7):
        with journal.processing("work", 1, 7):
            time.sleep(0.6)
    with journal.processing("work", 1, 8):
        pass

opened = {}
for name in who:
    path = directory / name.split(":")[1] / "poison"
    if path not in opened:
        opened[path] = PoisonJournal.open(path, unit=directory)
print("ready", flush=True)
sys.stdin.readline()
threads = [
    threading.Thread(target=globals()[name.split(":")[0]], args=(opened[directory / name.split(":")[1] / "poison"],))
    for name in who
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done", flush=True)
sys.stdin.readline()
"""


@contextmanager
def child(directory: Path, *who: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", _CHILD, str(directory), *who]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, env=environment, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def say_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def start(directory: Path, *processes: list[str]) -> str:
    """One start of a unit, whose first process has the culprit; when that dies, the unit dies."""
    with ExitStack() as stack:
        unit = [stack.enter_context(child(directory, *who)) for who in processes]
        for process in reversed(unit):
            say_go(process)
        assert unit[0].stdout is not None
        said = unit[0].stdout.readline().decode().strip()
        for process in unit:
            process.kill()
        assert said or unit[0].wait(20) == -signal.SIGKILL
    return said


@pytest.mark.parametrize(
    ("unit", "slots"),
    [
        ([["culprit:a"], ["bystander:b"]], ("a", "b")),
        ([["culprit:a", "bystander:b"]], ("a", "b")),
        ([["culprit:a", "bystander:a"]], ("a", "a")),
    ],
    ids=["two processes", "two flows of one process", "two workers with one journal"],
)
def test_a_bystander_is_not_convicted(tmp_path: Path, unit: list[list[str]], slots: tuple[str, str]) -> None:
    highest = 0
    for _ in range(STARTS_MAX):
        assert start(tmp_path, *unit) == "", "it is skipped too early"
        if slots[0] != slots[1]:
            with closing(PoisonJournal.open(tmp_path / slots[1] / "poison")) as other:
                highest = max(highest, other.counts.get(RecordLocation(*_BYSTANDER), 0))
    assert start(tmp_path, *unit) == "skipped", "five deaths in a row do not convict"
    assert highest < 3, "what was in hand beside the culprit is blamed with it"
    for slot in slots:
        with closing(PoisonJournal.open(tmp_path / slot / "poison")) as journal:
            assert not journal.suspect(*_BYSTANDER)
            assert slot != slots[0] or journal.suspect(*_CULPRIT)
