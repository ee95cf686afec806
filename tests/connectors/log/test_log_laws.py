"""The laws of a log, for the embedded one and for a real Kafka."""

import json
import signal
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from helpers.log_harness import Harness, numbered, read_all, take, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.log.interface import RECORD_MAX_BYTES, Log, NewRecord, Reader, Record, TopicSpec
from state.model.errors import LogError, LogUnavailableError, OffsetOutOfRangeError, UnknownTopicError

NOW = timedelta()
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="session", params=["embedded", "kafka"])
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    if request.param == "embedded":
        return Harness("embedded", str(tmp_path_factory.mktemp("log")))
    return Harness("kafka", request.getfixturevalue("kafka_bootstrap"), f"laws-{time.time_ns()}.")


@pytest.fixture(scope="session")
def log(harness: Harness) -> Iterator[Log]:
    opened = harness.open()
    yield opened
    opened.close()


def test_offsets_count_from_zero_and_come_back_in_input_order(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, 2)
    records = [NewRecord(topic, number % 2, b"k", str(number).encode()) for number in range(10)]
    assert log.append(records) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert log.append(records[:1]) == [5]
    assert [record.offset for record in read_all(log, topic)] == list(range(6))


def test_append_of_nothing_stores_nothing(log: Log, harness: Harness) -> None:
    topic = harness.topic(log)
    assert log.append([]) == []
    assert log.end_offset(topic, 0) == 0


def test_order_is_kept_per_partition_and_partitions_are_apart(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, 3)
    for start in range(0, 300, 30):
        log.append([NewRecord(topic, number % 3, b"k", str(number).encode()) for number in range(start, start + 30)])
    for partition in range(3):
        expected = [str(number).encode() for number in range(partition, 300, 3)]
        assert values(read_all(log, topic, partition)) == expected


def test_a_record_comes_back_as_it_went_in(log: Log, harness: Harness) -> None:
    topic = harness.topic(log)
    anything = bytes(range(256))
    headers = (("schema", b"event/1"), ("", b""), ("bytes", anything), ("schema", b"again"), ("Ünïcode", b"\xff"))
    before_ms = time.time_ns() // 1_000_000
    log.append([NewRecord(topic, 0, anything, anything * 3, headers), NewRecord(topic, 0, b"", b"plain")])
    first, second = read_all(log, topic)
    assert (first.topic, first.partition, first.offset) == (topic, 0, 0)
    assert (first.key, first.value, first.headers) == (anything, anything * 3, headers)
    assert (second.key, second.value, second.headers) == (b"", b"plain", ())
    assert before_ms - 1000 <= first.timestamp_ms <= time.time_ns() // 1_000_000 + 1000


def test_large_values(log: Log, harness: Harness) -> None:
    topic = harness.topic(log)
    large = [bytes([number]) * (1 << 20) for number in range(5)]
    log.append([NewRecord(topic, 0, b"k", value) for value in [b"small", *large, b"last"]])
    assert values(read_all(log, topic)) == [b"small", *large, b"last"]


def test_a_value_beyond_the_limit_is_refused_and_leaves_nothing(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, 2)
    with pytest.raises(LogError) as refused:
        log.append([NewRecord(topic, 0, b"", b"fine"), NewRecord(topic, 1, b"", bytes(RECORD_MAX_BYTES + 1))])
    assert not isinstance(refused.value, LogUnavailableError)
    assert log.end_offset(topic, 0) == log.end_offset(topic, 1) == 0
    assert log.append([NewRecord(topic, 1, b"", bytes(RECORD_MAX_BYTES))]) == [0]


RECORDS = st.lists(
    st.builds(
        lambda partition, key, value, headers: (partition, key, value, tuple(headers)),
        st.integers(0, 2),
        st.binary(max_size=20),
        st.binary(max_size=200),
        st.lists(
            st.tuples(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
                st.binary(max_size=8),
            ),
            max_size=3,
        ),
    ),
    max_size=40,
)


@pytest.fixture(scope="session")
def generated_topic(log: Log, harness: Harness) -> str:
    return harness.topic(log, 3)


