"""Pages of the ledger: every record once, the newest first, from merged hours, young parts and the log."""

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.records import PARTITIONS, decision, delivery, open_embedded

from connectors.archive.ledger import LedgerQuery, LedgerReader
from connectors.archive.parquet import ArchiveOptions, ArchiveWriter
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord
from connectors.log.read_to_ends import stored_records
from connectors.paging import ListCursor, Listed
from flows.process.directories import LEDGER as DIRECTORY
from state.ledger import packed_ledger
from state.model.durations import HOUR_MS
from state.model.errors import StateDamagedError
from state.model.keys import key_group, partition_of_group

HOUR = 500_000
LONG = timedelta(minutes=1)
Turned = list[dict[str, Any]]


class Archive:
    """A log whose clock the test turns, and what track makes of it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.now_ms = directory, HOUR * HOUR_MS
        self.log = open_embedded(directory)
        self.log.close()
        self.log = EmbeddedLog(directory, clock=lambda: self.now_ms)
        self.reader = LedgerReader(directory / DIRECTORY, self.log)

    def write(self, *records: NewRecord) -> None:
        self.log.append(list(records))

    def archive(self, *, merged: bool = False) -> None:
        """A part of everything; `merged`: as when the hour is over."""
        for partition in range(PARTITIONS):
            options = ArchiveOptions(row_group_rows=7)
            writer = ArchiveWriter(self.directory / DIRECTORY / str(partition), options)
            records = list(stored_records(self.log, {("ledger", partition): writer.offset}))
            for hour in sorted({each.timestamp_ms // HOUR_MS for each in records}):
                part = [each for each in records if each.timestamp_ms // HOUR_MS == hour]
                writer.write(packed_ledger(part)[0], part[-1].offset + 1)
            writer.merge_hours(self.now_ms + (2 * HOUR_MS if merged else 0))

    def turn(self, query: LedgerQuery, limit: int, give_up: timedelta = LONG) -> tuple[Turned, list[int]]:
        """All pages, and how far those had looked that ended before they were full."""
        found: Turned = []
        looked: list[int] = []
        start: ListCursor | None = ()
        while start is not None:
            page: Listed[dict[str, Any]] = self.reader.newest(query, limit, start, give_up)
            if query.event is not None and give_up > timedelta(seconds=1):
                counts = self.reader.progress(query.event) if page.found else None
                assert self.reader.of_event(query.event, query, limit, start, give_up) == (page, counts)
            assert len(page.found) == limit or page.onward is None or page.looked_to_ms is not None
            found += page.found
            looked += [] if page.looked_to_ms is None else [page.looked_to_ms]
            start = page.onward
        return found, looked


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(tmp_path)
    yield made
    made.log.close()


def random_day(archive: Archive, dice: random.Random, hours: int = 5) -> None:
    """Decisions that are held and end later, in the same hour or another, deliveries, and many of one moment."""
    held: list[tuple[str, str, str]] = []
    number = 0
    for hour in range(hours):
        for minute in range(0, 60, 10):
            archive.now_ms = (HOUR + hour) * HOUR_MS + minute * 60_000
            batch = []
            for _ in range(dice.randrange(1, 9)):
                number += 1
                user, event = f"u{dice.randrange(6)}", f"e{number}"
                outcome = dice.choice(("HELD", "AGGREGATING", "INBOX", "SUPPRESSED", "EMITTED"))
                sender = dice.choice(("app", "shop"))
                more = {"sender_id": sender, "decided_at": archive.now_ms, "ingested_at": archive.now_ms}
                until = dice.choice((None, archive.now_ms + dice.randrange(3 * HOUR_MS)))  # it may end at another time
                batch.append(decision(user, event, outcome, ("d", number, 0), until=until, **more))
                if outcome in ("HELD", "AGGREGATING"):
                    held.append((user, event, sender))
                if dice.random() < 0.3:
                    number += 1
                    batch.append(delivery(user, f"em{number}", "phone", "DELIVERED", archive.now_ms))
            while held and dice.random() < 0.4:
                number += 1
                user, event, sender = held.pop(dice.randrange(len(held)))
                more = {"sender_id": sender, "decided_at": archive.now_ms, "ingested_at": archive.now_ms}
                batch.append(decision(user, event, dice.choice(("INBOX", "EXPIRED")), ("d", number, 0), **more))
            archive.write(*batch)
            if dice.random() < 0.7:
                archive.archive()
        if hour < hours - 2:
            archive.archive(merged=dice.random() < 0.8)


QUERIES = [
    LedgerQuery(),
    LedgerQuery(user="u3"),
    LedgerQuery(columns={"sender_id": "shop"}),
    LedgerQuery(columns={"outcome": "HELD"}),
    LedgerQuery(columns={"outcome": "INBOX", "sender_id": "app"}),
    LedgerQuery(user="u1", columns={"outcome": "AGGREGATING"}),
    LedgerQuery(from_ms=(HOUR + 2) * HOUR_MS, to_ms=(HOUR + 4) * HOUR_MS),
    LedgerQuery(event="e5"),
    LedgerQuery(event="e5", user="u0"),
    LedgerQuery(columns={"outcome": "NONE"}),
]


@pytest.mark.parametrize("seed", range(4))
def test_pages_together_are_what_matches_in_its_last_state(archive: Archive, seed: int) -> None:
    dice = random.Random(seed)
    random_day(archive, dice)

    def key(record: dict[str, Any]) -> tuple[str, ...]:
        return record["kind"], record.get("event_id") or record["emission_id"], record["user"], record["outcome"]

    for query in QUERIES:
        everything = sorted(map(key, archive.reader.records(query)))
        for limit in (1, 3, 50, 1_000):
            found, _ = archive.turn(query, limit)
            assert sorted(map(key, found)) == everything, (query, limit)
            times = [record.get("decided_at") or record["at"] for record in found]
            assert times == sorted(times, reverse=True), (query, limit)


def test_a_page_whose_time_is_up_says_how_far_it_looked_and_where_to_go_on(archive: Archive) -> None:
    random_day(archive, random.Random(7))
    archive.archive()
    query = LedgerQuery(columns={"outcome": "NONE"})
    _, looked = archive.turn(query, 10, timedelta())
    hours = [at for at in looked if at % HOUR_MS == 0]
    assert hours == [(HOUR + hour) * HOUR_MS for hour in (4, 3, 2, 1)], "an hour a page, and the last is the end"
    assert looked == sorted({*looked}, reverse=True)
    assert len(looked) > len(hours), "an hour that is not merged is looked at in several pages"
    found, _ = archive.turn(LedgerQuery(), 10, timedelta())
    assert len(found) == len(archive.reader.records(LedgerQuery()))


def test_many_parts_of_an_hour_that_goes_on_become_few_and_keep_every_state(archive: Archive) -> None:
    partition = partition_of_group(key_group("mia"), PARTITIONS)
    writer, most = ArchiveWriter(archive.directory / DIRECTORY / str(partition)), 0
    for number in range(300):
        archive.now_ms += 3_000
        outcome = "INBOX" if number % 2 else "HELD"
        archive.write(decision("mia", f"e{number // 2}", outcome, ("d", number, 0), decided_at=archive.now_ms))
        records = list(stored_records(archive.log, {("ledger", partition): writer.offset}))
        writer.write(packed_ledger(records)[0], records[-1].offset + 1)
        assert writer.merge_hours(archive.now_ms) == 0
        most = max(most, len(writer.manifest.parts))
    assert most <= 3 * 16
    assert not any(part.compacted for part in writer.manifest.parts)
    assert [state.record["outcome"] for state in archive.reader.history("e4", "mia")] == ["HELD", "INBOX"]
    assert len(archive.reader.records(LedgerQuery())) == 150
    assert writer.merge_hours((HOUR + 2) * HOUR_MS) == 1
    assert [part.compacted for part in writer.manifest.parts] == [True]
    assert len(archive.reader.records(LedgerQuery())) == 150


def test_a_page_of_the_running_hour_ends_with_the_parts_that_fill_it(archive: Archive) -> None:
    for number in range(40):
        archive.now_ms += 60_000
        archive.write(decision("mia", f"e{number}", "INBOX", ("d", number, 0), decided_at=archive.now_ms))
        archive.archive()
    parts = sorted((archive.directory / DIRECTORY).glob("*/*.parquet"))
    assert len(parts) == 40
    page = archive.reader.newest(LedgerQuery(user="mia"), 5, give_up=LONG)
    for part in parts[:20]:
        content = part.read_bytes()
        part.write_bytes(b"PAR1" + b"\0" * 1_000 + content[1_004:])  # its end can be read, and no row
    assert archive.reader.newest(LedgerQuery(user="mia"), 5, give_up=LONG) == page
    assert [record["event_id"] for record in page.found] == ["e39", "e38", "e37", "e36", "e35"]
    with pytest.raises(StateDamagedError, match="is damaged: put a copy of it in its place"):
        archive.reader.newest(LedgerQuery(user="mia"), 50, give_up=LONG)
