"""Void by position, on a real Kafka: all readers agree on what an owner appended too late, wherever they begin."""

import contextlib
import os
import random
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta

import msgspec
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME
from helpers.fence_child import FENCED, open_claimed, owner, under
from helpers.log_harness import Harness, read_all, run_child, take, values
from helpers.waiting import wait_for
from prometheus_client import REGISTRY

from connectors.log.interface import OWNERS, Claim, NewRecord, Record, TopicSpec
from connectors.log.kafka.appending import compare_clock
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.markers import Publications, lay_markers
from connectors.log.owners import claim_place
from connectors.log.read_to_ends import ReadProgress, end_of_records
from connectors.log.source import LogSource
from flows.recovery.replay import _records_before
from infra.services import start_kafka

QUICK = timedelta(milliseconds=200)


class DiedError(Exception):
    """A claimant ends in the middle."""


@pytest.fixture(scope="session")
def harness(kafka_bootstrap: str) -> Harness:
    return Harness("kafka", kafka_bootstrap, f"void-{time.time_ns()}.")


@pytest.fixture(scope="session")
def log(harness: Harness) -> Iterator[KafkaLog]:
    opened = open_log(harness)
    opened.ensure_topics([TopicSpec(OWNERS, 1, compacted=True)])
    yield opened
    opened.close()


@pytest.fixture
def flow() -> str:
    return f"f-{uuid.uuid4().hex[:8]}"


def open_log(harness: Harness) -> KafkaLog:
    opened = harness.open()
    assert isinstance(opened, KafkaLog)
    return opened


def test_by_how_much_a_machines_clock_differs_from_the_brokers_is_told(harness: Harness, log: KafkaLog) -> None:
    """Of several hosts theirs is the one to go by: what a gateway accepts that is behind would be too old at once."""
    topic = harness.topic(log)
    for said in ((TIMESTAMP_LOG_APPEND_TIME, 7_200_000), (TIMESTAMP_CREATE_TIME, 9)):
        compare_clock(said, 3_600.0)
        assert REGISTRY.get_sample_value("carillon_clock_off_seconds") == -3_600
    log.append([NewRecord(topic, 0, b"k", b"v")])
    off = REGISTRY.get_sample_value("carillon_clock_off_seconds")
    assert off is not None
    assert abs(off) < 60


class Story:
    """Owners of one flow on one topic; each has a log of its own, as its process would, and none ever stops."""

    def __init__(self, harness: Harness, log: KafkaLog, flow: str, partitions: int = 1) -> None:
        self.harness, self.log, self.flow = harness, log, flow
        self.topic = harness.topic(log, partitions)
        self.logs: list[tuple[Claim, KafkaLog]] = []

    def claim(self, process: int = 0, processes: int = 1, *, dies_after: str = "") -> KafkaLog:
        """A new owner, or one that ends while it claims: its log is there all the same."""
        (epoch,) = self.log.append([NewRecord(OWNERS, 0, b"story", b"{}")])
        claim = Claim(self.flow, process, processes, epoch)

        def reached(step: str) -> None:
            if step == dies_after:
                raise DiedError

        with contextlib.suppress(DiedError):
            lay_markers(self.log, claim, [self.topic], reached=reached)
        opened = under(self.harness, claim)
        assert isinstance(opened, KafkaLog)
        self.logs.append((claim, opened))
        return opened

    def append(self, log: KafkaLog, value: str, partition: int = 0) -> None:
        log.append([NewRecord(self.topic, partition, b"", value.encode(), (("h", b"1"),))])

    def raw(self, partition: int = 0) -> list[Record]:
        return raw(self.log, self.topic, partition)

    def seen(self, start: int = 0, partition: int = 0) -> list[str]:
        """By a process that has just started."""
        with contextlib.closing(open_log(self.harness)) as fresh:
            return [record.value.decode() for record in read_all(fresh, self.topic, partition, start=start)]

    def close(self) -> None:
        for _, each in self.logs:
            each.close()


def raw(log: KafkaLog, topic: str, partition: int = 0) -> list[Record]:
    """As it is stored."""
    place, end, found = (topic, partition), log.end_offset(topic, partition), list[Record]()
    with contextlib.closing(log.raw_reader({place: 0})) as reader:
        while reader.position()[place] < end:
            found += reader.poll(1000, QUICK)
    return found


@pytest.fixture
def story(harness: Harness, log: KafkaLog, flow: str) -> Iterator[Story]:
    told = Story(harness, log, flow)
    yield told
    told.close()