@given(batches=st.lists(RECORDS, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_batches_come_back_in_order(log: Log, generated_topic: str, batches: list[list[tuple]]) -> None:  # type: ignore[type-arg]  # plain tuples of Hypothesis
    topic = generated_topic
    start = {(topic, partition): log.end_offset(topic, partition) for partition in range(3)}
    expected: dict[int, list[tuple]] = {0: [], 1: [], 2: []}  # type: ignore[type-arg]  # same reason
    for batch in batches:
        offsets = log.append([NewRecord(topic, *parts) for parts in batch])
        for (partition, *parts), offset in zip(batch, offsets, strict=True):
            expected[partition].append((offset, *parts))
    for partition in range(3):
        found = read_all(log, topic, partition, start[topic, partition])
        assert [(r.offset, r.key, r.value, r.headers) for r in found] == expected[partition]
        assert [row[0] for row in expected[partition]] == list(
            range(start[topic, partition], start[topic, partition] + len(found))
        )


def test_several_processes_append_at_once_and_nothing_is_lost_or_doubled(log: Log, harness: Harness) -> None:
    topic, batches = harness.topic(log), 150
    children = {name: harness.child("many", topic, name, str(batches)) for name in ("a", "b", "c")}
    answers = {name: child.communicate(timeout=120)[0] for name, child in children.items()}
    records = read_all(log, topic)
    assert [record.offset for record in records] == list(range(len(records)))
    assert len(records) == 3 * batches * 43 // 2
    for name, output in answers.items():
        assert children[name].returncode == 0
        mine = [record for record in records if record.key == name.encode()]
        assert values(mine) == [str(number).encode() for number in range(len(mine))]
        told = [offset for line in output.splitlines() for offset in json.loads(line)]
        assert told == [record.offset for record in mine]


def test_processes_that_come_and_go_disturb_nobody(log: Log, harness: Harness) -> None:
    topic, rounds = harness.topic(log), 60 if harness.kind == "embedded" else 8
    children = [harness.child("churn", topic, name, str(rounds)) for name in ("a", "b", "c", "d")]
    assert [child.wait(120) for child in children] == [0, 0, 0, 0]
    records = read_all(log, topic)
    for name in (b"a", b"b", b"c", b"d"):
        assert values([r for r in records if r.key == name]) == [str(number).encode() for number in range(rounds)]


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3])
def test_what_was_acknowledged_survives_kill_9(log: Log, harness: Harness, after_s: float) -> None:
    topic = harness.topic(log)
    child = harness.child("many", topic, "k", "1000000")
    assert child.stdout
    told = json.loads(child.stdout.readline())
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read()
    assert child.wait(60) == -signal.SIGKILL
    for line in rest.splitlines(keepends=True):
        told += json.loads(line) if line.endswith("\n") else []
    stored = {record.offset: record.value for record in read_all(log, topic)}
    assert [stored.get(offset) for offset in told] == [str(number).encode() for number in range(len(told))]
    (offset,) = log.append([NewRecord(topic, 0, b"", b"after")])
    assert read_all(log, topic)[offset].value == b"after"  # no gap, whatever the dead process had under way


def test_a_reader_goes_on_where_another_one_stopped(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, 2)
    log.append(numbered(topic, 1000) + numbered(topic, 1000, partition=1))
    reader = log.reader({(topic, 0): 0, (topic, 1): 500})
    assert reader.position() == {(topic, 0): 0, (topic, 1): 500}
    first = take(reader, 333)
    position = reader.position()
    reader.close()
    other = log.reader(position)
    second = take(other, 1500 - 333)
    assert other.poll(10, NOW) == []
    for partition, start in ((0, 0), (1, 500)):
        offsets = [record.offset for record in first + second if record.partition == partition]
        assert offsets == list(range(start, 1000))
    other.close()


def test_poll_gives_at_most_what_is_asked(log: Log, harness: Harness) -> None:
    topic = harness.topic(log)
    log.append(numbered(topic, 100))
    reader = log.reader({(topic, 0): 0})
    sizes: list[int] = []
    while sum(sizes) < 100:
        sizes.append(len(reader.poll(7, SECOND)))
    assert max(sizes) <= 7
    reader.close()


def test_seek_goes_back_and_forth(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, 2)
    log.append(numbered(topic, 50) + numbered(topic, 5, partition=1))
    reader = log.reader({(topic, 0): 0, (topic, 1): 5})
    assert len(take(reader, 20)) == 20
    reader.seek(topic, 0, 45)
    assert [record.offset for record in take(reader, 5)] == [45, 46, 47, 48, 49]
    reader.seek(topic, 0, 3)
    assert take(reader, 1)[0].offset == 3
    assert reader.position() == {(topic, 0): 4, (topic, 1): 5}
    reader.close()


def test_a_record_that_is_given_back_is_there_at_once(log: Log, harness: Harness) -> None:
    """Who only wants to know whether there is one, as a flow that rests, must not lose it for a while each time."""
    topic = harness.topic(log, 2)
    log.append(numbered(topic, 2) + numbered(topic, 1, partition=1))
    reader = log.reader({(topic, 0): 0, (topic, 1): 1})
    for _ in range(20):
        [record] = take(reader, 1)
        reader.seek(topic, 0, record.offset)
        assert reader.position() == {(topic, 0): 0, (topic, 1): 1}
        assert reader.poll(1, NOW) == [record]
        reader.seek(topic, 0, record.offset)
    assert [record.offset for record in take(reader, 2)] == [0, 1]
    reader.close()


