"""One owner per place, on the embedded log and on a real Kafka: who was taken over appends nothing more."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest
from helpers.fence_child import FENCED, claim, open_claimed, owner
from helpers.log_harness import Harness, read_all, run_child
from helpers.logs import captured_logs
from helpers.waiting import wait_for

from connectors.log.interface import ClaimableLog, NewRecord, TopicSpec
from connectors.log.owners import LEASE, TOPIC, FencedLog, OwnerRecord, is_dead, lock_identity, owner_record
from state.disk.lock import FILE_NAME, StateLock
from state.model.errors import LogUnavailableError, StateFencedError


@pytest.fixture(scope="session", params=["embedded", "kafka"])
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    if request.param == "embedded":
        return Harness("embedded", str(tmp_path_factory.mktemp("fenced")))
    return Harness("kafka", request.getfixturevalue("kafka_bootstrap"), f"fenced-{time.time_ns()}.")


@pytest.fixture(scope="session")
def log(harness: Harness) -> Iterator[ClaimableLog]:
    opened = harness.open()
    opened.ensure_topics([TopicSpec(TOPIC, 1, compacted=True)])
    yield opened
    opened.close()


@pytest.fixture
def flow() -> str:
    return f"f-{uuid.uuid4().hex[:8]}"


def append(log: FencedLog, topic: str, value: bytes) -> None:
    log.append([NewRecord(topic, 0, b"", value)])


def grow_old() -> None:
    time.sleep(LEASE.total_seconds() + 0.1)


def test_a_later_claim_ends_an_earlier_one(log: ClaimableLog, harness: Harness, flow: str) -> None:
    topic = harness.topic(log)
    first, lost = open_claimed(harness, log, claim(log, topic, flow, "a"))
    append(first, topic, b"1")
    second, _ = open_claimed(harness, log, claim(log, topic, flow, "b"))
    append(second, topic, b"2")
    if harness.kind == "kafka":
        grow_old()  # within the lease Kafka cannot tell; the new owner waits for it
    with pytest.raises(StateFencedError):
        append(first, topic, b"3")
    grow_old()
    with pytest.raises(StateFencedError, match=f"{flow}/0 was taken over by process {os.getpid()} on here"):
        append(first, topic, b"4")
    assert len(lost) == 1
    append(second, topic, b"5")
    assert [record.value for record in read_all(log, topic)] == [b"1", b"2", b"5"]


def test_places_are_apart_and_fewer_processes_end_those_beyond(log: ClaimableLog, harness: Harness, flow: str) -> None:
    topic = harness.topic(log)
    claims = [claim(log, topic, flow, "a", process=number, processes=3) for number in range(3)]
    logs = [open_claimed(harness, log, each)[0] for each in claims]
    other, _ = open_claimed(harness, log, claim(log, topic, f"{flow}-other", "a"))
    for number, each in enumerate(logs):
        append(each, topic, str(number).encode())
    again = claim(log, topic, flow, "a", process=0, processes=2)
    grow_old()
    append(logs[1], topic, b"still")
    append(other, topic, b"apart")
    for ended in (logs[0], logs[2]):
        with pytest.raises(StateFencedError):
            append(ended, topic, b"never")
    append(open_claimed(harness, log, again)[0], topic, b"new")
    assert [record.value for record in read_all(log, topic)] == [b"0", b"1", b"2", b"still", b"apart", b"new"]


def test_only_an_owner_that_may_live_is_waited_for(log: ClaimableLog, harness: Harness, flow: str) -> None:
    topic = harness.topic(log)

    def waits(lock: str, process: int = 0, processes: int = 1) -> bool:
        began = time.monotonic()
        with captured_logs() as said:
            claim(log, topic, flow, lock, process=process, processes=processes)
        waited = any(line["event"] == "waiting_for_owner_before" for line in said)
        assert not waited or time.monotonic() - began >= LEASE.total_seconds()
        return waited

    on_kafka = harness.kind == "kafka"
    assert not waits("a")
    assert not waits("a"), "we hold the lock, so its owner is dead"
    assert waits("b") is on_kafka, "another lock: it may live"
    assert not waits("c", 1, 2)
    assert waits("b", 0, 1) is on_kafka, "process 1 of the two before may live"
    assert not waits("b", 0, 1), "it was waited for"


def stop(harness: Harness, topic: str, pid: int) -> None:
    """At any moment; but one that is stopped inside an append holds the embedded log's write lock: then all wait."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.02)
        if harness.kind == "kafka":
            return
        with contextlib.closing(sqlite3.connect(Path(harness.place) / "log" / topic / "0.sqlite", timeout=0)) as file:
            try:
                file.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.01)


