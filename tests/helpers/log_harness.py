"""Both logs behind one face, for laws that must hold for each of them; also for child processes."""

import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from helpers.places import TESTS

from connectors.log.embedded.compaction import CompactionOptions
from connectors.log.embedded.log import EmbeddedLog, EmbeddedOptions
from connectors.log.interface import ClaimableLog, Log, NewRecord, Reader, Record, TopicSpec
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.options import KafkaOptions

RETENTION_MS = 3_600_000
AT_ONCE = CompactionOptions(lag=timedelta(0), dirty_ratio=0.0, tombstone_retention=timedelta(0))
SMALL_SEGMENTS = {
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
    "max.compaction.lag.ms": "500",
}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Harness:
    """Where a log is; passes to child processes as JSON."""

    kind: str
    place: str
    """Directory of the embedded log, or the broker's address."""
    prefix: str = ""
    deadline_s: float = 30.0

    def open(self) -> ClaimableLog:
        deadline = timedelta(seconds=self.deadline_s)
        if self.kind == "embedded":
            options = EmbeddedOptions(deadline=deadline, compaction=AT_ONCE)
            return EmbeddedLog(Path(self.place), clock=now_ms, options=options)
        return KafkaLog(
            self.place, prefix=self.prefix, options=KafkaOptions(deadline=deadline, topic_settings=SMALL_SEGMENTS)
        )

    def topic(self, log: Log, partitions: int = 1, *, compacted: bool = False) -> str:
        """Make a topic that nobody else uses."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        log.ensure_topics([TopicSpec(name, partitions, compacted, None if compacted else RETENTION_MS)])
        return name

    def expire(self, log: Log, topic: str, before: Record) -> None:
        """Let retention remove everything older than a record of partition 0."""
        if isinstance(log, EmbeddedLog):
            log.maintain(before.timestamp_ms + RETENTION_MS)
            return
        place = TopicPartition(self.prefix + topic, 0, before.offset)
        admin = AdminClient({"bootstrap.servers": self.place})
        for future in admin.delete_records([place]).values():
            future.result(10)

    def compact(self, log: Log, topic: str) -> None:
        """Let compaction make progress on partition 0; it never touches what was appended last."""
        if isinstance(log, EmbeddedLog):
            log.maintain(now_ms() + 1)
        else:
            time.sleep(0.3)
        log.append([NewRecord(topic, 0, b"filler", b"x")])

    @contextmanager
    def held_up(self, topic: str, deadline_s: float) -> Iterator[Log]:
        """A log whose appends cannot succeed: another writer holds the file, or a broker that accepts never answers."""
        if self.kind == "embedded":
            with closing(sqlite3.connect(Path(self.place) / "log" / topic / "0.sqlite")) as other:
                other.execute("BEGIN IMMEDIATE")
                with closing(replace(self, deadline_s=deadline_s).open()) as log:
                    yield log
            return
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(64)
            place = f"127.0.0.1:{silent.getsockname()[1]}"
            with closing(replace(self, place=place, deadline_s=deadline_s).open()) as log:
                yield log

    def child(self, job: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a process of `tests/helpers/log_child.py`."""
        return run_child("log_child.py", self, job, *arguments)


_CHILDREN: list[subprocess.Popen[str]] = []


def run_child(script: str, harness: Harness, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that is gone, with its pipes, when `end_children` is called."""
    child = subprocess.Popen(
        [sys.executable, str(TESTS / "helpers" / script), json.dumps(asdict(harness)), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
    )
    _CHILDREN.append(child)
    return child


def end_children() -> None:
    """Leave nothing behind of what this test started."""
    while _CHILDREN:
        with _CHILDREN.pop() as child, contextlib.suppress(BrokenPipeError):
            child.kill()


def take(reader: Reader, count: int, seconds: float = 60.0) -> list[Record]:
    """Read exactly this many records, or fail."""
    taken: list[Record] = []
    give_up = time.monotonic() + seconds
    while len(taken) < count and time.monotonic() < give_up:
        taken += reader.poll(count - len(taken), timedelta(milliseconds=200))
    assert len(taken) == count
    return taken


def read_all(log: Log, topic: str, partition: int = 0, start: int | None = None) -> list[Record]:
    """Read a partition from the start to its end of this moment."""
    begin = log.begin_offset(topic, partition) if start is None else start
    end = log.end_offset(topic, partition)
    reader = log.reader({(topic, partition): begin})
    found: list[Record] = []
    give_up = time.monotonic() + 60
    while reader.position()[topic, partition] < end and time.monotonic() < give_up:
        found += reader.poll(5000, timedelta(milliseconds=200))
    reader.close()
    return found


def numbered(topic: str, count: int, partition: int = 0, name: str = "") -> list[NewRecord]:
    return [NewRecord(topic, partition, name.encode(), str(number).encode()) for number in range(count)]


def values(records: Sequence[Record | NewRecord]) -> list[bytes]:
    return [record.value for record in records]
