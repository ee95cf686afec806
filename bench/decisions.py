"""Decisions per second and core in the running flow, against a plain per-user Bytewax flow on the same work.

Both run with recovery on, read the same events and settings, write every decision durably to the embedded log, and must
come to the same outcomes. Ours reads `work`; its checkpoint is RocksDB. The plain flow keeps its state in Bytewax.
"""

import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import orjson
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource

from bench import plain_flow
from bench.figures import record
from bench.sites import PARTITIONS, append_works, document, new_log, open_log, phone_of, run_flow
from connectors.log import NewRecord, Record
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.sink import LogSink
from flows import decide
from state import slices
from state.decide.checkpoint import GroupStore
from state.disk.poison import PoisonJournal
from state.model.arrow import batch_table
from state.model.event import Event
from state.model.keys import key_group, partition_of_group
from state.model.registry import load_registry
from state.model.work import FollowWork, KillWork, PreferenceWork, SliceWork, Work

NOW = int(time.time() * 1000) + 86_400_000
"""Tomorrow: no hold ends while either side runs."""
STAR = "star"


def _event(number: int) -> Event:
    """Posts a second apart: the caps of some come into play."""
    return Event(
        event_id=f"post{number}", type="new_post", priority="P1", fan_out_type="FOLLOWERS", sender_id="bench",
        actor=STAR, object=f"o{number}", payload={"title": "a new post"}, ttl_ms=21_600_000,
        ingested_at=NOW + number * 1_000,
    )  # fmt: skip


class Workload:
    """Users with settings, all following one star, and his posts."""

    def __init__(self, users: int, posts: int) -> None:
        choose = random.Random(7)
        self.users = [f"user{number}" for number in range(users)]
        self.documents = {user: document(choose) for user in self.users}
        self.reachable = {user for user in self.users if choose.random() < 0.9}
        self.events = [_event(number) for number in range(posts)]
        self.decisions = users * posts


def _settings(work: Workload) -> Iterator[Work]:
    for user in work.users:
        group = key_group(user)
        yield PreferenceWork(g=group, stamp=NOW, user=user, doc=work.documents[user])
        yield FollowWork(g=group, stamp=NOW, follower=user, followee=STAR, on=True)
        if user in work.reachable:
            yield phone_of(user, group, NOW)


def _slices(work: Workload) -> Iterator[Work]:
    for event in work.events:
        for group in range(240):
            yield SliceWork(g=group, stamp=event.ingested_at, event=event)


class _Written:
    """Follows the ledger until it holds so many decisions, and tells when that was."""

    def __init__(self, log: EmbeddedLog, decisions: int) -> None:
        ends = {("ledger", partition): log.end_offset("ledger", partition) for partition in range(PARTITIONS)}
        self._reader, self._left = log.reader(ends), decisions
        self.at = 0.0
        self._done = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        deadline = time.perf_counter() + 600
        while self._left > 0 and time.perf_counter() < deadline:
            for found in self._reader.poll(1_000, timedelta(milliseconds=100)):
                self._left -= _decisions_in(found)
        self.at = time.perf_counter()
        self._reader.close()
        self._done.set()

    def drain(self) -> bool:
        return self._done.is_set()


def _decisions_in(found: Record) -> int:
    schema = dict(found.headers)["schema"]
    if schema == b"decision/1+json":
        return 1
    return batch_table(found.value, "slice").num_rows if schema == slices.SCHEMA else 0


def _run_decide(
    directory: Path, log: EmbeddedLog, decisions: int, open_store: Callable[[Path], GroupStore] = GroupStore
) -> tuple[float, float]:
    """(seconds, processor seconds) until so many decisions are written; 0: until the settings are stored."""
    store, journal = open_store(directory / "state"), PoisonJournal.open(directory / "poison")
    written = _Written(log, decisions) if decisions else None
    ends = {partition: log.end_offset("work", partition) for partition in range(PARTITIONS)}

    def drain() -> bool:
        if written is not None:
            return written.drain()
        groups = ((group, ends[partition_of_group(group, PARTITIONS)]) for group in (0, 100, 200))
        return all(store.next_offset(group) >= end for group, end in groups)

    flow = decide.wire(
        lambda: open_log(directory), store, load_registry(), journal, partitions=PARTITIONS, budget=200_000,
        drain=drain,
    )  # fmt: skip
    start, cpu = time.perf_counter(), time.process_time()
    run_flow(flow)
    used = time.process_time() - cpu
    store.commit()
    store.close()
    return (written.at if written else time.perf_counter()) - start, used


