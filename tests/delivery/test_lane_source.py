"""Between two portions of what was read, a lane's source asks whether there is room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bytewax.inputs import StatefulSourcePartition
from delivery.feeding import PARTITIONS, System, now_ms, token
from delivery.in_process import TOPICS

from connectors.log.bytewax import LogSource, Offsets
from connectors.log.embedded import EmbeddedLog
from connectors.log.interface import Record
from flows.steps.lane_source import Item, LaneSource

Partition = StatefulSourcePartition[Item, Offsets]


class Asked:
    """What the flow tells the source."""

    room = True
    drain = False


@pytest.fixture
def asked() -> Asked:
    return Asked()


def source_of(system: System, asked: Asked, partition: int) -> Partition:
    source = LogSource(
        lambda: EmbeddedLog(system.directory, clock=now_ms),
        TOPICS,
        start=lambda _topic, _partition: 0,
        budget=2_000,
        resume="own",
        drain=lambda: asked.drain,
    )
    lanes = LaneSource(
        source, tick=timedelta(hours=1), ticking=PARTITIONS, drain=lambda: asked.drain, has_room=lambda _: asked.room
    )
    return lanes.build_part("emissions", f"p{partition:03}", None)


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
