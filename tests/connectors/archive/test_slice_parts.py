"""Slices that lie in the archive as they came: every answer is that of rows, and a merge makes the same bytes."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.logs import captured_logs
from helpers.places import GOLDEN
from helpers.programs import running
from helpers.records import PARTITIONS, open_embedded
from helpers.slices import GROUPS, people, random_records
from helpers.waiting import wait_for

from connectors.archive.ledger import LedgerQuery, LedgerReader
from connectors.archive.manifest import read_manifest
from connectors.archive.parquet import ArchiveOptions, ArchiveWriter
from connectors.archive.part_ends import opened_part
from connectors.archive.slice_parts import SLICE_SCHEMA
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.read_to_ends import stored_records
from connectors.paging import ListCursor
from flows.process.directories import LEDGER as DIRECTORY
from flows.steps.track import ArchivedTopic, PartOptions
from operators.laws import COLUMNS
from state.ledger import KINDS, latest, ledger_table, records_of
from state.model.durations import HOUR_MS
from state.model.errors import StateDamagedError

LONG = timedelta(minutes=1)
HOUR, KEPT, ROWS = 500_000, 0, 1 << 40
"""Sizes from which on slices are kept: all of them, and none."""


class Copies:
    """A log, and archives of it that differ in what they keep as it is."""

    def __init__(self, directory: Path) -> None:
        self.now_ms = HOUR * HOUR_MS
        open_embedded(directory).close()
        self.log = EmbeddedLog(directory, clock=lambda: self.now_ms)
        self.directories = {name: directory / name / DIRECTORY for name in ("rows", "kept", "mixed")}

    def readers(self) -> dict[str, LedgerReader]:
        return {name: LedgerReader(directory, self.log) for name, directory in self.directories.items()}

    def writer(self, name: str, partition: int) -> ArchiveWriter:
        options = ArchiveOptions(row_group_rows=40, merge_rows_max=150)
        return ArchiveWriter(self.directories[name] / str(partition), options)

    def archive(self, dice: random.Random, *, merged: bool = False) -> None:
        """All that is in the log becomes parts; `merged`: as when the hour is over."""
        for name in self.directories:
            for partition in range(PARTITIONS):
                writer = self.writer(name, partition)
                least = {"rows": ROWS, "kept": KEPT}.get(name, dice.choice((KEPT, ROWS, 1_650)))
                topic = ArchivedTopic("ledger", PartOptions(kept_bytes=least))
                records = list(stored_records(self.log, {("ledger", partition): writer.offset}))
                for hour in sorted({each.timestamp_ms // HOUR_MS for each in records}):
                    part = [each for each in records if each.timestamp_ms // HOUR_MS == hour]
                    rows, kept, refused = topic.table(part)
                    assert not refused
                    writer.write(rows, part[-1].offset + 1, kept)
                writer.merge_hours(self.now_ms + (2 * HOUR_MS if merged else 0))

    def files(self, name: str) -> list[tuple[int, bytes]]:
        """Rows and bytes of every part."""
        directories = [self.directories[name] / str(partition) for partition in range(PARTITIONS)]
        return [
            (part.rows, (directory / part.file).read_bytes())
            for directory in directories
            for part in read_manifest(directory).parts
        ]


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[Copies]:
    made = Copies(tmp_path)
    yield made
    made.log.close()


def random_hours(copies: Copies, dice: random.Random, hours: int) -> None:
    number = 0
    for hour in range(hours):
        for minute in range(0, 60, 12):
            copies.now_ms = (HOUR + hour) * HOUR_MS + minute * 60_000
            number += dice.randrange(2)
            for record in random_records(dice, number, copies.now_ms):
                copies.log.append([record])
                copies.now_ms += dice.choice((0, 1, 10_000))
            if dice.random() < 0.7:
                copies.archive(dice)
        if hour < hours - 1:
            copies.archive(dice, merged=dice.random() < 0.5)


def _paged(reader: LedgerReader, query: LedgerQuery, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    start: ListCursor | None = ()
    while start is not None:
        page = reader.newest(query, limit, start, LONG)
        found += page.found
        start = page.onward
    return found


def _questions(dice: random.Random, seen: list[dict[str, Any]]) -> list[Callable[[LedgerReader], Any]]:
    """What anything asks of the ledger."""
    row = dice.choice([each for each in seen if each["kind"] == "decision"])
    user = dice.choice([row["user"], *(people(group, 12)[0] for group in GROUPS)])
    event, at = row["event_id"], dice.choice((None, row["decided_at"]))
    emission = dice.choice([each["emission_id"] for each in seen if each.get("emission_id")] or ["none"])
    queries = [
        LedgerQuery(), LedgerQuery(user=user), LedgerQuery(event=event), LedgerQuery(event=event, user=user),
        LedgerQuery(kinds=("emission",)), LedgerQuery(kinds=("decision", "emission", "delivery"), from_ms=at),
        LedgerQuery(columns={"emission_id": emission}, kinds=("decision", "emission", "delivery")),
        LedgerQuery(columns={"sender_id": "app", "outcome": "HELD"}), LedgerQuery(columns={"type": "new_post"}),
        LedgerQuery(columns={"object": "photo"}, to_ms=at), LedgerQuery(columns={"channel": "push"}),
        LedgerQuery(columns={"reason": "muted"}), LedgerQuery(event="none"), LedgerQuery(user="nobody"),
    ]  # fmt: skip
    limit, query = dice.choice((1, 3, 50)), dice.choice(queries)
    return [
        *(lambda reader, query=query: reader.records(query) for query in queries),
        lambda reader: _paged(reader, query, limit),
        lambda reader: reader.history(event, user),
        lambda reader: reader.progress(event),
        lambda reader: reader.of_event(event, LedgerQuery(user=dice.choice((None, user))), limit, (), LONG),
        lambda reader: reader.campaign("photo", "app"),
        lambda reader: reader.variants("new_post", 0, "tests"),
        lambda reader: list(reader.undelivered(0)),
        lambda reader: sorted(map(repr, reader.everything(COLUMNS).to_pylist())),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_asked_is_answered_as_from_rows_and_a_merge_makes_the_same_bytes(copies: Copies, seed: int) -> None:
    dice = random.Random(seed)
    random_hours(copies, dice, 2)
    readers = copies.readers()
    assert [*copies.directories["kept"].glob("*/*.slices")], "nothing was kept"
    for _ in range(2):
        seen = readers["rows"].records(LedgerQuery())
        for ask in _questions(dice, seen):
            state = dice.getstate()
            wanted = ask(readers["rows"])
            for name in ("kept", "mixed"):
                dice.setstate(state)
                assert ask(readers[name]) == wanted
        copies.log.append(random_records(dice, 10_000 + dice.randrange(1_000), copies.now_ms))
        copies.archive(dice)
    before = readers["rows"].records(LedgerQuery())
    copies.archive(dice, merged=True)
    for name, reader in readers.items():
        assert copies.files(name) == copies.files("rows")
        assert reader.records(LedgerQuery()) == before


def kept_part(copies: Copies) -> tuple[LedgerReader, ArchiveWriter, Path]:
    """A small archive with a part of slices, and the part."""
    dice = random.Random(7)
    for number in range(20):
        copies.log.append(random_records(dice, number, copies.now_ms))
    copies.archive(dice)
    writer = copies.writer("kept", 0)
    [part] = [part for part in writer.manifest.parts if part.file.endswith(".slices")]
    return copies.readers()["kept"], writer, copies.directories["kept"] / "0" / part.file


def test_a_flipped_bit_in_kept_slices_is_named_and_never_read(copies: Copies) -> None:
    reader, _, part = kept_part(copies)
    sound, everything, choose, found = part.read_bytes(), reader.records(LedgerQuery()), random.Random(3), 0
    for number in range(80):
        flipped = bytearray(sound)
        flipped[choose.randrange(len(sound))] ^= 1 << choose.randrange(8)
        part.write_bytes(flipped)
        os.utime(part, ns=(number, number))
        try:
            answer = reader.records(LedgerQuery())
        except StateDamagedError as error:
            found += part.name in str(error)
        else:
            assert answer == everything
    assert found > 60


@pytest.mark.parametrize("damage", ["torn", "other", "gone"])
def test_a_damaged_part_of_slices_leaves_its_hour_alone_until_a_copy_is_there(copies: Copies, damage: str) -> None:
    reader, writer, part = kept_part(copies)
    sound, before, parts = part.read_bytes(), reader.records(LedgerQuery()), writer.manifest.parts
    part.unlink()
    if damage != "gone":
        part.write_bytes({"torn": sound[: len(sound) // 2], "other": b"PAR1"}[damage])
    now_ms = copies.now_ms + 2 * HOUR_MS
    with captured_logs() as logs:
        assert writer.merge_hours(now_ms) == 0
    assert [(each["event"], part.name in each["problem"]) for each in logs] == [("archive_part_damaged", True)]
    assert writer.manifest.parts == parts
    with pytest.raises((StateDamagedError, FileNotFoundError), match=part.name):
        reader.records(LedgerQuery())
    part.write_bytes(sound)
    assert writer.merge_hours(now_ms + 600_000) == 1
    assert reader.records(LedgerQuery()) == before


def test_slices_that_are_stored_stay_readable(copies: Copies) -> None:
    """To write them anew, deliberately: copy `kept / "0"` there."""
    dice, kept = random.Random(5), copies.directories["kept"]
    for number in range(3):
        copies.log.append(random_records(dice, number, copies.now_ms))
    copies.archive(dice)
    shutil.rmtree(kept / "0")
    shutil.copytree(GOLDEN / "archive" / DIRECTORY.name / "0", kept / "0")
    assert {each.suffix for each in kept.glob("0/0*")} == {".parquet", ".slices"}
    [part] = kept.glob("0/*.slices")
    with opened_part(part) as stored:
        assert stored.schema_arrow.names == SLICE_SCHEMA.names
    readers = copies.readers()
    everything = readers["rows"].records(LedgerQuery())
    assert readers["kept"].records(LedgerQuery()) == everything
    for emission in {each["emission_id"] for each in everything if each.get("emission_id")}:
        query = LedgerQuery(columns={"emission_id": emission})
        assert readers["kept"].records(query) == readers["rows"].records(query) != []


def test_earlier_programs_are_told_that_there_are_slices_until_their_hour_is_merged(copies: Copies) -> None:
    _, writer, part = kept_part(copies)
    assert [read_manifest(part.parent).version, writer.merge_hours(copies.now_ms + 2 * HOUR_MS)] == [2, 1]
    assert read_manifest(part.parent).version == 1
    assert ArchiveWriter(part.parent).manifest.parts


def test_slices_that_a_crash_left_unnamed_are_removed_and_without_a_manifest_they_are_not_taken_for_a_begin(
    copies: Copies,
) -> None:
    reader, _, part = kept_part(copies)
    before = reader.records(LedgerQuery())
    unnamed = part.with_name("0000000009-5c0ffee05c0ffee0.slices")
    unnamed.write_bytes(b"PAR1 torn")
    ArchiveWriter(part.parent)
    assert not unnamed.exists()
    assert reader.records(LedgerQuery()) == before
    for manifest in part.parent.glob("manifest*"):
        manifest.unlink()
    for rows in part.parent.glob("*.parquet"):
        rows.unlink()
    assert ArchiveWriter(part.parent).offset == 0, "a crash before the first manifest leaves both parts of a number"
    unnamed.write_bytes(b"")
    with pytest.raises(StateDamagedError, match="is gone"):
        ArchiveWriter(part.parent)


RUN = """
import sys
from datetime import timedelta
from pathlib import Path
from bytewax.testing import cluster_main
from connectors.archive.parquet import ArchiveOptions
from flows.process.drain import install_drain
from flows.steps.track import ArchivedTopic, PartOptions
from flows.track import TrackFlowOptions, wire
from helpers.records import now_ms, open_embedded
data, ahead_ms = Path(sys.argv[1]), int(sys.argv[2])
parts = PartOptions(interval=timedelta(milliseconds=50), records_max=20, kept_bytes=1_650)
topics = (ArchivedTopic("ledger", parts, ArchiveOptions(merge_rows_max=150)),)
options = TrackFlowOptions(budget=30, tick=timedelta(milliseconds=50), topics=topics)
flow = wire(lambda: open_embedded(data), data, drain=install_drain(), now_ms=lambda: now_ms() + ahead_ms,
            options=options)