def allowed(stored: Sequence[Record]) -> list[Record]:
    """The rule, as TOPICS.md has it."""
    markers: list[tuple[int, int, int]] = []
    passed = []
    for record in stored:
        *headers, (_, stamp) = record.headers or [("", b"")]
        place, _, epoch = stamp.decode().rpartition(":")
        number, at = int(place.rpartition("/")[2] or -1), int(epoch or 1 << 62)
        if any(at < e and (number == p or (p == 0 and number >= n)) for p, n, e in markers):
            continue
        if headers and headers[0] == ("schema", b"fence/1+json"):
            markers.append((number, msgspec.json.decode(record.value)["processes"], at))
        else:
            passed.append(record)
    return passed


def test_what_comes_late_is_void_for_every_reader(story: Story) -> None:
    first = story.claim()
    story.append(first, "1")
    second = story.claim()
    story.append(first, "late")
    story.append(second, "2")
    story.append(first, "later")
    assert [record.value for record in story.raw() if record.value[:1] != b"{"] == [b"1", b"late", b"2", b"later"]
    assert [story.seen(start) for start in range(7)] == [["1", "2"], ["1", "2"], ["2"], ["2"], ["2"], [], []]
    found = read_all(story.log, story.topic)
    assert [record.headers for record in found] == [(("h", b"1"),)] * 2, "nobody is told whose it is"


def test_a_seek_knows_the_markers_before_it(story: Story) -> None:
    first = story.claim()
    second = story.claim()
    for number in range(3):
        story.append(first, f"late{number}")
        story.append(second, str(number))
    place = (story.topic, 0)
    with contextlib.closing(open_log(story.harness)) as fresh, contextlib.closing(fresh.reader({place: 0})) as reader:
        for offset, expected in ((5, "1"), (4, "1"), (0, "0"), (6, "2")):
            reader.seek(*place, offset)
            assert values(take(reader, 1)) == [expected.encode()]
        reader.seek(*place, 1)
        assert reader.poll(1, 25 * QUICK, only=()) == []
        assert reader.position() == {place: 1}, "who is not asked stays where it is"


def test_places_that_ended_and_came_again(story: Story) -> None:
    """Three processes, then one, then two."""
    three = [story.claim(number, 3) for number in range(3)]
    for number, each in enumerate(three):
        story.append(each, f"three{number}")
    one = story.claim(0, 1)
    for each in three:
        story.append(each, "late")
    story.append(one, "one")
    again = story.claim(1, 2)
    for each in (three[1], three[2]):
        story.append(each, "late")
    story.append(again, "two1")
    two = story.claim(0, 2)
    for each in (one, three[2]):
        story.append(each, "late")
    story.append(again, "still")
    story.append(two, "two0")
    expected = ["three0", "three1", "three2", "one", "two1", "still", "two0"]
    assert story.seen() == expected
    for record in story.raw():
        seen = story.seen(record.offset)
        assert seen == expected[len(expected) - len(seen) :]


@pytest.mark.parametrize("step", ["bounds", "markers"])
def test_a_claimant_that_died_in_the_midst(story: Story, step: str) -> None:
    first = story.claim()
    story.append(first, "1")
    story.append(story.claim(dies_after=step), "between")
    story.append(first, "2")
    before = ["1", "between", "2"] if step == "bounds" else ["1", "between"]
    assert story.seen() == before
    end = story.log.end_offset(story.topic, 0)
    assert story.seen(end - 1) == before[2:], "who begins behind the marker looks for it"
    third = story.claim()
    for log in (*(each for _, each in story.logs[:2]), third):
        story.append(log, "3")
    assert story.seen() == [*before, "3"]
    assert story.seen(end - 1) == [*before[2:], "3"]
    published = [each for each in Publications(open_log(story.harness)).all() if each.claim.flow == story.flow]
    assert all(each.exact for each in published), "the next one has published what was left half done"
    assert [len(each.offsets) for each in published] == [1, int(step == "markers"), 1]


def test_positions_move_past_what_is_void(story: Story) -> None:
    first = story.claim()
    story.append(first, "1")
    story.claim()
    for _ in range(3):
        story.append(first, "late")
    story.claim(1, 2)
    place, end = (story.topic, 0), story.log.end_offset(story.topic, 0)
    with contextlib.closing(story.log.reader({place: 0})) as reader:
        began, found = time.monotonic(), []
        while reader.position()[place] < end:
            found += reader.poll(10, timedelta(seconds=10))
        assert time.monotonic() - began < 10, "it waits for nothing"
        assert values(found) == [b"1"]
        story.claim()
        assert reader.position()[place] == story.log.end_offset(*place) - 1
        assert reader.poll(10, timedelta(seconds=10)) == []
        assert reader.position()[place] == story.log.end_offset(*place)


