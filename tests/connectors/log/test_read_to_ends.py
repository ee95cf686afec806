"""Reading to known ends, on both logs: what is given, where it stops, and that it does not wait for ever."""

import time
from collections.abc import Container, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from typing import cast

import pytest
from helpers.log_harness import Harness

from connectors.log.interface import Log, NewRecord, Reader, Record
from connectors.log.read_to_ends import ReadProgress, end_of_records, read_to_ends, stored_batches, stored_records
from state.model.errors import LogUnavailableError


@pytest.fixture(scope="module", params=["embedded", "kafka"])
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    if request.param == "embedded":
        return Harness("embedded", str(tmp_path_factory.mktemp("log")))
    return Harness("kafka", request.getfixturevalue("kafka_bootstrap"), f"ends-{time.time_ns()}.")


@pytest.fixture(scope="module")
def log(harness: Harness) -> Iterator[Log]:
    with closing(harness.open()) as opened:
        yield opened


def filled(harness: Harness, log: Log, *counts: int) -> str:
    topic = harness.topic(log, len(counts))
    log.append([NewRecord(topic, p, b"", b"%d" % n) for p, count in enumerate(counts) for n in range(count)])
    return topic


def test_everything_between_the_offsets_comes_in_order_and_nothing_else(log: Log, harness: Harness) -> None:
    topic = filled(harness, log, 10, 4, 3)
    start, ends = {(topic, 0): 2, (topic, 1): 0, (topic, 2): 3}, {(topic, 0): 7, (topic, 1): 4, (topic, 2): 3}
    found = [(record.partition, record.offset) for record in stored_records(log, start, ends)]
    assert sorted(found) == [(0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert [offset for partition, offset in found if partition == 0] == [2, 3, 4, 5, 6]


def test_without_ends_it_is_what_was_there_at_the_first_question(log: Log, harness: Harness) -> None:
    topic = filled(harness, log, 3)
    batches = stored_batches(log, {(topic, 0): 0}, most=1)
    first = next(batches)
    log.append([NewRecord(topic, 0, b"", b"late")])
    assert [record.value for records in (first, *batches) for record in records] == [b"0", b"1", b"2"]
    assert list(stored_records(log, {(topic, 0): 4})) == []


def test_the_end_of_records_is_behind_the_newest_one(log: Log, harness: Harness) -> None:
    topic = filled(harness, log, 200)
    assert end_of_records(log, (topic, 0), 0) == 200
    assert end_of_records(log, (topic, 0), 300) == 300


def test_what_never_comes_is_named_in_time_though_other_places_move_on(log: Log, harness: Harness) -> None:
    """As a partition that has lost its leader, while others are written all the time."""
    topic = filled(harness, log, 1, 1)
    ends = {(topic, 0): 2, (topic, 1): 1}

    def read(reader: Reader) -> None:
        for _ in read_to_ends(reader, ends, deadline=timedelta(milliseconds=300)):
            log.append([NewRecord(topic, 1, b"", b"more")])

    began = time.monotonic()
    silent = pytest.raises(LogUnavailableError, match=f"^{topic}/0: nothing read")
    with closing(log.reader(dict.fromkeys(ends, 0))) as opened, silent:
        read(opened)
    assert 0.3 <= time.monotonic() - began < 10


class Counted:
    """A log, and a reader of it, which knows how many records it gave."""

    def __init__(self, log: Log) -> None:
        self._log, self.given = log, 0

    def reader(self, start: Mapping[tuple[str, int], int]) -> Reader:
        self._reader = self._log.reader(start)
        return self

    def poll(self, most: int, wait: timedelta, only: Container[tuple[str, int]] | None = None) -> list[Record]:
        records = self._reader.poll(most, wait, only)
        self.given += len(records)
        return records

    def position(self) -> dict[tuple[str, int], int]:
        return self._reader.position()

    def seek(self, topic: str, partition: int, offset: int) -> None:
        self._reader.seek(topic, partition, offset)

    def close(self) -> None:
        self._reader.close()


def test_who_has_no_room_asks_for_one_record_of_its_backlog(log: Log, harness: Harness) -> None:
    """A lane asks four times a second whether there is more."""
    topic, counted, now_ms = filled(harness, log, 500, 500), Counted(log), iter(range(1_000, 10_000, 1_000))
    reached = ReadProgress(cast(Log, counted), lambda: next(now_ms), {(topic, 0): 3, (topic, 1): 3})
    assert not reached.has({(topic, 0): 500, (topic, 1): 500})
    assert counted.given == 1
    assert reached.has({(topic, 0): 3, (topic, 1): 2})