def test_only_restricts_a_poll_and_loses_nothing(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, 3)
    for partition in range(3):
        log.append(numbered(topic, 20, partition))
    reader = log.reader({(topic, partition): 0 for partition in range(3)})
    chosen: list[Record] = []
    while len(chosen) < 20:
        chosen += reader.poll(100, SECOND, {(topic, 1)})
    assert {record.partition for record in chosen} == {1}
    assert reader.poll(100, NOW, {(topic, 1)}) == []
    assert reader.position()[topic, 0] == 0
    rest = take(reader, 40)
    assert sorted({record.partition for record in rest}) == [0, 2]
    reader.close()


def test_polls_without_waiting_reach_what_is_asked_for_past_what_is_not(log: Log, harness: Harness) -> None:
    """A lane that is full leaves its records where they are; those of others come all the same."""
    topic = harness.topic(log, 2)
    log.append(numbered(topic, 500, 0))
    reader = log.reader({(topic, partition): 0 for partition in range(2)})
    reader.poll(1, SECOND, {(topic, 1)})  # what is not asked for has arrived by now
    log.append(numbered(topic, 20, 1))
    chosen: list[Record] = []
    end = time.monotonic() + 60
    while len(chosen) < 20 and time.monotonic() < end:
        chosen += reader.poll(10, NOW, {(topic, 1)})
    assert [record.offset for record in chosen] == list(range(20))
    reader.close()


def test_a_backlog_does_not_hide_other_partitions(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, 2)
    for _ in range(60):
        log.append([NewRecord(topic, 0, b"", bytes(300))] * 1000)
    log.append(numbered(topic, 1, partition=1))
    reader = log.reader({(topic, 0): 0, (topic, 1): 0})
    seen = 0
    batch: list[Record] = []
    while not any(record.partition for record in batch):
        seen += len(batch)
        batch = reader.poll(1000, SECOND)
    assert seen < 60_000
    reader.close()


def test_begin_end_and_position(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, 2)
    assert (log.begin_offset(topic, 0), log.end_offset(topic, 0)) == (0, 0)
    log.append(numbered(topic, 12))
    assert (log.begin_offset(topic, 0), log.end_offset(topic, 0), log.end_offset(topic, 1)) == (0, 12, 0)
    assert log.end_offsets([(topic, 1), (topic, 0)]) == {(topic, 0): 12, (topic, 1): 0}
    assert log.end_offsets([]) == {}
    reader = log.reader({(topic, 0): 2, (topic, 1): 0})
    take(reader, 4)
    assert reader.position() == {(topic, 0): 6, (topic, 1): 0}
    reader.close()


def test_offset_at_finds_the_first_record_that_is_not_older(log: Log, harness: Harness) -> None:
    topic = harness.topic(log)
    assert log.offset_at(topic, 0, 0) == 0
    for _ in range(5):
        log.append(numbered(topic, 3))
        time.sleep(0.02)
    records = read_all(log, topic)
    for time_ms in sorted({record.timestamp_ms + shift for record in records for shift in (-1, 0, 1)}):
        expected = next((record.offset for record in records if record.timestamp_ms >= time_ms), 15)
        assert log.offset_at(topic, 0, time_ms) == expected


def test_a_blocked_reader_wakes_soon_after_another_process_appends(log: Log, harness: Harness) -> None:
    topic = harness.topic(log)
    reader = log.reader({(topic, 0): 0})
    child = harness.child("bell", topic)
    assert child.stdin
    assert take(reader, 1)[0].value == b"ready"

    def wakes_soon() -> bool:
        delays = []
        for _ in range(15):
            time.sleep(0.05)
            print(file=child.stdin, flush=True)
            (record,) = take(reader, 1)
            delays.append(time.monotonic() - float(record.value))
        return statistics.median(delays) < 0.15 and sorted(delays)[-3] < 1.5  # a machine may stop for a moment

    assert any(wakes_soon() for _ in range(10)), "who looks now and then is late each time, and a busy machine is not"
    child.stdin.close()
    child.wait(60)
    reader.close()


def test_waiting_for_nothing_costs_no_processor_time(log: Log, harness: Harness) -> None:
    topic = harness.topic(log)
    reader = log.reader({(topic, 0): 0})
    reader.poll(1, SECOND)
    started, used = time.monotonic(), time.thread_time()
    assert reader.poll(1, SECOND) == []
    assert 0.9 < time.monotonic() - started < 10
    assert time.thread_time() - used < 0.1
    reader.close()