def test_a_source_reads_to_an_end_that_is_void(story: Story) -> None:
    story.append(story.claim(), "1")
    story.claim()
    asked = time.monotonic() + 1
    source = LogSource(
        story.harness.open, [story.topic], start=lambda _topic, _partition: 0, budget=10,
        drain=lambda: time.monotonic() > asked, drain_within=timedelta(seconds=30),
    )  # fmt: skip
    part, found = source.build_part("read", "p000", None), list[bytes]()
    with contextlib.suppress(StopIteration):
        while True:
            found += [record.value for records in part.next_batch() for record in records if isinstance(record, Record)]
            part.snapshot()
    assert time.monotonic() < asked + 25, "it waited for more"
    assert found == [b"1"]
    part.close()


def test_owners_stand_in_the_last_header_and_in_no_compacted_topic(harness: Harness, log: KafkaLog, flow: str) -> None:
    """TOPICS.md."""
    kept, compacted = harness.topic(log), harness.topic(log, compacted=True)
    laid = KafkaLog(harness.place, prefix=harness.prefix, compacted=[compacted])
    claim = claim_place(laid, flow, 0, 1, owner("a"), [kept, compacted])
    mine = KafkaLog(harness.place, prefix=harness.prefix, claim=claim, compacted=[compacted])
    mine.append([NewRecord(topic, 0, b"k", b"v", (("h", b"1"), ("owner", b"none"))) for topic in (kept, compacted)])
    stamp = ("owner", f"{flow}/0:{claim.epoch}".encode())
    with contextlib.closing(log.raw_reader({(kept, 0): 0})) as reader:
        marker, record = take(reader, 2)
    assert (marker.key, marker.value) == (b"", b'{"processes":1}')
    assert marker.headers == (("schema", b"fence/1+json"), stamp)
    assert record.headers == (("h", b"1"), ("owner", b"none"), stamp)
    assert [r.headers for r in read_all(log, kept)] == [(("h", b"1"), ("owner", b"none"))], (
        "a header of that name stays"
    )
    assert [r.headers for r in read_all(log, compacted)] == [(("h", b"1"), ("owner", b"none"))]
    published = [r for r in read_all(log, OWNERS) if r.key == f"fence/{flow}/0/{claim.epoch}".encode()]
    assert [r.headers for r in published][-1] == (("schema", b"fences/1+json"),)
    assert published[-1].value == b'{"processes":1,"exact":true,"topics":{"' + kept.encode() + b'":[0]}}'
    laid.close()
    mine.close()


def test_publications_of_what_is_gone_are_removed(story: Story) -> None:
    def published() -> list[int]:
        known = Publications(open_log(story.harness)).all()
        return sorted(each.claim.epoch for each in known if each.claim.flow == story.flow)

    first = story.claim()
    for _ in range(2):
        story.claim()
    story.append(first, "late")
    story.append(story.logs[2][1], "3")
    epochs = [claim.epoch for claim, _ in story.logs]
    assert published() == epochs
    story.harness.expire(story.log, story.topic, story.raw()[3])
    assert story.seen(3) == ["3"], "the marker is gone, what it says is not"
    story.claim()
    assert published() == [epochs[2], story.logs[3][0].epoch], "the newest that is gone still holds"
    assert story.seen(3) == ["3"]


def test_without_the_topic_owners_there_are_no_markers(kafka_bootstrap: str) -> None:
    alone = Harness("kafka", kafka_bootstrap, f"alone-{time.time_ns()}.")
    with contextlib.closing(alone.open()) as log:
        topic = alone.topic(log)
        log.append([NewRecord(topic, 0, b"", str(n).encode()) for n in range(3)])

        def is_quick() -> bool:
            began = time.monotonic()
            assert values(read_all(log, topic, start=1)) == [b"1", b"2"]
            return time.monotonic() - began < 0.9

        assert any(is_quick() for _ in range(5)), "it waits for a topic that is not there"


@pytest.mark.parametrize("seed", [0, 2])
def test_any_story_is_read_by_the_rule(harness: Harness, log: KafkaLog, flow: str, seed: int) -> None:
    rng, story = random.Random(seed), Story(harness, log, flow, partitions=2)
    story.claim()
    for number in range(120):
        if rng.random() < 0.12:
            processes = rng.randint(1, 3)
            step = rng.choice(["", "", "", "bounds", "markers"])
            story.claim(rng.randrange(processes), processes, dies_after=step)
        elif rng.random() < 0.1:
            story.append(log, str(number), rng.randrange(2))
        else:
            story.append(rng.choice(story.logs)[1], str(number), rng.randrange(2))
    felt = 0
    for partition in range(2):
        stored = story.raw(partition)
        expected = allowed(stored)
        felt += len(stored) - len(expected) - len(story.logs)
        for number, start in enumerate([0, len(stored), *rng.sample(range(len(stored)), 10)]):
            if number < 4:
                found = story.seen(start, partition)
            else:
                found = [record.value.decode() for record in read_all(log, story.topic, partition, start=start)]
            assert found == [r.value.decode() for r in expected if r.offset >= start], f"from {start} of {partition}"
    assert felt > 0, "nothing came late"
    story.close()


