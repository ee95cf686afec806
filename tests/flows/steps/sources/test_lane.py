"""Between two portions of what was read, a lane's source asks whether there is room."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from bytewax.inputs import StatefulSourcePartition
from helpers.feeding import PARTITIONS, System, now_ms, token
from helpers.lanes_in_process import TOPICS

from connectors.log.bytewax import LogSource, Offsets
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import Record
from flows.steps.sources.lane import Item, LaneSource

Partition = StatefulSourcePartition[Item, Offsets]
USERS = ["u3", "u0"]
"""One of each partition."""


class Asked:
    """What the flow tells the source."""

    room = True
    full: int | None = None
    """A partition without room."""
    drain = False


@pytest.fixture
def asked() -> Asked:
    return Asked()


def source_of(system: System, asked: Asked, partition: int) -> Partition:
    return source_of_all(system, asked, [partition])[0]


def source_of_all(system: System, asked: Asked, partitions: Sequence[int]) -> list[Partition]:
    """Partitions of one worker, which read through one reader."""
    source = LogSource(
        lambda: EmbeddedLog(system.directory, clock=now_ms),
        TOPICS,
        start=lambda _topic, _partition: 0,
        budget=2_000,
        resume="own",
        drain=lambda: asked.drain,
    )
    lanes = LaneSource(
        source,
        tick=timedelta(hours=1),
        ticking=PARTITIONS,
        drain=lambda: asked.drain,
        has_room=lambda partition: asked.room and partition != asked.full,
    )
    return [lanes.build_part("emissions", f"p{partition:03}", None) for partition in partitions]


def records_of(part: Partition) -> list[Record]:
    return [record for item in part.next_batch() if isinstance(item, list) for record in item]


def test_a_lane_that_is_full_after_one_portion_gets_no_more_of_what_was_read(system: System, asked: Asked) -> None:
    text = {"text": "a" * 300_000}
    given = [system.emission("u1", "push", [("d1", token(n))], payload=text) for n in range(10)]
    huge = system.emission("u1", "push", [("d1", token("huge"))], payload={"text": "a" * 1_500_000})
    small = [system.emission("u1", "push", [("d1", token(n))]) for n in range(50)]
    system.feed([*given, huge, *small])
    part = source_of(system, asked, huge.partition)
    portions = [records_of(part)]
    asked.room = False
    assert records_of(part) == []
    asked.room = True
    while len(portions) < 20 and (records := records_of(part)):
        assert (part.next_awake() or datetime.now(UTC)) <= datetime.now(UTC) + timedelta(milliseconds=5)
        portions.append(records)
    assert [len(portion) for portion in portions] == [3, 3, 3, 1, 1, 50]
    assert [record.offset for portion in portions for record in portion] == list(range(61)), "lost, or out of order"
    part.close()


def test_a_drain_ends_a_lane_at_once_also_where_something_was_read(system: System, asked: Asked) -> None:
    text = {"text": "a" * 600_000}
    given = [system.emission("u1", "push", [("d1", token(n))], payload=text) for n in range(4)]
    system.feed(given)
    part = source_of(system, asked, given[0].partition)
    assert len(records_of(part)) == 1
    asked.room, asked.drain = False, True
    with pytest.raises(StopIteration):
        part.next_batch()
    part.close()


def test_a_lane_that_rests_keeps_no_other_lane_of_its_worker_from_reading(system: System, asked: Asked) -> None:
    """Within the epoch: a source that is not asked to snapshot has not ended it."""
    first, other = source_of_all(system, asked, [0, 1])
    for part in (first, other):
        assert records_of(part) == []
    asked.full = 0
    for number in range(4):
        system.feed([system.emission(user, "push", [("d", token(number))]) for user in USERS])
        assert records_of(first) == []
        assert [record.partition for record in records_of(other)] == [1], "a lane waits for one that is full"
    asked.full = None
    assert len(records_of(first)) == 4, "what came while the lane rested is lost"
    for part in (first, other):
        part.close()


def test_what_a_lane_has_left_to_hand_out_keeps_no_other_lane_from_reading(system: System, asked: Asked) -> None:
    first, other = source_of_all(system, asked, [0, 1])
    text = {"text": "a" * 600_000}
    system.feed([system.emission(USERS[0], "push", [("d", token(n))], payload=text) for n in range(6)])
    assert len(records_of(first)) == 1
    assert records_of(other) == []
    waited: list[float] = []
    for number in range(4):
        system.feed([system.emission(USERS[1], "push", [("d", token(number))])])
        assert len(records_of(first)) == 1
        assert [record.partition for record in records_of(other)] == [1], "a lane waits for the portions of another"
        began = time.monotonic()
        assert records_of(other) == []
        waited.append(time.monotonic() - began)
    assert min(waited) < 0.005, "it waits for records while another lane has some to hand out"
    for part in (first, other):
        part.close()


def test_a_worker_whose_lane_rests_sleeps_until_something_comes(system: System, asked: Asked) -> None:
    first, other = source_of_all(system, asked, [0, 1])
    for part in (first, other):
        assert records_of(part) == []
    asked.full = 0
    began = time.monotonic()
    rounds = 0
    while time.monotonic() - began < 0.2:
        rounds += 1
        for part in (first, other):
            assert records_of(part) == []
    assert rounds < 40, "it turns in circles while a provider is away"
    for part in (first, other):
        part.close()