def test_who_is_stopped_inside_an_append_is_named(harness: Harness, flow: str) -> None:
    if harness.kind == "kafka":
        return  # no lock there
    with contextlib.closing(harness.open()) as log:
        topic = harness.topic(log)
        locked = pytest.raises(LogUnavailableError, match=f"locked by process {os.getpid()}; if it is stopped")
        with harness.held_up(topic, 0.3) as waiting, locked:
            waiting.append([NewRecord(topic, 0, b"", b"")])


def test_a_stopped_owner_that_wakes_up_appends_nothing(log: ClaimableLog, harness: Harness, flow: str) -> None:
    """The successor goes on where the one before was: what that one had under way is there once."""
    topic = harness.topic(log)
    child = run_child("fence_child.py", harness, topic, flow)
    try:
        assert child.stdout
        assert any(line == "claimed\n" for line in child.stdout)
        wait_for(lambda: log.end_offset(topic, 0) >= 50, what="appends of the child", every_s=0.02)
        stop(harness, topic, child.pid)
        mine, _ = open_claimed(harness, log, claim(log, topic, flow, "mine"))
        left = len(read_all(log, topic))
        for number in range(left, left + 5):
            append(mine, topic, str(number).encode())
        found = read_all(log, topic)
        os.kill(child.pid, signal.SIGCONT)
        assert child.wait(40) == FENCED
        assert f"{flow}/0" in child.stdout.read()
    finally:
        if child.poll() is None:
            child.kill()
        child.wait(10)
    assert [record.value for record in found] == [str(number).encode() for number in range(left + 5)]
    assert read_all(log, topic) == found
    append(mine, topic, b"after")
    assert [record.value for record in read_all(log, topic, start=found[-1].offset)] == [found[-1].value, b"after"]


def test_who_is_known_to_be_dead() -> None:
    mine = owner("kernel:1:2:3")

    def dead(lock: str, pid: int = os.getpid(), host: str = "here") -> bool:
        return is_dead(msgspec.structs.replace(mine, lock=lock, pid=pid, host=host), mine)

    child = subprocess.Popen(["true"])
    child.wait()
    assert dead("kernel:1:2:3"), "its lock is ours"
    assert not dead("kernel:1:2:4"), "another lock, and the process is there"
    assert dead("kernel:1:2:4", child.pid), "its process is gone"
    assert not dead("kernel:9:2:4", child.pid), "another space of numbers tells nothing"
    assert dead("before:1:7:3"), "the machine was restarted"
    assert not dead("before:1:7:3", host="there")
    assert not dead("before:1:7:8")


def test_locks_have_names_that_no_other_lock_has(tmp_path: Path) -> None:
    with StateLock.acquire(tmp_path / "a", "one"):
        first = lock_identity(tmp_path / "a" / FILE_NAME)
        (tmp_path / "a" / FILE_NAME).unlink()
        with StateLock.acquire(tmp_path / "a", "two"):
            assert lock_identity(tmp_path / "a" / FILE_NAME) != first


def test_a_claim_is_stored_as_documented(log: ClaimableLog, harness: Harness, flow: str) -> None:
    """TOPICS.md, `owners`."""
    stored = claim(log, harness.topic(log), flow, "k:1:2", process=1, processes=2)
    record = read_all(log, TOPIC, start=stored.epoch)[0]
    assert (record.key, record.headers) == (f"{flow}/1".encode(), (("schema", b"owner/1+json"),))
    told = {"host", "lock", "pid", "processes", "at", "version", "workers", "since"}
    assert msgspec.json.decode(record.value).keys() == told
    assert msgspec.json.decode(record.value, type=OwnerRecord).pid == owner("").pid


def test_a_claim_knows_since_when_its_place_runs_as_it_does(log: ClaimableLog, harness: Harness, flow: str) -> None:
    topic, told = harness.topic(log), list[tuple[int, int]]()
    for lock, processes in (("a", 1), ("a", 1), ("a", 1), ("a", 2)):
        stored = claim(log, topic, flow, lock, processes=processes)
        owner = msgspec.json.decode(read_all(log, TOPIC, start=stored.epoch)[0].value, type=OwnerRecord)
        told.append((owner.at, owner.since))
    assert [since for _, since in told] == [0, told[0][0], told[0][0], 0]


def test_a_claim_names_the_version_and_one_of_before_reads(tmp_path: Path) -> None:
    """Who runs what."""
    (tmp_path / "lock").touch()
    assert owner_record(tmp_path / "lock", 1, 1, 5).version == version("carillon")
    before = b'{"host":"h","lock":"k","pid":1,"processes":1,"at":5}'
    assert msgspec.json.decode(before, type=OwnerRecord).version == ""
