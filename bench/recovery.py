"""How long decide is away after kill -9: users with settings, minutes of direct events, and the real flow as a process
over the embedded log.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from bench.figures import record
from bench.sites import PARTITIONS, append_works, new_log, open_log, phone_of, run_flow
from connectors.log.embedded.log import EmbeddedLog
from flows import decide
from flows.config.settings import LaneOptions, Settings, load_settings
from flows.process.cluster import ClusterPlace
from flows.process.open import clock_ms
from flows.recovery.slots import DecideSlot
from state.model.event import Event
from state.model.keys import key_group, partition_of_group
from state.model.registry import load_registry
from state.model.work import EventWork, PreferenceWork, TickWork, Work

BUDGET = 1_000
REGISTRY = load_registry()
PROBE = "user0"


class Site:
    """A data directory with a log, as a system has it."""

    def __init__(self, directory: Path, users: int, minutes: int, per_s: int) -> None:
        self.directory, self.users, self.events = directory, users, minutes * 60 * per_s
        self.log = new_log(directory)
        self.begin = clock_ms() - minutes * 60_000
        self.end = self.begin + minutes * 60_000
        self._per_s = per_s

    def open_log(self) -> EmbeddedLog:
        return open_log(self.directory)

    def settings(self) -> Settings:
        settings = load_settings(data_dir=self.directory, environment={})
        return replace(settings, lanes=LaneOptions(p1_per_epoch=BUDGET))

    def scene(self) -> Iterator[Work]:
        for number in range(self.users):
            user = f"user{number}"
            group = key_group(user)
            if number % 3 == 0:
                caps = {"max_per_hour": 5, "max_per_day": 20}
                yield PreferenceWork(g=group, stamp=self.begin - 1, user=user, doc={"frequency_cap": caps})
            yield phone_of(user, group, self.begin - 1)
        yield TickWork(stamp=self.begin - 1)

    def stretch(self) -> Iterator[Work]:
        choose = random.Random(3)
        for number in range(self.events):
            at = self.begin + number * 1000 // self._per_s
            yield self.event(f"e{number}", f"user{choose.randrange(self.users)}", at)
            if number % (self._per_s // 4) == 0:
                yield TickWork(stamp=at)
        yield TickWork(stamp=self.end)

    def event(self, event_id: str, user: str, at: int) -> EventWork:
        event = Event(
            event_id=event_id, type="mention", priority="P1", target=user, sender_id="bench", actor="a",
            object=event_id, payload={"title": "you were mentioned"}, ttl_ms=3_600_000, ingested_at=at,
        )  # fmt: skip
        return EventWork(g=key_group(user), stamp=at, event=event, users=[user])

    def decide(self) -> tuple[float, float]:
        """Live, until everything in `work` is decided and written; (seconds, processor seconds), start left out."""
        slot = DecideSlot(self.directory / decide.DIRECTORY, ClusterPlace(0, 1, 1))
        ends = {p: self.log.end_offset("work", p) for p in range(PARTITIONS)}
        done = _When(lambda: all(slot.store.next_offset(60 * p) >= end for p, end in ends.items()))
        flow = decide.wire(
            self.open_log, slot.store, REGISTRY, slot.journal, partitions=PARTITIONS, budget=BUDGET, drain=done
        )
        run_flow(flow)
        slot.store.commit()
        slot.close()
        return done.seconds, done.cpu

    def close(self) -> None:
        self.log.close()


class _When:
    """A drain that comes when something is true, and tells after how long from its first question."""

    def __init__(self, true: Callable[[], bool]) -> None:
        self._true = true
        self._begun: tuple[float, float] | None = None
        self.seconds = self.cpu = 0.0

    def __call__(self) -> bool:
        self._begun = self._begun or (time.perf_counter(), time.process_time())
        if not self.seconds and self._true():
            self.seconds, self.cpu = time.perf_counter() - self._begun[0], time.process_time() - self._begun[1]
        return self.seconds > 0


@contextmanager
def decide_process(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """As the supervisor starts it."""
    environment = {**os.environ, "CARILLON_DATA_DIR": str(site.directory), "CARILLON_CONFIG": os.devnull}
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.up.launch", "decide", "flows", "decide"],
        env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def until_decided(site: Site, number: int) -> float:
    """Seconds from now until a new event is decided."""
    place = ("ledger", partition_of_group(key_group(PROBE), PARTITIONS))
    reader = site.log.reader({place: site.log.end_offset(*place)})
    begun = time.perf_counter()
    append_works(site.log, [site.event(f"probe{number}", PROBE, clock_ms())])
    name = f'"probe{number}"'.encode()
    while not any(name in found.value for found in reader.poll(1000, timedelta(milliseconds=50))):
        if time.perf_counter() - begun > 120:
            raise TimeoutError("decide does not decide")
    reader.close()
    return time.perf_counter() - begun


def measure_recovery(site: Site, rounds: int) -> list[float]:
    """Seconds from kill -9 to the first new decision, the start of the next process included."""
    found = []
    for number in range(rounds):
        with decide_process(site) as process:
            until_decided(site, 2 * number)
            process.kill()
            process.wait(10)
        with decide_process(site):
            found.append(until_decided(site, 2 * number + 1))
    return found


def main(*, users: int = 100_000, minutes: int = 5, per_s: int = 100, rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory() as directory, closing(Site(Path(directory), users, minutes, per_s)) as site:
        append_works(site.log, site.scene())
        site.decide()
        append_works(site.log, site.stretch())
        site.decide()
        found = sorted(measure_recovery(site, rounds))
    record("recovery", "recovery_s", found[len(found) // 2], "s", n=rounds,
           work=f"kill -9 of decide to its next decision, {site.users} users, process start included",
           seconds=sum(found))  # fmt: skip


if __name__ == "__main__":
    main()
