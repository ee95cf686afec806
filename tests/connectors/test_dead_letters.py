"""Dead letters and the records that they are about, on both logs and where only the archive has them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.log_harness import Harness

from connectors.archive.forms import RAW, raw_table
from connectors.archive.parquet import ArchiveWriter
from connectors.dead_letters import TOPIC, DeadLetters
from connectors.log.interface import Log, NewRecord, Reader, Record, TopicSpec
from flows.steps.dead_letters import dead_action, dead_letter
from state.model.dead_letter import DeadAction
from state.model.envelope import TopicPartition


@pytest.fixture(params=["embedded", "kafka"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    if request.param == "embedded":
        return Harness("embedded", str(tmp_path / "log"))
    return Harness("kafka", request.getfixturevalue("kafka_bootstrap"), f"letters-{time.time_ns()}.")


@pytest.fixture
def log(harness: Harness) -> Iterator[Log]:
    opened = harness.open()
    opened.ensure_topics([TopicSpec(name, 2, retention_ms=3_600_000) for name in (TOPIC, "work")])
    opened.ensure_topics([TopicSpec("preferences", 2, compacted=True)])
    yield opened
    opened.close()


def _record(log: Log, topic: str, key: bytes, value: bytes = b"{}") -> Record:
    """Appended, and as it is read."""
    headers = (("schema", b"work/1+json"), ("trace", b"\x00\xff"))
    (offset,) = log.append([NewRecord(topic, 1, key, value, headers)])
    return Record(topic, 1, offset, 0, key, value, headers)


def _letter(record: Record, at: int, stage: str = "decide", group: int | None = 7) -> NewRecord:
    return dead_letter(record, ValueError(), stage=stage, at=at, partitions=2, group=group)


def test_each_letter_comes_once_by_time_with_what_was_done(log: Log) -> None:
    first, second = _record(log, "work", b"7"), _record(log, "work", b"7")
    written = _letter(second, 20)
    log.append([written, written, _letter(first, 10), NewRecord(TOPIC, 0, b"", b"junk")])
    name = f"decide/work/1/{second.offset}/7"
    log.append([dead_action(DeadAction(name, "retried", 30), 1), dead_action(DeadAction(name, "discarded", 40), 1)])
    letters = DeadLetters(log, None)
    found = [*letters.each(lambda _: True)]
    assert [each.letter.at for each in found] == [10, 20]
    assert [each.status for each in found] == ["open", "discarded"]
    assert found[1].retries == 1
    assert letters.unreadable == 1
    assert [each.letter.at for each in letters.each(lambda letter: letter.at > 15)] == [20]


def test_by_its_id_a_letter_is_found_where_its_record_is_with_all_that_was_decided(log: Log) -> None:
    first, second = _record(log, "work", b"7"), _record(log, "work", b"7")
    elsewhere = _letter(second, 5, "deliver")._replace(partition=0)
    log.append([_letter(first, 10), elsewhere, _letter(first, 10)])
    name, other = f"decide/work/1/{first.offset}/7", f"deliver/work/1/{second.offset}/7"
    log.append([dead_action(DeadAction(name, "retried", 30), 1), _letter(first, 10)])
    letters = DeadLetters(log, None)
    found = letters.named([name, other, "decide/work/1/99/7", "no name"])
    assert {each: (filed.partition, filed.offset, filed.status) for each, filed in found.items()} == {
        name: (1, 0, "retried"), other: (0, 0, "open"),
    }  # fmt: skip
    many = [f"decide/work/1/{number}/7" for number in range(100)]
    assert [*letters.named(many)] == [name]


def test_a_record_is_found_where_it_is_and_later_ones_of_its_key_too(log: Log) -> None:
    letters = DeadLetters(log, None)
    one, _other, again = (_record(log, "preferences", key) for key in (b"u1", b"u2", b"u1"))
    found = letters.record((one.topic, one.partition, one.offset))
    assert found is not None
    assert (found.key, found.value, found.headers) == (one.key, one.value, one.headers)
    assert letters.any_later(("preferences", 1, one.offset), lambda record: record.key == b"u1")
    assert not letters.any_later(("preferences", 1, again.offset), lambda record: record.key == b"u1")
    assert letters.record(("preferences", 1, again.offset + 1)) is None
    assert letters.record(("nowhere", 0, 0)) is None


def test_what_the_log_has_dropped_comes_from_the_archive(log: Log, harness: Harness, tmp_path: Path) -> None:
    records = [
        Record("work", 0, offset, 1, b"7", b"value %d" % offset, (("schema", b"work/1+json"), ("trace", b"\x00")))
        for offset in range(3)
    ]
    for record in records:
        log.append([NewRecord("work", 0, record.key, record.value, record.headers)])
        time.sleep(0.01)  # retention goes by milliseconds
    kept = log.reader({("work", 0): 2})
    (last,) = kept.poll(1, timedelta(seconds=5))
    kept.close()
    harness.expire(log, "work", last)
    assert log.begin_offset("work", 0) > 1, "retention did not bite"
    assert DeadLetters(log, tmp_path / "archive").record(("work", 0, 1)) is None
    writer = ArchiveWriter(tmp_path / "archive" / "work" / "0", form=RAW)
    writer.write(raw_table(records), 3)
    assert DeadLetters(log, tmp_path / "archive").record(("work", 0, 1)) == records[1]


def test_thousands_are_read_in_parts_and_come_once_each_in_the_order_of_their_time(log: Log) -> None:
    sources = [_record(log, "work", b"7") for _ in range(12)]
    written = [_letter(record, at)._replace(partition=at % 2) for at, record in enumerate(sources)]
    log.append([*written[:7], written[6], *written[7:]])
    letters = DeadLetters(log, None, at_once=4)
    seen = list[int]()
    for each in letters.each(lambda letter: letter.at != 3, undecided=True):
        seen.append(each.letter.at)
        later = f"decide/work/1/{sources[11].offset}/7"
        log.append([dead_action(DeadAction(later, "discarded", 30), 1)] if each.letter.at == 0 else [])
    assert seen == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10], "what was decided while it was read is not open any more"
    assert [*letters.each(lambda _: True, since_ms=time.time_ns() // 1_000_000 + 60_000)] == []


class _WhereReadersBegin:
    """A log that notes it."""

    def __init__(self, log: Log) -> None:
        self._log, self.begins = log, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def reader(self, start: Mapping[TopicPartition, int]) -> Reader:
        self.begins += start.values()
        return self._log.reader(start)


def test_a_list_of_all_reads_what_was_decided_once_however_many_letters_there_are(log: Log) -> None:
    sources = [_record(log, "work", b"7") for _ in range(40)]
    log.append([_letter(record, at) for at, record in enumerate(sources)])
    names = [f"decide/work/1/{record.offset}/7" for record in sources]
    log.append([dead_action(DeadAction(name, "retried", 50), 1) for name in names])
    log.append([dead_action(DeadAction(names[3], "discarded", 60), 1)])
    noted: Any = _WhereReadersBegin(log)
    found = [*DeadLetters(noted, None, at_once=4).each(lambda _: True)]
    assert [each.letter.at for each in found] == [*range(40)]
    assert [len(each.actions) for each in found] == [2 if at == 3 else 1 for at in range(40)]
    first = log.begin_offset(TOPIC, 1)
    assert noted.begins.count(first) <= 2, "once for letters, and once for what was decided"
