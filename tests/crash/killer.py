"""kill -9 at seeded random moments: every process, the supervisor too, in the first second and while it recovers. And
stops: some stand still one after the other, and go on in another order.

A killing is counted only when it was felt: the process was alive, then was gone, and another one took its place.
"""

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from crash.left_behind import log_of
from crash.whole_system import System
from helpers.up import alive, state_of
from helpers.waiting import wait_for

from connectors.log.interface import Log

NAMES = ("gateway", "p0-gateway", "sequence", "decide", "deliver", "transactional", "inbox")
SUPERVISOR = "supervisor"
SENDERS = ("deliver", "transactional")
_RESTART_S = 90
STEADY, FIRST_SECOND, RECOVERY, TOGETHER = "at work", "in its first second", "in recovery", "together"
SENDING, UNDER_WAY = "while a provider answers", "with a record under way"
SLOW_LOG = "while the log keeps it waiting"
_FREEZE = "not killed, but stopped"
_WHENS = (STEADY, UNDER_WAY, SLOW_LOG, SLOW_LOG, FIRST_SECOND, FIRST_SECOND, RECOVERY, TOGETHER, _FREEZE)
_COMES_BY = {
    "sequence": ("events.p1", 0.04), "decide": ("events.p1", 0.08), "deliver": ("deliver.push", 0.04),
    "inbox": ("inbox", 0.04), "transactional": ("events.p0", 0.03),
}  # fmt: skip
"""The topic whose growth says that the process has something in hand, and for how many seconds at most."""
_APPENDS_TO = {
    "gateway": ("events.p1", "events.p2", "schedule"), "p0-gateway": ("events.p0",), "sequence": ("work",),
    "decide": ("ledger", "inbox", "deliver.push"), "deliver": ("ledger", "attempts"), "inbox": ("ledger",),
    "transactional": ("ledger", "attempts", "inbox"),
}  # fmt: skip