print("ready", flush=True)
cluster_main(flow, [], 0, worker_count_per_proc=1, epoch_interval=timedelta(milliseconds=20))
"""


def test_slices_and_rows_are_exact_after_kill_9_in_the_middle_of_parts_and_merges(tmp_path: Path) -> None:
    """In odd turns hours are over as soon as they are written, so that they are merged again and again."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice, log = random.Random(seed), open_embedded(tmp_path)
    reader, number, kinds_of_parts = LedgerReader(tmp_path / DIRECTORY, log), 0, set[str]()

    def archived() -> int:
        return sum(read_manifest(tmp_path / DIRECTORY / str(each)).offset for each in range(PARTITIONS))

    for turn in range(4):
        end = sum(log.end_offset("ledger", each) for each in range(PARTITIONS))
        with running(RUN, str(tmp_path), str(2 * HOUR_MS * (turn % 2))):
            for _ in range(25):
                number += 1
                log.append(random_records(dice, number, HOUR * HOUR_MS + number))
            enough = end + dice.randrange(1, 40)
            wait_for(lambda enough=enough: archived() >= enough)
            time.sleep(dice.random() / 5)
        kinds_of_parts |= {each.suffix for each in (tmp_path / DIRECTORY).glob("*/*")}
        places = {("ledger", each): 0 for each in range(PARTITIONS)}
        whole = latest(ledger_table(list(stored_records(log, places)))[0])
        order: Any = [(name, "ascending") for name in ("time", "user", "kind", "log_offset")]
        assert reader.records(LedgerQuery(kinds=KINDS)) == records_of(whole.sort_by(order))
    assert {".parquet", ".slices"} <= kinds_of_parts
    log.close()