def _outcomes(log: EmbeddedLog) -> Counter[str]:
    counted: Counter[str] = Counter()
    for record_ in _ledger(log):
        schema = dict(record_.headers)["schema"]
        if schema == slices.SCHEMA:
            counted.update(map(str, slices.expand(record_.value).decisions["outcome"].to_pylist()))
        elif schema == b"decision/1+json":
            counted[orjson.loads(record_.value)["outcome"]] += 1
    return counted


def _ledger(log: EmbeddedLog) -> Iterator[Record]:
    reader = log.reader({("ledger", partition): 0 for partition in range(PARTITIONS)})
    while found := reader.poll(10_000, timedelta(milliseconds=200)):
        yield from found
    reader.close()


def measure_ours(
    work: Workload, deciding_store: Callable[[Path], GroupStore] = GroupStore
) -> tuple[float, float, Counter[str]]:
    """(decisions per second, per processor second, outcomes); `deciding_store` is that of the run that is timed."""
    directory = Path(tempfile.mkdtemp())
    try:
        log = new_log(directory)
        append_works(log, _settings(work))
        append_works(log, [KillWork(stamp=NOW, scope="type", value="none", on=False)])  # a tick alone is not stored
        _run_decide(directory, log, 0)
        append_works(log, _slices(work))
        seconds, cpu = _run_decide(directory, log, work.decisions, deciding_store)
        outcomes = _outcomes(log)
        log.close()
    finally:
        shutil.rmtree(directory)
    return work.decisions / seconds, work.decisions / cpu, outcomes


def _plain_records(work: Workload) -> Iterator[plain_flow.Input]:
    for user in work.users:
        yield "preference", (user, work.documents[user])
        if user in work.reachable:
            yield "endpoint", (user, None)


def measure_plain(work: Workload) -> tuple[float, float, Counter[str]]:
    """(decisions per second, per processor second, outcomes); settings are loaded in a run before."""
    directory = Path(tempfile.mkdtemp())
    followers = {STAR: work.users}
    settings = list(_plain_records(work))
    events: list[plain_flow.Input] = [("event", event) for event in work.events]
    try:
        log = new_log(directory)
        (directory / "recovery").mkdir()
        init_db_dir(directory / "recovery", 1)
        recovery = RecoveryConfig(str(directory / "recovery"))
        source = TestingSource([*settings, TestingSource.EOF(), *events], batch_size=1)
        sink = LogSink(lambda: open_log(directory), ["ledger"])
        flow = plain_flow.wire(source, followers, _ledger_record, sink)
        run_flow(flow, recovery)
        start, cpu = time.perf_counter(), time.process_time()
        run_flow(flow, recovery)
        seconds, used = time.perf_counter() - start, time.process_time() - cpu
        outcomes = _outcomes(log)
        log.close()
    finally:
        shutil.rmtree(directory)
    return work.decisions / seconds, work.decisions / used, outcomes


def _ledger_record(item: tuple[str, tuple[str, str, str | None]]) -> tuple[str, NewRecord]:
    user, (event_id, outcome, reason) = item
    value = orjson.dumps({"event_id": event_id, "user": user, "outcome": outcome, "reason": reason})
    partition = partition_of_group(key_group(user), PARTITIONS)
    return f"ledger/{partition}", NewRecord(
        "ledger", partition, user.encode(), value, (("schema", b"decision/1+json"),)
    )


def main(*, users: int = 60_000, posts: int = 5, rounds: int = 1) -> None:
    """Print and store `decisions_per_core` and `decisions_vs_plain_flow`; medians of alternating rounds."""
    work = Workload(users, posts)
    ours: list[float] = []
    ratios: list[float] = []
    for _ in range(rounds):
        _, fast, outcomes = measure_ours(work)
        _, slow, plain_outcomes = measure_plain(work)
        assert outcomes == plain_outcomes, f"not the same decisions: {outcomes} {plain_outcomes}"
        ours.append(fast)
        ratios.append(fast / slow)
    text = f"{users} followers, {posts} posts, all rules, ledger, inbox and deliver written, recovery on"
    record("decisions", "decisions_per_core", sorted(ours)[rounds // 2], "recipients/s", work=text, n=work.decisions)
    record(
        "decisions", "decisions_vs_plain_flow", sorted(ratios)[rounds // 2], "ratio", work=text, n=work.decisions,
        against="plain per-user flow, same decisions, same run",
    )  # fmt: skip


if __name__ == "__main__":
    main(users=int(sys.argv[1]) if len(sys.argv) > 1 else 60_000)
