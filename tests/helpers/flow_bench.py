"""Flows in this process over an embedded log, stopped and lost as a test wants it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Container, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from bytewax._bytewax import cli_main
from bytewax.testing import cluster_main

from connectors.log import NewRecord, Record
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.topics import topic_specs
from flows import decide, schedule, sequence
from flows.process.cluster import ClusterPlace
from flows.process.open import clock_ms
from flows.steps.decide.outputs import OutputWriter
from flows.steps.schedule import ScheduleParts
from flows.steps.sequence.reading import SequenceOptions
from flows.steps.sequence.source import SequenceParts
from operators.decide import apply
from state.decide.checkpoint import GroupStore
from state.decide.group import GroupState
from state.disk.poison import PoisonJournal
from state.model.event import EVENT, RawEvent, event_key, resolve
from state.model.keys import KEY_GROUPS, groups_of_partition, key_group, partition_of_group
from state.model.registry import TypesToDate, load_registry
from state.model.work import AnyWork, TickWork, VersionsWork, decode_work
from state.schedule.store import ScheduleStore
from state.sequence.store import SequenceStore

PARTITIONS = 4
REGISTRY = load_registry()
START = 1_767_225_600_000
EPOCH = timedelta(milliseconds=20)


class Clock:
    """A wall clock that a test moves."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def steady_clock() -> Callable[[], int]:
    """A wall clock that nobody sets while the test runs."""
    began = time.monotonic()
    return lambda: START + int((time.monotonic() - began) * 1000)


SHORT_WAITS = ClusterPlace(0, 1, 2)
"""Many calls end soon: with more than one worker, sources wait for records but shortly."""


def calls(most: int, then: Callable[[int], None] = lambda _call: None) -> Callable[[], bool]:
    """A drain that says yes after so many questions; `then` is told the number of each."""
    asked = 0

    def drain() -> bool:
        nonlocal asked
        asked += 1
        then(asked)
        return asked > most

    return drain


def seconds(most: float) -> Callable[[], bool]:
    """A drain that says yes so many seconds after the first question: a start may take long."""
    began: list[float] = []

    def drain() -> bool:
        began[:] = began or [time.monotonic()]
        return time.monotonic() - began[0] > most

    return drain


def until(true: Callable[[], bool], within_s: float = 60) -> Callable[[], bool]:
    """A drain that says yes when something holds, or after so long; it looks every 50 ms."""
    too_long, pause = seconds(within_s), seconds(0.05)

    def drain() -> bool:
        nonlocal pause
        if not pause():
            return False
        pause = seconds(0.05)
        return true() or too_long()

    return drain


def user_in_group(group: int, number: int = 0) -> str:
    """The `number`-th of the users u0, u1, ... whose key group it is."""
    found = [name for name in map("u{}".format, range(60_000)) if key_group(name) == group]
    return found[number]


@cache
def _empty_log() -> Path:
    """All topics, made once per process: making them anew costs more than most tests."""
    directory = Path(tempfile.mkdtemp(prefix="carillon-empty-log-"))
    atexit.register(shutil.rmtree, directory)
    log = EmbeddedLog(directory, clock=clock_ms)
    log.ensure_topics(topic_specs(PARTITIONS, timedelta(days=7)))
    log.close()
    return directory


