"""One owner per place, on the embedded log and on a real Kafka: who was taken over appends nothing more."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from helpers.fence_child import FENCED, OPENED, claim, open_claimed, owner
from helpers.log_harness import Harness, read_all, run_child

from connectors.fencing import LEASE, TOPIC, FencedLog, Owner, is_dead, lock_identity
from connectors.log.interface import Log, NewRecord, TopicSpec
from state.lock import FILE_NAME, StateLock
from state.model.errors import LogUnavailableError, StateFencedError


@pytest.fixture(scope="session", params=["embedded", "kafka"])
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    if request.param == "embedded":
        return Harness("embedded", str(tmp_path_factory.mktemp("fenced")))
    return Harness("kafka", request.getfixturevalue("kafka_bootstrap"), f"fenced-{time.time_ns()}.")


@pytest.fixture(scope="session")
def log(harness: Harness) -> Iterator[Log]:
    opened = harness.open()
    opened.ensure_topics([TopicSpec(TOPIC, 1, compacted=True)])
    yield opened
    opened.close()
    for fenced in OPENED:
        fenced.close()
    OPENED.clear()


@pytest.fixture
def flow() -> str:
    return f"f-{uuid.uuid4().hex[:8]}"


def append(log: FencedLog, topic: str, value: bytes) -> None:
    log.append([NewRecord(topic, 0, b"", value)])


def grow_old() -> None:
    time.sleep(LEASE.total_seconds() + 0.1)


def test_a_later_claim_ends_an_earlier_one(log: Log, harness: Harness, flow: str) -> None:
    topic = harness.topic(log)
    first, lost = open_claimed(harness, log, claim(harness, log, topic, flow, "a"))
    append(first, topic, b"1")
    second, _ = open_claimed(harness, log, claim(harness, log, topic, flow, "b"))
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


def test_places_are_apart_and_fewer_processes_end_those_beyond(log: Log, harness: Harness, flow: str) -> None:
    topic = harness.topic(log)
    claims = [claim(harness, log, topic, flow, "a", process=number, processes=3) for number in range(3)]
    logs = [open_claimed(harness, log, each)[0] for each in claims]
    other, _ = open_claimed(harness, log, claim(harness, log, topic, f"{flow}-other", "a"))
    for number, each in enumerate(logs):
        append(each, topic, str(number).encode())
    again = claim(harness, log, topic, flow, "a", process=0, processes=2)
    grow_old()
    append(logs[1], topic, b"still")
    append(other, topic, b"apart")
    for ended in (logs[0], logs[2]):
        with pytest.raises(StateFencedError):
            append(ended, topic, b"never")
    append(open_claimed(harness, log, again)[0], topic, b"new")
    assert [record.value for record in read_all(log, topic)] == [b"0", b"1", b"2", b"still", b"apart", b"new"]


def test_only_an_owner_that_may_live_is_waited_for(log: Log, harness: Harness, flow: str) -> None:
    topic, patience = harness.topic(log), timedelta(seconds=0.5)

    def seconds(lock: str, process: int = 0, processes: int = 1) -> float:
        began = time.monotonic()
        claim(harness, log, topic, flow, lock, process=process, processes=processes, patience=patience)
        return time.monotonic() - began

    waits = harness.kind == "kafka"
    long = (LEASE + patience).total_seconds()
    assert seconds("a") < 1.2
    assert seconds("a") < 1.2, "we hold the lock, so its owner is dead"
    assert (seconds("b") >= long) is waits, "another lock: it may live"
    assert seconds("c", 1, 2) < 1.2
    assert (seconds("b", 0, 1) >= long) is waits, "process 1 of the two before may live"
    assert seconds("b", 0, 1) < 1.2, "it was waited for"


def stop_between_appends(harness: Harness, topic: str, pid: int, under_way: Path) -> None:
    """One that is stopped inside an append holds the embedded log's write lock: then everybody waits for it. On Kafka
    its append may be in its client's hands, which is what a lease leaves (`connectors.fencing`).
    """
    while True:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.02)
        if harness.kind == "kafka":
            if under_way.read_bytes() == b"0":
                return
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)
            continue
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


def test_a_stopped_owner_that_wakes_up_appends_nothing(log: Log, harness: Harness, flow: str, tmp_path: Path) -> None:
    topic, under_way = harness.topic(log), tmp_path / "under-way"
    under_way.write_bytes(b"0")
    child = run_child("fence_child.py", harness, topic, flow, str(under_way))
    try:
        assert child.stdout
        assert any(line == "claimed\n" for line in child.stdout)
        give_up = time.monotonic() + 20
        while log.end_offset(topic, 0) < 50:
            assert time.monotonic() < give_up, "the child does not append"
            time.sleep(0.02)
        stop_between_appends(harness, topic, child.pid, under_way)
        mine, _ = open_claimed(harness, log, claim(harness, log, topic, flow, "mine"))
        append(mine, topic, b"mine")
        end = log.end_offset(topic, 0)
        os.kill(child.pid, signal.SIGCONT)
        assert child.wait(20) == FENCED
        assert f"{flow}/0" in child.stdout.read()
    finally:
        if child.poll() is None:
            child.kill()
        child.wait(10)
    assert log.end_offset(topic, 0) == end
    append(mine, topic, b"after")


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


def test_a_claim_is_stored_as_documented(log: Log, harness: Harness, flow: str) -> None:
    """TOPICS.md, `owners`."""
    stored = claim(harness, log, harness.topic(log), flow, "k:1:2", process=1, processes=2)
    record = read_all(log, TOPIC, start=stored.epoch)[0]
    assert (record.key, record.headers) == (f"{flow}/1".encode(), (("schema", b"owner/1+json"),))
    assert msgspec.json.decode(record.value).keys() == {"host", "lock", "pid", "processes", "at"}
    assert msgspec.json.decode(record.value, type=Owner).pid == owner("").pid
