"""A few days of a decision log with everything that the rules know, decided by the real flow and archived by the real
flow, and what came of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import orjson
from bytewax.testing import cluster_main
from helpers.flow_bench import PARTITIONS, REGISTRY, _empty_log, calls
from rules.random_streams import random_stream

from connectors.log import NewRecord, Record
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import Log
from flows import decide, track
from flows.process.open import clock_ms
from flows.steps.track import ArchivedTopic, PartOptions
from operators.simulation import Simulation
from state.decide.checkpoint import GroupStore
from state.disk.poison import PoisonJournal
from state.model.errors import MalformedRecordError
from state.model.keys import key_group, partition_of_group
from state.model.work import TickWork, VersionsWork, Work, decode_work, encode_work

OUTPUTS = ("ledger", "inbox", "deliver.push", "deliver.sms", "deliver.email", "dead_letters")
CROWD_GROUP = 77
Outputs = dict[tuple[str, str], bytes]
"""Value by topic and `seq`."""


def works(seed: int, length: int = 700) -> Iterator[Work]:
    """Records of `work`: users of all kinds, and a crowd in one key group that is decided in columns."""
    simulation = Simulation(REGISTRY)
    lines = random_stream(seed, length, statuses=False)
    crowd = [name for name in map("fan{}".format, range(30_000)) if key_group(name) == CROWD_GROUP][:90]
    start = lines[0]["ts"]
    scene = [{"kind": "segment", "ts": start, "segment": "crowd", "users": crowd}]
    scene += [
        {"kind": "endpoint", "ts": start, "user": user, "channel": "push", "id": "d", "platform": "ios", "address": "x"}
        for user in crowd
    ]
    yield VersionsWork(stamp=start, registry=1, tzdata="of before", rules=1)
    for number, line in enumerate([*scene, *lines]):
        for _, record in simulation.records(line):
            yield record
        if number % 7 == 0:
            yield TickWork(stamp=simulation.now)
        if number % 40 == 5:
            fans = {
                "kind": "event", "ts": simulation.now, "event_id": f"crowd{number}", "type": "announcement",
                "object": f"o{number}", "fan_out_type": "SEGMENT", "segment": "crowd", "sender_id": "s",
                "payload": {"critical": number % 80 == 5},
            }  # fmt: skip
            for _, record in simulation.records(fans):
                yield record
    yield TickWork(stamp=simulation.now)


def work_records(records: Iterator[Work]) -> list[NewRecord]:
    """As `sequence` writes them; what is for every group stands in every partition."""
    found = []
    for work in records:
        partitions = range(PARTITIONS) if work.g is None else [partition_of_group(work.g, PARTITIONS)]
        key = b"" if work.g is None else b"%d" % work.g
        headers = (("schema", b"work/1+json"),)
        found += [NewRecord("work", partition, key, encode_work(work), headers) for partition in partitions]
    return found


class History:
    """A data directory with a log; flows run in this process until they have read all there is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if not (directory / "log").exists():
            shutil.copytree(_empty_log(), directory, dirs_exist_ok=True)
        self.log = self.open_log()

    def open_log(self) -> EmbeddedLog:
        return EmbeddedLog(self.directory, clock=clock_ms)

    def decide(self, *, budget: int = 200) -> None:
        """To the end of `work`; what the last epoch collected is lost, as by a crash."""
        store, journal = self.store(), PoisonJournal.open(self.directory / "poison")
        flow = decide.wire(
            self.open_log, store, REGISTRY, journal, partitions=PARTITIONS, budget=budget, drain=calls(1)
        )
        try:
            cluster_main(flow, [], 0, worker_count_per_proc=1, epoch_interval=timedelta(milliseconds=20))
        finally:
            store.close()
            journal.close()

    def store(self) -> GroupStore:
        decide_directory = self.directory / "state" / "decide"
        slot = decide_directory / "0"
        return GroupStore((slot if slot.exists() else decide_directory) / "rocksdb")

    def track(self) -> None:
        """To the ends of the archived topics."""
        parts = PartOptions(interval=timedelta(), records_max=300)
        options = track.TrackFlowOptions(
            budget=500, topics=tuple(ArchivedTopic(name, parts) for name in ("ledger", "work", "dead_letters"))
        )
        flow = track.wire(self.open_log, self.directory, drain=calls(1), now_ms=clock_ms, options=options)
        cluster_main(flow, [], 0, worker_count_per_proc=1, epoch_interval=timedelta(milliseconds=20))

    def trim_partition(self, topic: str, partition: int) -> None:
        """Retention passes what this partition has now, archived or not."""
        before = self.log.begin_offset(topic, partition)
        self.log.maintain(clock_ms() + timedelta(days=8) // timedelta(milliseconds=1))
        assert self.log.begin_offset(topic, partition) > before, "nothing was trimmed"

    def trim(self) -> None:
        """Retention passes all that is in the log."""
        self.log.maintain(clock_ms() + timedelta(days=8) // timedelta(milliseconds=1))
        assert self.log.begin_offset("work", 0) == self.log.end_offset("work", 0) > 0, "nothing was trimmed"


class Span(NamedTuple):
    """A stretch of time and, per partition, the offsets in `work` of the records of it."""

    from_ms: int
    to_ms: int
    offsets: dict[int, range]


def middle(log: Log) -> Span:
    """The middle third of the decision log's time, by looking at every record."""
    stamps = {p: [_stamp(record) for record in read_all(log, "work", p)] for p in range(PARTITIONS)}
    low = min(known[0] for known in stamps.values())
    high = max(known[-1] for known in stamps.values())
    first, end = low + (high - low) // 3, low + 2 * (high - low) // 3
    offsets = {
        p: range(sum(stamp < first for stamp in known), sum(stamp < end for stamp in known))
        for p, known in stamps.items()
    }
    return Span(first, end, offsets)


def _stamp(record: Record) -> int:
    try:
        return decode_work(record.value).stamp
    except MalformedRecordError:  # the poisonous one, which has a stamp all the same
        return int(orjson.loads(record.value)["stamp"])


def read_all(log: Log, topic: str, partition: int) -> list[Record]:
    place = (topic, partition)
    end = log.end_offset(*place)
    reader = log.reader({place: log.begin_offset(*place)})
    records: list[Record] = []
    while reader.position()[place] < end:
        records += reader.poll(10_000, timedelta(milliseconds=200))
    reader.close()
    return records


def outputs(log: Log) -> Outputs:
    """Everything that decide wrote; what it wrote twice must be the same bytes."""
    found: Outputs = {}
    for topic in OUTPUTS:
        for partition in range(log.partitions(topic)):
            for record in read_all(log, topic, partition):
                sequence = dict(record.headers).get("seq")
                if sequence is not None:
                    assert found.setdefault((topic, sequence.decode()), record.value) == record.value
    return found


def of_span(everything: Outputs, span: Span) -> Outputs:
    """What the records of the span led to."""
    return {key: value for key, value in everything.items() if _is_in(key[1], span)}


def _is_in(sequence: str, span: Span) -> bool:
    _, group, offset, _ = sequence.split(":")
    return int(offset) in span.offsets[partition_of_group(int(group), PARTITIONS)]


def as_outputs(records: Iterator[NewRecord]) -> Outputs:
    found: Outputs = {}
    for record in records:
        key = (record.topic, dict(record.headers)["seq"].decode())
        assert key not in found, "replayed twice"
        found[key] = record.value
    return found