@dataclass
class Killer:
    """`run` kills `kills` times, about every `pause_s`."""

    system: System
    seed: int
    kills: int
    pause_s: float = 1.0
    names: tuple[str, ...] = NAMES
    """Who is killed, besides the supervisor."""
    frozen_s: float = 2.0
    """For how long some stand still at most; after 20 s they are killed and replaced."""
    felt: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(process, when) to how often."""
    stopped: Counter[str] = field(default_factory=Counter)
    """How often somebody stood still for a while."""

    def __post_init__(self) -> None:
        self._choose = random.Random(f"kills {self.seed}")
        self._names: list[str] = []
        self._whens: list[str] = []

    def run(self) -> None:
        """Kill, and kill again; returns when everything runs again."""
        supervisor_at = {self.kills // 4, self.kills // 2, (3 * self.kills) // 4}
        with log_of(self.system.directory, self.system.environment) as (_, log):
            while self.felt.total() < self.kills:
                time.sleep(self._choose.uniform(0.2, 2 * self.pause_s))
                due = [at for at in supervisor_at if self.felt.total() >= at]
                if due:
                    supervisor_at.remove(due[0])
                    self._supervisor()
                else:
                    self._one_or_two(log)
        self._all_run()

    def _one_or_two(self, log: Log) -> None:
        when = self._next(self._whens, _WHENS)
        if when == _FREEZE:
            self._freeze()
            return
        first = self._next(self._names, self.names)
        if first in SENDERS and self._choose.random() < 0.7 and self._wait_for_slow_answer():
            self._kill(first, SENDING)
            return
        if when == TOGETHER:
            second = self._next(self._names, self.names)
            self._kill(first, TOGETHER)
            self._kill(second, TOGETHER)
            return
        if when == UNDER_WAY and self._wait_for_work(log, first):
            self._kill(first, UNDER_WAY)
            return
        if when == SLOW_LOG and self.system.has_embedded_log:
            self._kill_waiting(first)
            return
        twice = when in (FIRST_SECOND, RECOVERY)
        self._kill(first, STEADY, wait=twice)
        if not twice:
            return
        time.sleep(self._choose.uniform(0.0, 0.9) if when == FIRST_SECOND else self._choose.uniform(0.9, 2.5))
        self._kill(first, when, wait=self._choose.random() < 0.3)

    def _next(self, left: list[str], among: tuple[str, ...]) -> str:
        """In random order, each once before any twice: who dies often comes back late."""
        if not left:
            left += self._choose.sample(among, len(among))
        return left.pop()

    def _wait_for_slow_answer(self) -> bool:
        """Until a provider has taken a message and has not answered yet; false if none came."""
        journal = self.system.directory / "sandbox" / "apns.ndjson"
        end, place = time.monotonic() + 3, journal.stat().st_size
        while time.monotonic() < end:
            if _has_slow(journal, place):
                return True
            time.sleep(0.002)
        return False

    def _wait_for_work(self, log: Log, name: str) -> bool:
        """Until something has come for the process to do, and a moment more; false if nothing came."""
        if name not in _COMES_BY:
            return False
        topic, within_s = _COMES_BY[name]
        self._pid(name)
        end, place = time.monotonic() + 3, _length(log, topic)
        while time.monotonic() < end:
            if _length(log, topic) > place:
                time.sleep(self._choose.uniform(0, within_s))
                return True
            time.sleep(0.002)
        return False

    def _kill_waiting(self, name: str) -> None:
        """While a topic that it writes takes nothing: what it has in memory is ahead of what it has said."""
        self._pid(name)
        with _held(self.system.directory / "log" / self._choose.choice(_APPENDS_TO[name])):
            time.sleep(self._choose.uniform(0.2, 0.8))
            self._kill(name, SLOW_LOG)

    def _pid(self, name: str) -> int:
        """Of the process as it runs now; waits for its restart where it is just dead."""
        wait_for(lambda: alive(self.system.up.pids()[name]), _RESTART_S, f"the restart of {name}")
        return self.system.up.pids()[name]

    def _kill(self, name: str, when: str, *, wait: bool = False) -> None:
        pid = self._pid(name)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), 60, f"the end of {name}")
        self.felt[name, when] += 1
        if wait:
            wait_for(lambda: self.system.up.pids()[name] != pid, _RESTART_S, f"the restart of {name}")

    def _freeze(self) -> None:
        """Some, perhaps all, are stopped one by one, and go on in another order."""
        names = self._choose.sample(self.names, self._choose.randint(1, len(self.names)))
        pids = {name: self._pid(name) for name in names}
        try:
            for pid in pids.values():
                os.kill(pid, signal.SIGSTOP)
                wait_for(lambda pid=pid: state_of(pid) in ("T", ""), 60, "the stop of a process")
                time.sleep(self._choose.uniform(0, 0.3))
            time.sleep(self._choose.uniform(0, self.frozen_s))
        finally:
            for name in self._choose.sample(names, len(names)):
                with suppress(ProcessLookupError):  # it was replaced
                    os.kill(pids[name], signal.SIGCONT)
                self.stopped[name] += 1
                time.sleep(self._choose.uniform(0, 0.3))

    def _supervisor(self) -> None:
        """Every second time it dies once more before it serves."""
        self.system.kill_supervisor()
        self.felt[SUPERVISOR, STEADY] += 1
        if self._choose.random() < 0.5:
            self.system.kill_at_start(self._choose.uniform(0.4, 3.0))
            self.felt[SUPERVISOR, FIRST_SECOND] += 1
        self.system.start()

    def _all_run(self) -> None:
        """Everybody who was killed is there again: the last condition of a killing that was felt."""
        for name in NAMES:
            self._pid(name)


@contextmanager
def _held(topic: Path) -> Iterator[None]:
    """Nobody can append to the topic: another writer has its files."""
    writers = [sqlite3.connect(path, timeout=60, isolation_level=None) for path in sorted(topic.glob("*.sqlite"))]
    try:
        for writer in writers:
            writer.execute("BEGIN IMMEDIATE")
        yield
    finally:
        for writer in writers:
            writer.close()


def _length(log: Log, topic: str) -> int:
    return sum(log.end_offset(topic, partition) for partition in range(log.partitions(topic)))


def _has_slow(journal: Path, place: int) -> bool:
    with journal.open("rb") as file:
        file.seek(place)
        return b'"to":"slow' in file.read()