class Bench:
    """A log with all topics in a directory, and the flows over it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.copytree(_empty_log(), directory, dirs_exist_ok=True)
        self.clock = Clock()
        self.log = self.open_log()

    def open_log(self) -> EmbeddedLog:
        return EmbeddedLog(self.directory, clock=clock_ms)

    def close(self) -> None:
        self.log.close()

    # Input ------------------------------------------------------------------------

    def append(self, *records: NewRecord) -> None:
        self.log.append(records)

    def event(self, event_id: str, type_name: str = "like", *, topic: str | None = None, **fields: Any) -> NewRecord:
        """An accepted event, to `u1` by `a` unless the fields say otherwise."""
        given = {"actor": "a", "target": "u1", "object": "o", "sender_id": "s"} | fields
        raw = RawEvent(event_id=event_id, type=type_name, **given)
        event = resolve(raw, REGISTRY, ingested_at=self.clock())
        key = event_key(event)
        partition = partition_of_group(key_group(key), PARTITIONS)
        name = topic or f"events.{event.priority.lower()}"
        return NewRecord(
            name, 0 if name == "schedule" else partition, key.encode(), EVENT.encode(event), _schema("event/1")
        )

    def setting(self, topic: str, owner: str, /, **value: Any) -> NewRecord:
        return NewRecord(topic, partition_of_group(key_group(owner), PARTITIONS), owner.encode(), orjson.dumps(value))

    def preference(self, user: str, **document: Any) -> NewRecord:
        return self.setting("preferences", user, user=user, doc=document)

    def follow(self, follower: str, followee: str, *, on: bool = True) -> NewRecord:
        return self.setting("follows", followee, followee=followee, follower=follower, on=on)

    def cancel(self, event_id: str) -> NewRecord:
        return NewRecord("schedule", 0, event_id.encode(), orjson.dumps({"event_id": event_id}), _schema("cancel/1"))

    # Flows ------------------------------------------------------------------------

    def sequence(
        self,
        drain: Callable[[], bool] | None = None,
        *,
        p2_budget: int = 1000,
        clock: Callable[[], int] | None = None,
        types: TypesToDate | None = None,
    ) -> None:
        """Run `sequence` until it drains; what its last epoch collected is lost, as by a crash. Configured: `types`."""
        store = SequenceStore(self.directory / "state" / "sequence")
        journal = PoisonJournal.open(self.directory / "state" / "sequence.poison")
        parts = SequenceParts(
            self.open_log, store, journal, types or load_registry(), None,
            SequenceOptions(1000, p2_budget), clock=clock or self.clock, drain=drain or calls(12),
        )  # fmt: skip
        try:
            cli_main(sequence.wire(self.open_log, parts), epoch_interval=EPOCH)
        finally:
            store.close()
            journal.close()

    def decide(
        self,
        drain: Callable[[], bool],
        *,
        workers: int = 1,
        budget: int = 1000,
        groups: Collection[int] = range(KEY_GROUPS),
    ) -> None:
        """Run `decide` until it drains; what its last epoch collected is lost, as by a crash."""
        store = GroupStore(self.directory / "state" / "decide")
        journal = PoisonJournal.open(self.directory / "state" / "decide.poison")
        flow = decide.wire(
            self.open_log, store, REGISTRY, journal, partitions=PARTITIONS, budget=budget, drain=drain, groups=groups,
            place=SHORT_WAITS,
        )  # fmt: skip
        try:
            cluster_main(flow, [], 0, worker_count_per_proc=workers, epoch_interval=EPOCH)
        finally:
            store.close()

    def schedule(self, drain: Callable[[], bool]) -> None:
        """Run `schedule` until it drains; what its last epoch collected is lost, as by a crash."""
        store = ScheduleStore(self.directory / "state" / "schedule")
        journal = PoisonJournal.open(self.directory / "state" / "schedule.poison")
        parts = ScheduleParts(self.open_log, store, journal, self.clock, time.monotonic, drain, REGISTRY)
        try:
            cli_main(schedule.wire(self.open_log, parts), epoch_interval=EPOCH)
        finally:
            store.close()
            journal.close()

    def lose(self, name: str) -> None:
        """Delete a flow's state."""
        shutil.rmtree(self.directory / "state" / name)

    # Output -----------------------------------------------------------------------

    def read(self, topic: str) -> list[Record]:
        ends = {(topic, p): self.log.end_offset(topic, p) for p in range(self.log.partitions(topic))}
        reader = self.log.reader({place: self.log.begin_offset(*place) for place in ends})
        records: list[Record] = []
        while any(reader.position()[place] < end for place, end in ends.items()):
            records += reader.poll(10_000, timedelta(milliseconds=50))
        reader.close()
        return records

    def work(self) -> list[tuple[int, int, AnyWork]]:
        """(partition, offset, record) of the decision log without ticks and versions."""
        records = [(record.partition, record.offset, decode_work(record.value)) for record in self.read("work")]
        return [entry for entry in records if not isinstance(entry[2], TickWork | VersionsWork)]

    def sources(self) -> list[tuple[str, int, int, int]]:
        """Where the records of the decision log came from, sorted."""
        return sorted(work.src for _, _, work in self.work() if work.src is not None)


def _schema(name: str) -> tuple[tuple[str, bytes], ...]:
    return (("schema", f"{name}+json".encode()),)


def copy_inputs(source: Bench, target: Bench, topics: Sequence[str]) -> None:
    """The same records at the same offsets."""
    for topic in topics:
        for record in sorted(source.read(topic), key=lambda each: (each.partition, each.offset)):
            target.append(NewRecord(topic, record.partition, record.key, record.value, record.headers))


def decided_in_one_go(bench: Bench, without: Container[tuple[int, int]] = frozenset()) -> dict[str, dict[str, bytes]]:
    """By topic and `seq`, what the decision log without some (partition, offset) leads to when nothing interrupts."""
    states: dict[int, tuple[GroupState, OutputWriter]] = {}
    expected: dict[str, dict[str, bytes]] = {}
    for record in sorted(bench.read("work"), key=lambda each: (each.partition, each.offset)):
        if (record.partition, record.offset) in without:
            continue
        work = decode_work(record.value)
        groups = groups_of_partition(record.partition, PARTITIONS) if work.g is None else (work.g,)
        for group in groups:
            if group not in states:
                states[group] = GroupState(REGISTRY), OutputWriter(group, PARTITIONS)
            state, writer = states[group]
            written = writer.encode(state, apply(state, work, record.offset), record.offset)
            if isinstance(work, TickWork) and state.count_terms() != state.counted:
                state.counted = state.count_terms()
                written.append(writer.counts(state.counted, record.offset))
            for each in written:
                expected.setdefault(each.topic, {})[dict(each.headers)["seq"].decode()] = each.value
    return expected


def decide_all(bench: Bench, directory: Path) -> dict[int, GroupState]:
    """Every group of the decision log decided, encoded and stored, by columns too; the states by group."""
    store = GroupStore(directory)
    states: dict[int, GroupState] = {}
    for record in bench.read("work"):
        work = decode_work(record.value)
        groups = groups_of_partition(record.partition, PARTITIONS) if work.g is None else (work.g,)
        for group in groups:
            if group not in states:
                states[group] = store.load(group, REGISTRY)
                states[group].bulk_from = 1
            out = apply(states[group], work, record.offset)
            OutputWriter(group, PARTITIONS).encode(states[group], out, record.offset)
    for group, state in states.items():
        store.collect(group, state)
    store.commit()
    reloaded = {group: store.load(group, REGISTRY) for group in states}
    store.close()
    assert {g: s.count_terms() for g, s in reloaded.items()} == {g: s.count_terms() for g, s in states.items()}
    return states
