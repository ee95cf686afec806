"""What track cannot archive is set aside, and all the rest is archived; a log that is not the archive's is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from helpers.flow_bench import PARTITIONS
from helpers.history import History, read_all
from helpers.logs import captured_logs
from helpers.records import counts, decision

from connectors.archive.ledger import LedgerQuery, LedgerReader
from connectors.archive.manifest import ARCHIVED, read_manifest
from connectors.archive.records import TopicRecords
from connectors.log.interface import NewRecord, Record
from connectors.log.source import Tick
from connectors.outcomes import outcome_record
from flows.config.settings import ArchiveTable
from flows.process.directories import LEDGER as DIRECTORY
from flows.process.open import clock_ms
from flows.steps.track import ArchivedTopic, Converted, PartOptions, TrackParts, TrackSink
from flows.track import archived_topics, start_offset
from state.disk.poison import PoisonJournal
from state.model.durations import HOUR_MS
from state.model.errors import StateDamagedError
from state.model.keys import key_group, partition_of_group


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path)
    yield made
    made.log.close()


def letters(history: History) -> list[tuple[str, str, list[object]]]:
    read = [json.loads(r.value) for p in range(PARTITIONS) for r in read_all(history.log, "dead_letters", p)]
    return sorted((letter["stage"], letter["kind"], letter["source"]) for letter in read)


def archived_decisions(history: History) -> set[str]:
    history.log.maintain(1 << 50)
    assert history.log.begin_offset("ledger", 0) == history.log.end_offset("ledger", 0)
    reader = LedgerReader(history.directory / DIRECTORY, history.log)
    return {each["event_id"] for each in reader.records(LedgerQuery())}


def test_a_record_that_makes_the_columns_raise_is_set_aside(history: History) -> None:
    group = key_group("mia")
    partition = partition_of_group(group, PARTITIONS)
    poison = counts("decide", group, 5, seq=("d", 5, 0))
    too_wide = poison._replace(value=poison.value.replace(b'"group":%d' % group, b'"group":%d' % 10**9))
    no_batch = NewRecord("ledger", partition, b"", b"\xff\xff", (("schema", b"decision/1+arrow"), ("seq", b"d:1:1:1")))
    good = [decision("mia", f"e{n}", "INBOX", ("d", n, 0)) for n in range(6)]
    history.log.append([*good[:3], too_wide, *good[3:5], no_batch, good[5]])
    history.track()
    assert letters(history) == [
        ("track", "malformed", ["ledger", partition, 6]), ("track", "raised", ["ledger", partition, 3]),
    ]  # fmt: skip
    assert archived_decisions(history) == {f"e{n}" for n in range(6)}


def test_a_record_that_ended_the_process_five_times_is_set_aside(history: History) -> None:
    partition = partition_of_group(key_group("mia"), PARTITIONS)
    history.log.append([decision("mia", f"e{n}", "INBOX", ("d", n, 0)) for n in range(6)])
    path = history.directory / "state" / "track" / f"p{partition:03}" / "processing.journal"
    for _ in range(5):
        journal = PoisonJournal.open(path)
        journal.begin("ledger", partition, 4)
        journal.close()
    history.track()
    assert letters(history) == [("track", "killed", ["ledger", partition, 4])]
    assert archived_decisions(history) == {"e0", "e1", "e2", "e3", "e5"}


class Noting(ArchivedTopic):
    """Knows how many records it was given each time."""

    given: ClassVar[list[int]] = []

    def table(self, records: Sequence[Record]) -> Converted:
        self.given.append(len(records))
        return ArchivedTopic.table(self, records)


def test_after_a_death_in_many_records_they_are_not_all_converted_one_by_one(history: History) -> None:
    """It took so long that a stop in time killed the process again, and so on for ever."""
    history.log.append([NewRecord("work", 1, b"70", b"{}")] * 1_000)
    parts = TrackParts(
        history.directory / "archive", history.directory / "state" / "track", [Noting("work")], history.open_log,
        PARTITIONS, clock_ms, timedelta(days=7),
    )  # fmt: skip
    for first, conversions in ((0, [*[1] * 256, 256, 256, 232]), (512, [256, 256, *[1] * 256, 232])):
        journal = PoisonJournal.open(parts.state / "p001" / "processing.journal")
        journal.begin("work", 1, first, -2)
        journal.close()
        shutil.rmtree(parts.directory, ignore_errors=True)
        Noting.given.clear()
        partition = TrackSink(parts).build_part("parts", "1", None)
        partition.write_batch([read_all(history.log, "work", 1)])
        partition.close()
        assert Noting.given == conversions
    assert read_manifest(parts.directory / "work" / "1").offset == 1_000


def test_what_the_log_dropped_before_it_was_archived_is_a_hole_and_no_end(history: History) -> None:
    work = [NewRecord("work", 1, b"70", b"{}")] * 10
    history.log.append(work)
    history.track()
    history.log.append(work)
    history.trim_partition("work", 1)
    history.log.append(work)
    history.track()
    topic = TopicRecords("work", archive=history.directory / "archive", log=None)
    assert topic.missing(1, 0, 30) == [(10, 20)]
    assert [record.offset for batch in topic.read(1, 20, 30) for record in batch] == list(range(20, 30))


def test_an_archive_that_is_ahead_of_the_log_is_refused(history: History) -> None:
    history.log.append([NewRecord("work", 1, b"70", b"{}")] * 10)
    history.track()
    archived = read_manifest(history.directory / "archive" / "work" / "1").offset
    assert archived == 10
    shutil.rmtree(history.directory / "log")
    other = History(history.directory)
    with pytest.raises(StateDamagedError, match="archived up to offset 10, but the log ends at 0"):
        start_offset(other.open_log, archived, "work", 1)
    other.log.close()


def test_it_warns_when_half_of_the_logs_retention_has_passed(history: History) -> None:
    history.log.append([NewRecord("work", 1, b"70", b"{}")])
    (record,) = read_all(history.log, "work", 1)
    hot, now = timedelta(days=7), [record.timestamp_ms]
    topic = ArchivedTopic("work", PartOptions(interval=timedelta(days=30)))
    parts = TrackParts(
        history.directory / "archive", history.directory / "state" / "track", [topic], history.open_log, PARTITIONS,
        lambda: now[0], hot,
    )  # fmt: skip
    partition = TrackSink(parts).build_part("parts", "1", None)
    with captured_logs() as logged:
        for passed in (hot / 2, timedelta(milliseconds=1), timedelta(minutes=59), timedelta(minutes=1)):
            now[0] += passed // timedelta(milliseconds=1)
            partition.write_batch([[record], Tick(1)])
    partition.close()
    assert [line["behind_ms"] - hot // timedelta(milliseconds=2) for line in logged] == [1, 3_600_001]
    assert {line["event"] for line in logged} == {"archive_far_behind"}


SHORT = ArchiveTable(
    ledger_retention=timedelta(days=3), work_retention=timedelta(days=1), dead_letters_retention=timedelta(days=2)
)


@pytest.mark.parametrize(
    ("table", "days"),
    [
        (ArchiveTable(), {"ledger": 365, "outcomes": 365, "work": 90, "dead_letters": 90}),
        (SHORT, {"ledger": 3, "outcomes": 3, "work": 1, "dead_letters": 2}),
    ],
)
def test_a_topic_leaves_the_archive_when_its_own_time_is_over_and_the_audit_never_does(
    history: History, table: ArchiveTable, days: dict[str, int]
) -> None:
    place, now = partition_of_group(key_group("mia"), PARTITIONS), [clock_ms()]
    hour_end, day_ms = (now[0] // HOUR_MS + 1) * HOUR_MS, 24 * HOUR_MS
    parts = TrackParts(
        history.directory / "archive", history.directory / "state" / "track", archived_topics(table),
        history.open_log, PARTITIONS, lambda: now[0], timedelta(days=7),
    )  # fmt: skip
    written = dict.fromkeys(ARCHIVED, NewRecord("", place, b"", b"{}")) | {
        "ledger": decision("mia", "e1", "INBOX", ("d", 0, 0)),
        "outcomes": outcome_record("delivered", user="mia", channel="sms", at=now[0], partitions=lambda _: PARTITIONS),
    }
    partition = TrackSink(parts).build_part("parts", str(place), None)
    for topic, new in written.items():
        partition.write_batch([[Record(topic, place, 0, now[0], new.key, new.value, new.headers)]])

    def kept_at(at: int) -> set[str]:
        now[0] = at
        partition.write_batch([Tick(place)])
        return {topic for topic in ARCHIVED if read_manifest(parts.directory / topic / str(place)).parts}

    assert kept_at(now[0] + 60_000) == set(ARCHIVED)
    for life in sorted({*days.values()}):
        assert kept_at(hour_end + life * day_ms - 1) == {topic for topic in ARCHIVED if days.get(topic, life) >= life}
        assert kept_at(hour_end + life * day_ms) == {topic for topic in ARCHIVED if days.get(topic, life + 1) > life}
    assert kept_at(now[0] + 300_000) == {"audit"}
    partition.close()
    assert {path.parts[-3] for path in parts.directory.rglob("*.parquet")} == {"audit"}