def test_a_fenced_log_stamps_what_it_appends(harness: Harness, log: KafkaLog, flow: str) -> None:
    topic = harness.topic(log)
    claims = [claim_place(log, flow, 0, 1, owner("a"), [topic]) for _ in range(2)]
    late, mine = (open_claimed(harness, log, claim)[0] for claim in claims)
    late.fence._looked_at = float("inf")  # as one whose look was young when it was stopped
    late.append([NewRecord(topic, 0, b"", b"late")])
    mine.append([NewRecord(topic, 0, b"", b"mine")])
    assert values(read_all(log, topic)) == [b"mine"]


def test_an_append_under_way_when_its_owner_was_stopped_counts_once(flow: str) -> None:
    """The broker freezes while a large append goes out, its owner is stopped, the broker thaws: the rest arrives when
    the owner goes on, behind the successor. Until it was met: what was stopped between two appends has no rest.
    """
    assert any(_rest_of_an_append_came_late(flow) for _ in range(10)), "nothing of an append came late"


def _rest_of_an_append_came_late(flow: str) -> bool:
    """Whether it did; counted once in any case."""
    cluster = start_kafka()
    harness = Harness("kafka", cluster.bootstrap, deadline_s=30)
    child = None
    try:
        log = open_log(harness)
        log.ensure_topics([TopicSpec(OWNERS, 1, compacted=True)])
        topic = harness.topic(log)
        child = run_child("fence_child.py", harness, topic, flow, "100", "200000")
        assert child.stdout
        assert any(line == "claimed\n" for line in child.stdout)
        wait_for(lambda: log.end_offset(topic, 0) >= 150)
        cluster.brokers[0].freeze()
        time.sleep(0.5)
        os.kill(child.pid, signal.SIGSTOP)
        cluster.brokers[0].thaw()
        time.sleep(0.5)  # what the broker had received is stored now
        claim = claim_place(log, flow, 0, 1, owner("mine"), [topic])
        left = len(read_all(log, topic))
        with contextlib.closing(under(harness, claim)) as mine:
            mine.append([NewRecord(topic, 0, b"", str(number).encode()) for number in range(left, 1000)])
        os.kill(child.pid, signal.SIGCONT)
        assert child.wait(90) == FENCED
        late = [r for r in raw(log, topic)[left + 2 :] if r.headers[-1][1] != f"{flow}/0:{claim.epoch}".encode()]
        assert {record.value for record in late} <= {b"%d" % number for number in range(left, 1000)}
        for start in (0, left, *(record.offset for record in late[:1] + late[-1:])):
            found = values(read_all(log, topic, start=start))
            assert found == [b"%d" % number for number in range(1000 - len(found), 1000)]
            assert bool(found) is (start <= left)
        log.close()
        return bool(late)
    finally:
        if child is not None and child.poll() is None:
            child.kill()
        cluster.stop()


def test_records_are_counted_where_offsets_have_none(kafka_bootstrap: str, flow: str) -> None:
    """How far back `carillon rebuild` goes from the newest output."""
    alone = Harness("kafka", kafka_bootstrap, f"counted-{time.time_ns()}.")
    with contextlib.closing(open_log(alone)) as log:
        log.ensure_topics([TopicSpec(OWNERS, 1, compacted=True), TopicSpec("work", 1)])
        claims = [Claim(flow, 0, 1, epoch) for epoch in range(2)]
        first, second = (under(alone, claim) for claim in claims)
        first.append([NewRecord("work", 0, b"", str(n).encode()) for n in range(5)])
        log.fence(claims[1], ["work"])
        first.append([NewRecord("work", 0, b"", b"late") for _ in range(7)])
        second.append([NewRecord("work", 0, b"", str(n).encode()) for n in range(5, 10)])
        for each in (first, second):
            each.close()
        assert log.end_offset("work", 0) == 18
        found = [_records_before(log, 0, 18, count) for count in (0, 1, 5, 6, 10, 11, 40)]
        assert found == [18, 17, 13, 4, 0, 0, 0]


def test_who_counts_what_it_was_given_knows_that_there_is_no_more(story: Story) -> None:
    """Lanes see records, not positions."""
    first, place, now_ms = story.claim(), (story.topic, 0), iter(range(0, 10_000, 1_000))
    story.append(first, "1")
    story.claim()
    first.append([NewRecord(*place, b"", b"late")] * 100)
    ends = {place: story.log.end_offset(*place)}
    assert end_of_records(story.log, place, 0) == 2
    assert end_of_records(story.log, place, 50) == 50
    reached = ReadProgress(story.log, lambda: next(now_ms), {place: 0})
    assert not reached.has(ends)
    reached[place] = 2
    assert not reached.has(ends), "something arrived just now"
    assert reached.has(ends)
    assert reached == ends
