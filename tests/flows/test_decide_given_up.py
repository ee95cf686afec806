"""What waits for a user and cannot be handled when its time comes: given up, told, and nothing else is different."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from helpers import work_log
from helpers.decided import TOPICS, written
from helpers.flow_bench import START, Bench, calls, decided_in_one_go
from helpers.places import ROOT, TESTS
from helpers.replacing import replaced

from flows.steps.dead_letters import read_dead_letters
from flows.steps.decide.group import restore_skips
from operators import decide as rules
from operators.aggregate import time_comes
from operators.context import OutcomeWriter
from state.decide.checkpoint import GroupStore
from state.decide.pending import PendingGroup
from state.disk.poison import STARTS_MAX
from state.model.dead_letter import KILLED, DeadLetter, decode_letter
from state.model.keys import KEY_GROUPS, key_group
from state.model.work import EventWork, PreferenceWork

LONELY = "u-lonely"
GROUP = key_group(LONELY)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path / "bench")
    _fill(opened)
    yield opened
    opened.close()


def _fill(bench: Bench) -> None:
    """A day in which, among all others, two events wait for one user until 03:00."""
    settings = len(list(work_log.settings(random.Random(0))))
    records = work_log.day(random.Random(4), events=60)
    bench.append(*records[:settings])
    quiet = {"quiet_hours": {"enabled": True, "start": "23:00", "end": "03:00", "timezone": "UTC"}}
    bench.append(*(each for each in work_log.settings(random.Random(0), [LONELY]) if b'"segment"' not in each.value))
    bench.append(work_log.work(PreferenceWork(g=GROUP, stamp=START, user=LONELY, doc=quiet), group=GROUP))
    for event_id in ("x1", "x2"):
        event = work_log.event(event_id, "like", START, target=LONELY, object="same")
        bench.append(work_log.work(EventWork(g=GROUP, stamp=START, event=event, users=[LONELY]), group=GROUP))
    bench.append(*records[settings:])


@contextmanager
def _defect() -> Iterator[None]:
    """The rules raise when the time of that user's items comes, after they have changed the state."""

    def raising(writer: OutcomeWriter, group: PendingGroup, now: int) -> None:
        time_comes(writer, group, now)
        if writer.state.users.ids[group.row] == LONELY:
            raise ZeroDivisionError(LONELY)

    with replaced(rules, time_comes=raising):
        yield


def _letters(bench: Bench) -> list[DeadLetter]:
    found = {letter.id: letter for letter in map(decode_letter, (r.value for r in bench.read("dead_letters")))}
    return [found[name] for name in sorted(found)]


def _others(outputs: dict[str, dict[str, bytes]]) -> dict[str, list[bytes]]:
    """All that is not about that user, and no counts of the group: they tell of what is pending there."""

    def is_other(value: bytes) -> bool:
        return LONELY.encode() not in value and f'"owner":"decide","group":{GROUP},'.encode() not in value

    return {topic: sorted(filter(is_other, outputs.get(topic, {}).values())) for topic in TOPICS}


def test_what_fails_when_its_time_comes_is_given_up(bench: Bench) -> None:
    expected = decided_in_one_go(bench)
    with _defect():
        for asked in (40, 60, 250):
            bench.decide(calls(asked), workers=2, budget=60)
    found = written(bench)
    assert _others(found) == _others(expected)
    decisions = [orjson.loads(value) for value in found["ledger"].values() if LONELY.encode() in value]
    outcomes = [(each["event_id"], each["outcome"], each["reason"]) for each in decisions if each["kind"] == "decision"]
    ends = [outcome for outcome in outcomes if outcome[1] != "HELD"]
    assert sorted(ends) == [("x1", "SUPPRESSED", "dead_letter"), ("x2", "SUPPRESSED", "dead_letter")]
    letters = _letters(bench)
    assert [(each.event_id, each.kind, each.group) for each in letters] == [
        ("x1", "raised", GROUP),
        ("x2", "raised", GROUP),
    ]
    assert all(each.error.startswith("ZeroDivisionError in ") and LONELY not in each.error for each in letters)
    works = {record.offset: record for record in bench.read("work") if record.partition == letters[0].source[1]}
    assert all(each.event_id.encode() in works[each.source[2]].value for each in letters if each.event_id)
    _assert_the_books_balance(found)


def _assert_the_books_balance(found: dict[str, dict[str, bytes]]) -> None:
    counts = [orjson.loads(v) for v in found["ledger"].values() if b'"counts"' in v]
    last = max((each for each in counts if each["group"] == GROUP), key=lambda each: each["offset"])
    assert (last["held"], last["aggregating"]) == (0, 0)


def test_it_is_given_up_again_by_whoever_decides_it_again(bench: Bench) -> None:
    """Also when the defect is gone: what was written stays true."""
    with _defect():
        bench.decide(calls(250))
    before = written(bench, (*TOPICS, "dead_letters"))
    bench.lose("decide")
    store = GroupStore(bench.directory / "state" / "decide")
    assert restore_skips(store, range(KEY_GROUPS), read_dead_letters(bench.log)) == 2
    store.close()
    bench.decide(calls(250))
    assert written(bench, (*TOPICS, "dead_letters")) == before
    assert len(bench.read("ledger")) > len(before["ledger"]), "nothing was decided again"


_DECIDE = """
import os, signal, sys
from pathlib import Path
from helpers.flow_bench import Bench, seconds
from operators import decide as rules

sound = rules.time_comes
def deadly(writer, group, now):
    if writer.state.users.ids[group.row] == "u-lonely":
        os.kill(os.getpid(), signal.SIGKILL)
    sound(writer, group, now)
rules.time_comes = deadly
bench = Bench.__new__(Bench)
bench.directory = Path(sys.argv[1])
bench.decide(seconds(float(sys.argv[2])))
"""


def _decide_process(bench: Bench, seconds: float) -> int:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"}
    arguments = [sys.executable, "-c", _DECIDE, str(bench.directory), str(seconds)]
    return subprocess.run(arguments, env=environment, timeout=90, check=False).returncode


def test_what_ends_the_process_when_its_time_comes_is_given_up_after_five_starts(bench: Bench) -> None:
    expected = decided_in_one_go(bench)
    assert [_decide_process(bench, 60) for _ in range(STARTS_MAX)] == [-signal.SIGKILL] * STARTS_MAX
    assert _letters(bench) == []
    with _defect():  # it would raise, were it handled once more
        bench.decide(calls(250))
    assert _others(written(bench)) == _others(expected)
    letters = [(each.event_id, each.kind, each.error) for each in _letters(bench)]
    assert letters == [("x1", "killed", KILLED), ("x2", "killed", KILLED)]
