"""Raw topics in the archive, and reading ranges that are partly there and partly in the log: whole, or refused."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.places import GOLDEN
from helpers.records import decision
from structlog.testing import capture_logs

from connectors.archive.forms import LEDGER, RAW, ArchiveForm, raw_records, raw_table
from connectors.archive.manifest import Part, archived_up_to, read_manifest
from connectors.archive.parquet import ArchiveOptions, ArchiveWriter
from connectors.archive.records import TopicRecords
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, Record, TopicSpec
from state.ledger import packed_ledger
from state.model.durations import HOUR_MS
from state.model.errors import OffsetOutOfRangeError, StateDamagedError, UnknownTopicError

HOUR = 480_000 * HOUR_MS
DAY = timedelta(days=1)
BYTES = GOLDEN / "archive"


def records(first: int, end: int, at_ms: int = HOUR) -> list[Record]:
    """Every kind of key, value and headers that a log may hold."""
    choose = random.Random(first)
    shapes = [(), (("schema", b"x/1+json"),), (("a", b""), ("é", b"\xff\0"), ("a", b"again"))]
    return [
        Record("work", 2, offset, at_ms + offset, choose.randbytes(offset % 5), choose.randbytes(offset % 300),
               choose.choice(shapes))
        for offset in range(first, end)
    ]  # fmt: skip


def written(archive: Path, *parts: list[Record], options: ArchiveOptions | None = None) -> ArchiveWriter:
    writer = ArchiveWriter(archive / "work" / "2", options, RAW)
    for part in parts:
        if part[0].offset != writer.offset:
            writer.skip_to(part[0].offset)
        writer.write(raw_table(part), part[-1].offset + 1)
    return writer


def read(topic: TopicRecords, first: int, end: int) -> list[Record]:
    return [record for batch in topic.read(2, first, end) for record in batch]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for number in range(3):
        ArchiveWriter(tmp_path / "archive" / "work" / str(number), None, RAW).write(raw_table([]), 0)
    return tmp_path / "archive"


def test_records_come_back_as_they_were_also_out_of_merged_hours(archive: Path) -> None:
    everything = records(0, 900) + records(900, 1500, HOUR + HOUR_MS)
    parts = [everything[first : first + 150] for first in range(0, 1500, 150)]
    writer = written(archive, *parts, options=ArchiveOptions(row_group_rows=40, merge_rows_max=400))
    topic = TopicRecords("work", archive=archive, log=None)
    assert read(topic, 0, 1500) == everything
    assert writer.merge_hours(HOUR + 3 * HOUR_MS) == 2
    spans = [(part.first, part.end) for part in writer.manifest.parts]
    assert (spans[0][0], spans[-1][1]) == (0, 1500)
    assert len(spans) < len(parts)
    assert [end for _, end in spans[:-1]] == [first for first, _ in spans[1:]]
    assert all(part.compacted for part in writer.manifest.parts)
    assert read(topic, 0, 1500) == everything
    for first, end in [(0, 1), (149, 151), (433, 1207), (1499, 1500), (700, 700)]:
        assert read(topic, first, end) == everything[first:end]


def test_raw_parts_have_no_dictionaries(archive: Path) -> None:
    """Young and merged: they took a third of the time to write, and more room than they saved."""
    writer = written(archive, records(0, 200))
    for compacted in (False, True):
        [part] = writer.manifest.parts
        assert part.compacted == compacted
        group = pq.read_metadata(archive / "work" / "2" / part.file).row_group(0)
        assert not any(group.column(number).has_dictionary_page for number in range(group.num_columns))
        writer.merge_hours(HOUR + 3 * HOUR_MS)


@pytest.mark.parametrize("behind", [False, True], ids=["anywhere", "at-the-end"])
def test_a_flipped_bit_is_damage_that_is_named_and_never_another_record(archive: Path, behind: bool) -> None:
    everything, choose = records(0, 1_000), random.Random(7)
    [part] = written(archive, everything, options=ArchiveOptions(row_group_rows=300)).manifest.parts
    file = archive / "work" / "2" / part.file
    sound, topic, found = file.read_bytes(), TopicRecords("work", archive=archive, log=None), 0
    for number in range(150):
        flipped = bytearray(sound)
        at = choose.randrange(len(sound) - 2_000 if behind else 0, len(sound))
        flipped[at] ^= 1 << choose.randrange(8)
        file.write_bytes(flipped)
        os.utime(file, ns=(number, number))
        try:
            records_read = read(topic, 0, 1_000)
        except StateDamagedError as error:
            found += part.file in str(error)
        else:
            assert records_read == everything
    assert found > 130


@pytest.mark.parametrize("form", [RAW, LEDGER])
@pytest.mark.parametrize("damage", ["torn", "other", "names", "gone"])
def test_a_damaged_part_is_named_and_leaves_its_hour_alone(tmp_path: Path, form: ArchiveForm, damage: str) -> None:
    writer = ArchiveWriter(tmp_path, ArchiveOptions(readers=timedelta()), form)
    for number, hour in enumerate((0, 0, 1, 1)):
        at_ms, new = HOUR + hour * HOUR_MS, decision("ann", f"e{number}", "INBOX", ("d", number, 0))
        decided = [Record(new.topic, 0, number, at_ms, new.key, new.value, new.headers)]
        raw = raw_table(records(number, number + 1, at_ms))
        writer.write(packed_ledger(decided)[0] if form is LEDGER else raw, number + 1)
    file = tmp_path / writer.manifest.parts[0].file
    content = file.read_bytes()
    at = len(content) // 3
    torn = b"\xde\xad\xbe\xef" * (len(content) // 8)
    damaged = {
        "torn": content[:at] + torn + content[at + len(torn) :],
        "other": b"PAR1",
        "names": content.replace(b"key", b"k\xffy"),  # of columns, where the file ends
    }
    file.unlink()
    if damage != "gone":
        file.write_bytes(damaged[damage])
    now_ms = HOUR + 3 * HOUR_MS
    with capture_logs() as logs:
        assert writer.merge_hours(now_ms) == 1, "the other hour"
        assert writer.merge_hours(now_ms + 1000) == 0
    assert [(each["event"], str(file) in each["problem"]) for each in logs] == [("archive_part_damaged", True)]
    file.write_bytes(content)
    assert writer.merge_hours(now_ms + 600_000) == 1, "a copy was put in its place"


def test_a_slice_of_a_table_has_the_headers_of_its_own_records() -> None:
    everything = records(0, 60)
    table = raw_table(everything)
    joined = pa.concat_tables([table.slice(7, 20), table.slice(60), table.slice(31, 9)])
    assert raw_records("work", table.slice(60)) == []
    assert raw_records("work", table.slice(13, 30)) == everything[13:43]
    assert raw_records("work", joined) == everything[7:27] + everything[31:40]
    assert raw_records("work", joined.slice(11, 12)) == everything[18:27] + everything[31:34]


def test_a_hole_is_named_and_no_merge_hides_it(archive: Path) -> None:
    writer = written(archive, records(10, 20), records(20, 30), records(40, 50), records(50, 60))
    topic = TopicRecords("work", archive=archive, log=None)
    for _ in range(2):
        assert topic.missing(2, 0, 70) == [(0, 10), (30, 40), (60, 70)]
        assert read(topic, 12, 30) == [*records(10, 20)[2:], *records(20, 30)]
        with pytest.raises(OffsetOutOfRangeError, match="work/2: offsets 30 to 39 are neither in the log nor in"):
            read(topic, 15, 45)
        writer.merge_hours(HOUR + 3 * HOUR_MS)
    assert [(part.first, part.end) for part in writer.manifest.parts] == [(10, 30), (40, 60)]


def test_a_reader_survives_a_merge_in_the_middle(archive: Path) -> None:
    everything = records(0, 400)
    options = ArchiveOptions(row_group_rows=10, readers=timedelta())
    writer = written(archive, *(everything[n : n + 100] for n in range(0, 400, 100)), options=options)
    seen: list[Record] = []
    for batch in TopicRecords("work", archive=archive, log=None).read(2, 0, 400):
        seen += batch
        if len(seen) == 150:
            writer.merge_hours(HOUR + 3 * HOUR_MS)
            assert writer.remove_retired(HOUR + 3 * HOUR_MS) == 4
    assert seen == everything


def test_old_hours_are_dropped_and_then_missing(archive: Path) -> None:
    old, young = records(0, 100), records(100, 200, HOUR + 5 * HOUR_MS)
    options = ArchiveOptions(retention=DAY, readers=timedelta(minutes=5))
    writer = written(archive, old, young, options=options)
    past = HOUR + HOUR_MS + DAY // timedelta(milliseconds=1)
    assert writer.drop_old(past - 1) == 0
    assert writer.drop_old(past) == 1
    assert writer.remove_retired(past + 299_999) == 0
    assert writer.remove_retired(past + 300_000) == 1
    topic = TopicRecords("work", archive=archive, log=None)
    assert (topic.begin(2), topic.end(2)) == (100, 200)
    assert read(topic, 100, 200) == young
    assert writer.offset == 200, "what was dropped is not archived a second time"


class TwoPlaces:
    """An embedded log whose clock the test sets, and an archive that copies from it."""

    def __init__(self, directory: Path) -> None:
        self.now_ms = HOUR
        self.log = EmbeddedLog(directory, clock=lambda: self.now_ms)
        self.log.ensure_topics([TopicSpec("work", 3, retention_ms=DAY // timedelta(milliseconds=1))])
        self.archive = directory / "archive"
        for number in range(3):
            ArchiveWriter(self.archive / "work" / str(number), None, RAW).write(raw_table([]), 0)

    def append(self, count: int) -> None:
        self.log.append([NewRecord("work", 2, b"k", b"v%d" % n, (("schema", b"work/1+json"),)) for n in range(count)])

    def copy(self) -> None:
        writer = ArchiveWriter(self.archive / "work" / "2", None, RAW)
        if self.log.begin_offset("work", 2) > writer.offset:
            writer.skip_to(self.log.begin_offset("work", 2))
        reader = self.log.reader({("work", 2): writer.offset})
        while found := reader.poll(1000, timedelta()):
            writer.write(raw_table(found), found[-1].offset + 1)
        reader.close()

    def maintain(self, *, patience: timedelta = timedelta()) -> None:
        self.log.maintain(self.now_ms, archived_up_to(self.archive), patience)

    def read(self, first: int, end: int) -> list[Record]:
        return read(TopicRecords("work", archive=self.archive, log=self.log), first, end)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[TwoPlaces]:
    made = TwoPlaces(tmp_path)
    yield made
    made.log.close()


def test_log_and_archive_read_as_one(places: TwoPlaces) -> None:
    places.append(100)
    whole = places.read(0, 100)
    assert [record.offset for record in whole] == list(range(100))
    places.copy()
    places.now_ms += 2 * DAY // timedelta(milliseconds=1)
    places.append(50)
    whole = places.read(0, 150)
    places.maintain()
    assert places.log.begin_offset("work", 2) == 100
    assert places.read(0, 150) == whole
    assert places.read(90, 110) == whole[90:110]
    topic = TopicRecords("work", archive=places.archive, log=places.log)
    assert (topic.partitions, topic.begin(2), topic.end(2)) == (3, 0, 150)
    assert topic.first_where(2, lambda record: record.timestamp_ms > HOUR) == 100
    assert topic.first_where(2, lambda record: None if record.offset % 7 else record.offset >= 63) == 57
    assert topic.first_where(2, lambda _: False) == 150
    with pytest.raises(OffsetOutOfRangeError, match="offsets 0 to 99 are"):
        read(TopicRecords("work", archive=None, log=places.log), 0, 150)


def test_a_log_that_is_trimmed_under_a_reader_goes_on_in_the_archive(places: TwoPlaces) -> None:
    for _ in range(6):
        places.append(5000)
    whole = places.read(0, 30_000)
    places.copy()
    seen: list[Record] = []
    for batch in TopicRecords("work", archive=places.archive, log=places.log).read(2, 0, 30_000):
        if not seen:
            places.now_ms += 2 * DAY // timedelta(milliseconds=1)
            places.append(1)
            places.maintain()
            assert places.log.begin_offset("work", 2) == 30_000, "the log was not trimmed under the reader"
        seen += batch
    assert seen == whole


def test_the_log_keeps_what_is_not_archived_but_not_for_ever(places: TwoPlaces) -> None:
    places.append(100)
    places.copy()
    places.append(30)
    places.now_ms += 2 * DAY // timedelta(milliseconds=1)
    places.append(1)
    places.maintain(patience=3 * DAY)
    assert places.log.begin_offset("work", 2) == 100
    places.now_ms += 3 * DAY // timedelta(milliseconds=1)
    places.maintain(patience=3 * DAY)
    assert places.log.begin_offset("work", 2) == 130
    places.copy()
    assert places.read(130, 131)[0].offset == 130


def test_an_archive_that_is_not_there_is_no_empty_topic(tmp_path: Path) -> None:
    with pytest.raises(UnknownTopicError, match="holds no archive of topic work"):
        TopicRecords("work", archive=tmp_path, log=None)


def test_parts_and_manifests_of_before_are_read(tmp_path: Path) -> None:
    """To write them anew, deliberately: `written(BYTES, records(0, 40), records(40, 60))`."""
    assert read(TopicRecords("work", archive=BYTES, log=None), 0, 60) == [*records(0, 40), *records(40, 60)]


def test_a_manifest_without_ranges_is_read(tmp_path: Path) -> None:
    """As the ledger's were written before raw topics were archived."""
    content = '{"version":1,"offset":9,"serial":1,"parts":[{"file":"a","hour":1,"rows":9,"bytes":5,"compacted":true}]}'
    (tmp_path / "manifest.json").write_text(content)
    manifest = read_manifest(tmp_path)
    assert manifest.parts == (Part("a", 1, 9, 5, compacted=True, first=-1, end=-1),)
