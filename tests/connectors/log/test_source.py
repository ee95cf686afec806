"""The log's source and sink in real dataflows: kills, credit, hooks, drains, failed deliveries; both logs."""

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.testing import TestingSource, cluster_main, run_main
from helpers.log_harness import Harness, read_all, run_child, values
from helpers.waiting import wait_for

from connectors.log.interface import Log, NewRecord, Record
from connectors.log.sink import LogSink, keyed, sink_key
from connectors.log.source import LogSource, SourceBatch, SourcePartition
from infra.services import start_kafka
from state.model.errors import LogUnavailableError, OffsetOutOfRangeError, StateDamagedError

PARTITIONS = 4
EPOCH = timedelta(milliseconds=50)


@pytest.fixture(params=["embedded", "kafka"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    if request.param == "embedded":
        return Harness("embedded", str(tmp_path / "log"))
    return Harness("kafka", request.getfixturevalue("kafka_bootstrap"), f"flow-{time.time_ns()}.")


@pytest.fixture
def log(harness: Harness) -> Iterator[Log]:
    opened = harness.open()
    yield opened
    opened.close()


def fill(log: Log, topic: str, start: int, count: int) -> None:
    """Append numbers; number n goes to partition n % PARTITIONS."""
    log.append([NewRecord(topic, n % PARTITIONS, b"", str(n).encode()) for n in range(start, start + count)])


def arrived(log: Log, topic: str) -> dict[int, list[int]]:
    return {part: [int(value) for value in values(read_all(log, topic, part))] for part in range(PARTITIONS)}


def await_all(log: Log, topic: str, count: int) -> None:
    def all_there() -> bool:
        return len({number for numbers in arrived(log, topic).values() for number in numbers}) >= count

    wait_for(all_there, what="everything arrived", every_s=0.1)


def size(log: Log, topic: str) -> int:
    return sum(log.end_offset(topic, part) for part in range(PARTITIONS))


def first_seen(numbers: list[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_and_resume_loses_nothing(log: Log, harness: Harness, tmp_path: Path, workers: int) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    dice = random.Random(seed)
    source, sink = harness.topic(log, PARTITIONS), harness.topic(log, PARTITIONS)
    sent = 0

    def start() -> subprocess.Popen[str]:
        child = run_child("log_flow.py", harness, source, sink, str(tmp_path), "200", str(workers))
        assert child.stdout
        assert child.stdout.readline() == "running\n"
        return child

    for _ in range(6):
        child = start()
        written, lasting = size(log, sink), dice.uniform(0.1, 0.8)
        kill_at = None
        while kill_at is None or time.monotonic() < kill_at:
            fill(log, source, sent, 100)
            sent += 100
            time.sleep(0.01)
            if kill_at is None and size(log, sink) > written:
                kill_at = time.monotonic() + lasting
        assert child.poll() is None, "it must be running when it is killed"
        child.send_signal(signal.SIGKILL)
        child.wait(60)
    child = start()
    await_all(log, sink, sent)
    (tmp_path / "drain").touch()
    assert child.wait(90) == 0
    found = arrived(log, sink)
    for partition, numbers in found.items():
        assert first_seen(numbers) == list(range(partition, sent, PARTITIONS))
    doubled = sum(map(len, found.values())) - sent
    print(f"{sent} records, 6 kills, {doubled} appended twice")
    after_drain = start()  # the drain flag is still up: it ends at once
    assert after_drain.wait(90) == 0
    assert arrived(log, sink) == found


def test_a_drain_commits_the_last_epoch(log: Log, harness: Harness, tmp_path: Path) -> None:
    source, sink = harness.topic(log, PARTITIONS), harness.topic(log, PARTITIONS)
    for start in (0, 100):
        fill(log, source, start, 100)
        child = run_child("log_flow.py", harness, source, sink, str(tmp_path), "1000000", "1")
        await_all(log, sink, start + 100)
        (tmp_path / "drain").touch()
        assert child.wait(90) == 0
        (tmp_path / "drain").unlink()
    assert arrived(log, sink) == {part: list(range(part, 200, PARTITIONS)) for part in range(PARTITIONS)}


class Collected:
    """A flow in this process that collects what its source gives, until as many records have come."""

    def __init__(self, harness: Harness, topics: list[str], **options: object) -> None:
        self.batches: list[list[Record]] = []
        self.epochs_of_batches: list[int] = []
        self.epochs = 0
        self._wanted = 0
        self._give_up = 0.0
        settings = {"start": lambda _topic, _partition: 0, "budget": 1000} | options
        source = LogSource(harness.open, topics, drain=self._full, on_epoch=self._epoch, **settings)  # type: ignore[arg-type]  # mixed options
        self._flow = Dataflow("collect")
        stream = op.input("read", self._flow, source)
        noted = op.map("note", stream, self._note)
        op.output("end", op.map("key", noted, lambda records: ("any", records)), Nowhere())

    def run(self, wanted: int, workers: int = 1, seconds: float = 60) -> list[Record]:
        self._wanted, self._give_up = wanted, time.monotonic() + seconds
        if workers == 1:
            run_main(self._flow, epoch_interval=EPOCH)
        else:
            cluster_main(self._flow, [], 0, epoch_interval=EPOCH, worker_count_per_proc=workers)
        return [record for batch in self.batches for record in batch]

    def _note(self, records: SourceBatch) -> list[Record]:
        assert isinstance(records, list)
        self.batches.append(records)
        self.epochs_of_batches.append(self.epochs)
        return records

    def _full(self) -> bool:
        return sum(map(len, self.batches)) >= self._wanted or time.monotonic() > self._give_up

    def _epoch(self) -> None:
        self.epochs += 1


class Nowhere(FixedPartitionedSink[list[Record], None]):
    """A sink that keeps nothing, but is partitioned: only such a sink holds the epoch."""

    def list_parts(self) -> list[str]:
        return ["one"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "NowhereAtAll":  # noqa: ARG002 - the base class has them
        return NowhereAtAll()


class NowhereAtAll(StatefulSinkPartition[list[Record], None]):
    def write_batch(self, values: list[list[Record]]) -> None:
        pass

    def snapshot(self) -> None:
        return None


def test_partition_n_of_every_topic_comes_through_one_source_partition(log: Log, harness: Harness) -> None:
    narrow, wide = harness.topic(log, 1), harness.topic(log, 3)
    source = LogSource(harness.open, [narrow, wide], start=lambda _topic, _partition: 0, budget=10)
    assert source.list_parts() == ["p000", "p001", "p002"]
    for topic, partitions in ((narrow, 1), (wide, 3)):
        log.append([NewRecord(topic, n % partitions, b"", str(n).encode()) for n in range(30)])
    flow = Collected(harness, [narrow, wide])
    found = flow.run(60)
    assert sorted((r.topic, int(r.value)) for r in found) == sorted((t, n) for t in (narrow, wide) for n in range(30))
    for batch in flow.batches:
        assert len({record.partition for record in batch}) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_than_the_budget_enters_an_epoch(log: Log, harness: Harness, workers: int) -> None:
    topic = harness.topic(log, PARTITIONS)
    fill(log, topic, 0, 2000)
    flow = Collected(harness, [topic], budget=50)
    found = flow.run(2000, workers)
    assert sorted(int(record.value) for record in found) == list(range(2000))
    if workers == 1:
        per_epoch: dict[int, int] = {}
        for batch, epoch in zip(flow.batches, flow.epochs_of_batches, strict=True):
            per_epoch[epoch] = per_epoch.get(epoch, 0) + len(batch)
        assert max(per_epoch.values()) == 50 * PARTITIONS
        assert flow.epochs >= 2000 // (50 * PARTITIONS) - 1


def test_one_partition_of_a_worker_reads_for_all_and_the_others_end(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, PARTITIONS)
    fill(log, topic, 0, 400)
    source = LogSource(harness.open, [topic], start=lambda _topic, partition: 90 + partition, budget=99)
    first = source.build_part("read", "p002", None)
    found = records_of(first, 8)
    assert [(record.partition, record.offset) for record in found] == [(2, offset) for offset in range(92, 100)]
    second = source.build_part("read", "p001", None)
    with pytest.raises(StopIteration):
        second.next_batch()
    second.close()
    fill(log, topic, 400, 4)
    found = records_of(first, 11)
    assert sorted((record.partition, record.offset) for record in found) == [
        *((1, offset) for offset in range(91, 101)), (2, 100),
    ]  # fmt: skip
    first.close()


def records_of(part: SourcePartition, count: int) -> list[Record]:
    found: list[Record] = []
    give_up = time.monotonic() + 60
    while len(found) < count and time.monotonic() < give_up:
        found += [record for item in part.next_batch() if isinstance(item, list) for record in item]
    return found


def test_what_was_fetched_and_not_handed_out_is_read_again_with_another_partition(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, PARTITIONS)
    fill(log, topic, 0, 400)
    source = LogSource(harness.open, [topic], start=lambda _topic, _partition: 0, budget=30)
    first = source.build_part("read", "p000", None)
    source.build_part("read", "p003", None)
    handed: dict[int, list[int]] = {0: [], 1: [], 3: []}
    for _ in range(20):
        for record in records_of(first, 1):
            handed[record.partition].append(record.offset)
        if sum(map(len, handed.values())) == 300:
            break
        first.snapshot()
        if len(handed[0]) == 60:
            source.build_part("read", "p001", None)
    assert {number: sorted(set(offsets)) == offsets for number, offsets in handed.items()} == {
        0: True,
        1: True,
        3: True,
    }
    assert [len(offsets) for offsets in handed.values()] == [100, 100, 100]
    first.close()


def test_an_offset_that_is_gone_ends_the_flow(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, PARTITIONS)
    fill(log, topic, 0, 40)
    flow = Collected(harness, [topic], start=lambda _topic, _partition: 1000)
    with pytest.raises((OffsetOutOfRangeError, RuntimeError)):
        flow.run(40)
    assert flow.batches == []


def test_a_lane_that_cannot_say_where_to_start_says_why(
    log: Log, harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    """With several processes the engine loses the text."""

    def start(_topic: str, _partition: int) -> int:
        raise StateDamagedError("the file is not what was written")

    flow = Collected(harness, [harness.topic(log, PARTITIONS)], start=start)
    with pytest.raises((StateDamagedError, RuntimeError)):
        flow.run(1)
    assert "the file is not what was written" in caplog.text


def test_records_arrive_soon_and_timers_stay_alive(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, PARTITIONS)
    source = LogSource(harness.open, [topic], start=lambda _topic, _partition: 0, budget=10)
    part = source.build_part("read", source.list_parts()[0], None)
    calls = []
    for _ in range(200):
        started = time.monotonic()
        assert part.next_batch() == []
        calls.append(time.monotonic() - started)
        assert part.next_awake().timestamp() - time.time() < 0.05
    calls.sort()
    assert calls[20] < 0.05, "a call waits at most for a short time; a busy machine makes many long"
    assert calls[len(calls) // 2] > 0.002, "it turns in circles"
    part.close()


def test_lanes_are_spread_and_fixed(harness: Harness, log: Log) -> None:
    topics = [harness.topic(log, PARTITIONS), harness.topic(log, 1)]
    sink = LogSink(harness.open, topics)
    lanes = [sink.part_fn(sink_key(topics[0], part)) % PARTITIONS for part in range(PARTITIONS)]
    assert (sink.list_parts(), lanes) == ([f"part{n:03}" for n in range(PARTITIONS)], list(range(PARTITIONS)))
    assert sink.part_fn(sink_key(topics[1], 0)) == LogSink(harness.open, topics).part_fn(sink_key(topics[1], 0))


def test_lists_of_records_keep_their_order(harness: Harness, log: Log) -> None:
    topic = harness.topic(log, PARTITIONS)
    lists = [
        (sink_key(topic, part), [NewRecord(topic, part, b"", str(n).encode()) for n in range(start, start + 7)])
        for start in range(0, 700, 7)
        for part in range(PARTITIONS)
    ]
    flow = Dataflow("write")
    op.output("write", op.input("lists", flow, TestingSource(lists)), LogSink(harness.open, [topic]))
    run_main(flow, epoch_interval=EPOCH)
    for numbers in arrived(log, topic).values():
        assert numbers == list(range(700))
        assert all(a < b for a, b in pairwise(numbers))


def test_a_failed_append_ends_the_flow_of_the_embedded_log(tmp_path: Path) -> None:
    harness = Harness("embedded", str(tmp_path))
    log = harness.open()
    topic = harness.topic(log)
    flow = Dataflow("write")
    records = keyed(NewRecord(topic, 0, b"", str(n).encode()) for n in range(5))
    with harness.held_up(topic, deadline_s=0.5) as stuck:
        op.output("write", op.input("records", flow, TestingSource(records)), LogSink(lambda: stuck, [topic]))
        with pytest.raises((LogUnavailableError, RuntimeError)):
            run_main(flow, epoch_interval=EPOCH)
    assert log.end_offset(topic, 0) == 0
    log.close()


def test_a_frozen_broker_ends_the_flow_and_after_it_thaws_nothing_is_missing(tmp_path: Path) -> None:
    cluster = start_kafka()
    try:
        harness = Harness("kafka", cluster.bootstrap)
        log = harness.open()
        source, sink = harness.topic(log, PARTITIONS), harness.topic(log, PARTITIONS)
        fill(log, source, 0, 4000)
        soon = replace(harness, deadline_s=2.0)
        child = run_child("log_flow.py", soon, source, sink, str(tmp_path), "50", "1")
        await_all(log, sink, 200)
        cluster.brokers[0].freeze()
        assert child.wait(90) != 0, "the flow must not go on as if it had delivered"
        cluster.brokers[0].thaw()
        child = run_child("log_flow.py", harness, source, sink, str(tmp_path), "1000", "1")
        await_all(log, sink, 4000)
        (tmp_path / "drain").touch()
        assert child.wait(90) == 0
        for partition, numbers in arrived(log, sink).items():
            assert first_seen(numbers) == list(range(partition, 4000, PARTITIONS))
        log.close()
    finally:
        cluster.stop()
