"""Between two portions of what was read, a lane's source asks whether there is room."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from helpers.feeding import System, now_ms, token
from helpers.lanes_in_process import TOPICS

from connectors.log.backlog import Backlog
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import Record
from connectors.log.source import LogSource, SourcePartition, Tick

USERS = ["u3", "u0"]
"""One of each partition."""


class Asked:
    """What the flow tells the source."""

    room = True
    full: int | None = None
    """A partition without room."""
    topics: Sequence[str] = ()
    """Of partition 0, those without room."""
    drain = False
    looks = 0
    """How often it asked for room."""

    def has_room(self, partition: int) -> bool:
        self.looks += 1
        return self.room and partition != self.full


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@pytest.fixture
def asked() -> Asked:
    return Asked()


def source_of(
    system: System,
    asked: Asked,
    partitions: Sequence[int] = (0, 1),
    backlog: Backlog | None = None,
    drain_within: timedelta = timedelta(),
) -> SourcePartition:
    """What a worker with these partitions is asked."""
    source = LogSource(
        lambda: EmbeddedLog(system.directory, clock=now_ms),
        TOPICS["deliver"],
        start=lambda _topic, _partition: 0,
        budget=2_000,
        drain=lambda: asked.drain,
        drain_within=drain_within,
        tick=timedelta(hours=1),
        has_room=asked.has_room,
        full=lambda partition: asked.topics if partition == 0 else (),
        backlog=backlog,
    )
    first, *_ = [source.build_part("emissions", f"p{partition:03}", None) for partition in partitions]
    return first


def records_of(part: SourcePartition) -> list[Record]:
    return [record for item in part.next_batch() if isinstance(item, list) for record in item]


def test_a_lane_that_is_full_after_one_portion_gets_no_more_of_what_was_read(system: System, asked: Asked) -> None:
    text = {"text": "a" * 300_000}
    given = [system.emission("u1", "push", [("d1", token(n))], payload=text) for n in range(10)]
    huge = system.emission("u1", "push", [("d1", token("huge"))], payload={"text": "a" * 1_500_000})
    small = [system.emission("u1", "push", [("d1", token(n))]) for n in range(50)]
    system.feed([*given, huge, *small])
    part = source_of(system, asked, [huge.partition])
    portions = [records_of(part)]
    asked.room = False
    assert records_of(part) == []
    asked.room = True
    while len(portions) < 20 and (records := records_of(part)):
        assert part.next_awake() <= datetime.now(UTC) + timedelta(milliseconds=5)
        portions.append(records)
    assert [len(portion) for portion in portions] == [3, 3, 3, 1, 1, 50]
    assert [record.offset for portion in portions for record in portion] == list(range(61)), "lost, or out of order"
    part.close()


def test_a_drain_ends_a_lane_at_once_also_where_something_was_read(system: System, asked: Asked) -> None:
    text = {"text": "a" * 600_000}
    given = [system.emission("u1", "push", [("d1", token(n))], payload=text) for n in range(4)]
    system.feed(given)
    part = source_of(system, asked, [given[0].partition])
    assert len(records_of(part)) == 1
    asked.room, asked.drain = False, True
    with pytest.raises(StopIteration):
        part.next_batch()
    part.close()


def test_a_drain_asks_too_since_what_waits_takes_turns_with_that(system: System, asked: Asked) -> None:
    given = system.emission("u1", "push", [("d1", token(1))])
    system.feed([given])
    part = source_of(system, asked, [given.partition], drain_within=timedelta(minutes=1))
    asked.drain, asked.room = True, False
    assert [len(records_of(part)), asked.looks] == [1, 1]
    part.close()


def numbers_of(part: SourcePartition) -> list[int]:
    return [record.partition for record in records_of(part)]


def test_a_lane_that_rests_keeps_no_other_lane_of_its_worker_from_reading(system: System, asked: Asked) -> None:
    """Within the epoch: a source that is not asked to snapshot has not ended it."""
    part = source_of(system, asked)
    assert records_of(part) == []
    asked.full = 0
    for number in range(4):
        system.feed([system.emission(user, "push", [("d", token(number))]) for user in USERS])
        assert numbers_of(part) == [1], "a lane waits for one that is full"
    asked.full = None
    assert numbers_of(part) == [0] * 4, "what came while the lane rested is lost"
    part.close()


def test_a_topic_without_room_keeps_no_other_topic_from_being_read(system: System, asked: Asked) -> None:
    part = source_of(system, asked)
    assert records_of(part) == []
    asked.topics = ["deliver.email"]
    for number in range(3):
        for user in USERS:
            system.feed([system.emission(user, channel, [("d", token(number))]) for channel in ("push", "email")])
        read = [records_of(part), records_of(part)]
        topics = sorted((each.partition, each.topic) for records in read for each in records)
        assert topics == [(0, "deliver.push"), (1, "deliver.email"), (1, "deliver.push")]
    asked.topics = ()
    assert [(each.partition, each.topic) for each in records_of(part)] == [(0, "deliver.email")] * 3
    part.close()


def test_a_drain_that_reads_to_the_end_reads_topics_without_room_too(system: System, asked: Asked) -> None:
    asked.topics = ["deliver.email"]
    part = source_of(system, asked, drain_within=timedelta(seconds=60))
    system.feed([system.emission("u3", "email", [("d", token("a"))]), system.emission("u0", "email", [("d", "b")])])
    assert [each.partition for each in records_of(part)] == [1]
    asked.drain = True
    assert [(each.partition, each.topic) for each in records_of(part)] == [(0, "deliver.email")]
    with pytest.raises(StopIteration):
        part.next_batch()
    part.close()


def test_what_a_lane_has_left_to_hand_out_keeps_no_other_lane_from_reading(system: System, asked: Asked) -> None:
    part = source_of(system, asked)
    text = {"text": "a" * 600_000}
    system.feed([system.emission(USERS[0], "push", [("d", token(n))], payload=text) for n in range(24)])
    assert numbers_of(part) == [0]
    waited: list[float] = []
    for number in range(20):
        system.feed([system.emission(USERS[1], "push", [("d", token(number))])])
        began = time.monotonic()
        assert numbers_of(part) == [0, 1], "a lane waits for the portions of another"
        waited.append(time.monotonic() - began)
    assert min(waited) < 0.005, "it waits for records while a lane has some to hand out"
    part.close()


@pytest.mark.parametrize("full", [0, None])
def test_a_worker_without_anything_to_read_sleeps_until_something_comes(
    system: System, asked: Asked, full: int | None
) -> None:
    part = source_of(system, asked)
    assert records_of(part) == []
    asked.full = full
    began = time.monotonic()
    rounds = 0
    while time.monotonic() - began < 0.2:
        rounds += 1
        assert records_of(part) == []
    assert rounds < 40, "it turns in circles while a provider is away"
    part.close()


def test_ticks_come_at_the_start_and_after_each_interval_for_those_that_tick(system: System) -> None:
    source = LogSource(
        lambda: EmbeddedLog(system.directory, clock=now_ms), TOPICS["deliver"], start=lambda _topic, _partition: 0,
        budget=10, tick=timedelta(milliseconds=50), ticks=lambda number: number == 1, wait=lambda: timedelta(seconds=5),
    )  # fmt: skip
    part, _ = [source.build_part("emissions", f"p{number:03}", None) for number in range(2)]
    began, ticked = time.monotonic(), [*part.next_batch()]
    assert ticked == [Tick(1)], "at the first question"
    while len(ticked) < 4:
        ticked += part.next_batch()
    assert ticked == [Tick(1)] * 4
    assert 0.15 <= time.monotonic() - began < 5, "it slept past a tick"
    part.close()


def test_a_partition_is_behind_until_the_epoch_of_what_was_handed_out_is_complete(system: System, asked: Asked) -> None:
    given = [system.emission("u1", "push", [("d1", token(n))], payload={"text": "a" * 600_000}) for n in range(2)]
    backlog, before = Backlog(), now_ms()
    system.feed(given)
    part = source_of(system, asked, [given[0].partition], backlog)
    for expected in (1, 1, 0):
        assert len(records_of(part)) == expected
        assert backlog.lags_ms(before + 60_000)[0] > 50_000
    part.snapshot()
    assert backlog.lags_ms(before + 60_000)[0] > 50_000, "the flow has not finished it yet"
    assert records_of(part) == []
    assert backlog.lags_ms(before + 60_000) == [0]
    part.close()