def poll_long(reader: Reader, found: list[Record]) -> None:
    for _ in range(30):
        found += reader.poll(100, SECOND)


def test_what_retention_removed_is_an_error_until_the_reader_seeks(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, 2)
    log.append(numbered(topic, 5))
    time.sleep(0.05)
    log.append(numbered(topic, 5) + numbered(topic, 3, partition=1))
    harness.expire(log, topic, read_all(log, topic)[5])
    assert (log.begin_offset(topic, 0), log.end_offset(topic, 0)) == (5, 10)
    reader = log.reader({(topic, 0): 2, (topic, 1): 0})
    found: list[Record] = []
    with pytest.raises(OffsetOutOfRangeError):
        poll_long(reader, found)
    assert {record.partition for record in found} <= {1}
    with pytest.raises(OffsetOutOfRangeError):
        reader.poll(100, SECOND)
    reader.seek(topic, 0, log.begin_offset(topic, 0))
    found += take(reader, 8 - len(found))
    assert [record.offset for record in found if record.partition == 0] == [5, 6, 7, 8, 9]
    assert [record.offset for record in found if record.partition == 1] == [0, 1, 2]
    reader.close()


def test_an_offset_beyond_the_end_is_an_error(log: Log, harness: Harness) -> None:
    topic = harness.topic(log)
    log.append(numbered(topic, 5))
    reader = log.reader({(topic, 0): 6})
    found: list[Record] = []
    with pytest.raises(OffsetOutOfRangeError):
        poll_long(reader, found)
    assert found == []
    reader.close()


def of_keys(records: list[Record]) -> list[Record]:
    return [record for record in records if record.key.startswith(b"k")]


def test_compaction_keeps_the_latest_of_each_key_at_its_offset(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, compacted=True)
    latest: dict[bytes, tuple[int, bytes]] = {}
    for number in range(60):
        records = [
            NewRecord(topic, 0, f"k{n % 7}".encode(), f"{number}.{n}".encode()) for n in range(number, number + 9)
        ]
        for record, offset in zip(records, log.append(records), strict=True):
            latest[record.key] = (offset, record.value)
    (gone,) = log.append([NewRecord(topic, 0, b"k3", b"")])
    latest.pop(b"k3")
    give_up = time.monotonic() + 90
    found = read_all(log, topic)
    while len(of_keys(found)) > len(latest) + 1 and time.monotonic() < give_up:
        harness.compact(log, topic)
        found = read_all(log, topic)
    assert {r.key: (r.offset, r.value) for r in of_keys(found) if r.offset != gone} == latest
    assert len(of_keys(found)) <= len(latest) + 1
    assert [r.offset for r in found] == sorted({r.offset for r in found})
    assert log.begin_offset(topic, 0) == 0
    resumed = read_all(log, topic, start=found[3].offset + 1)
    while (again := read_all(log, topic)) != found and time.monotonic() < give_up:  # a broker compacts when it likes
        found, resumed = again, read_all(log, topic, start=again[3].offset + 1)
    assert [r.offset for r in resumed][: len(found) - 4] == [r.offset for r in found[4:]]


def test_topics_are_made_once_and_known_to_others(log: Log, harness: Harness) -> None:
    topic = harness.topic(log, 3)
    log.append(numbered(topic, 2))
    other = harness.open()
    other.ensure_topics([TopicSpec(topic, 3)])
    assert (other.partitions(topic), other.end_offset(topic, 0)) == (3, 2)
    with pytest.raises(LogError):
        other.ensure_topics([TopicSpec(topic, 4)])
    other.close()


def test_unknown_topics_and_partitions_are_errors_and_store_nothing(log: Log, harness: Harness) -> None:
    topic = harness.topic(log)
    with pytest.raises(UnknownTopicError):
        log.partitions("no-such-topic")
    for unknown in (NewRecord("no-such-topic", 0, b"", b"x"), NewRecord(topic, 1, b"", b"x")):
        with pytest.raises(UnknownTopicError):
            log.append([NewRecord(topic, 0, b"", b"x"), unknown])
    with pytest.raises(UnknownTopicError):
        log.reader({(topic, 7): 0})
    assert log.end_offset(topic, 0) == 0


def test_an_append_that_cannot_be_acknowledged_raises_within_the_deadline(log: Log, harness: Harness) -> None:
    topic = harness.topic(log)
    with harness.held_up(topic, deadline_s=1.0) as stuck:
        started = time.monotonic()
        with pytest.raises(LogUnavailableError):
            stuck.append(numbered(topic, 3))
        assert 0.9 < time.monotonic() - started < 10
    assert log.append(numbered(topic, 1)) == [0]
