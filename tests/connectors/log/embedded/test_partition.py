"""A partition file of the embedded log: short of what was acknowledged, with a gap, with several that append to it."""

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.heap import only_where_malloc_tells, used_bytes

from connectors.log.embedded.compaction import retain
from connectors.log.embedded.frames import Block, pack_frames
from connectors.log.embedded.log import EmbeddedLog, EmbeddedOptions
from connectors.log.embedded.partition import PartitionFile
from connectors.log.interface import Claim, NewRecord, TopicSpec
from state.model.errors import LogUnavailableError, StateDamagedError, StateFencedError

RECORDS = [NewRecord("t", 0, b"k%d" % number, b"v%d" % number) for number in range(6)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    with closing(EmbeddedLog(tmp_path, clock=lambda: 1)) as opened:
        opened.ensure_topics([TopicSpec("t", 1)])
        yield opened


def file_of(directory: Path) -> Path:
    return directory / "log" / "t" / "0.sqlite"


def read(log: EmbeddedLog) -> list[bytes]:
    with closing(log.reader({("t", 0): 0})) as reader:
        return [record.value for record in reader.poll(100, timedelta())]


def test_what_was_acknowledged_is_noted_beside_the_file(log: EmbeddedLog, tmp_path: Path) -> None:
    log.append(RECORDS)
    note = file_of(tmp_path).with_suffix(".end")
    assert max(struct.unpack("<64Q", note.read_bytes())) == 6
    with closing(sqlite3.connect(file_of(tmp_path))) as connection:
        connection.execute("DELETE FROM frames")
        connection.commit()
    with closing(EmbeddedLog(tmp_path, clock=lambda: 1)) as again:
        with pytest.raises(StateDamagedError, match="ends at offset 0, but everything below 6 was acknowledged"):
            again.append(RECORDS)
        note.unlink()
        assert again.append(RECORDS[:1]) == [0]


def test_a_gap_is_no_end(log: EmbeddedLog, tmp_path: Path) -> None:
    for record in RECORDS:
        log.append([record])
    with closing(sqlite3.connect(file_of(tmp_path))) as connection:
        connection.execute("DELETE FROM frames WHERE last_offset = 3")
        connection.commit()
    with pytest.raises(StateDamagedError, match="from offset 3 to 4 are missing"):
        read(log)


@only_where_malloc_tells
def test_a_connection_takes_little_memory_whatever_goes_through_it(log: EmbeddedLog, tmp_path: Path) -> None:
    """A process has up to 150 of them."""
    for _ in range(40):
        log.append([NewRecord("t", 0, b"k", bytes(100_000))])
    before, number = used_bytes(), 20
    files = [
        PartitionFile(file_of(tmp_path), deadline=timedelta(seconds=5), sync_full=False, wal_bytes_max=1 << 20)
        for _ in range(number)
    ]
    assert used_bytes() - before < number * 120_000
    for file in files:
        for offset in range(40):
            file.frames(offset, 1)
    assert used_bytes() - before < number * 120_000
    for file in files:
        file.close()


def opened(directory: Path) -> PartitionFile:
    """A connection of its own."""
    return PartitionFile(file_of(directory), deadline=timedelta(seconds=5), sync_full=False, wal_bytes_max=1 << 20)


def blocks(*values: bytes) -> list[Block]:
    return list(pack_frames([NewRecord("t", 0, b"k", value) for value in values]))


def test_a_frame_of_several_records_is_no_larger_than_malloc_keeps(log: EmbeddedLog) -> None:
    """One of a megabyte would be mapped, filled by the kernel and unmapped for each copy."""
    values = [bytes([number]) * 340_000 for number in range(5)]
    packed = blocks(*values)
    assert sum(block.records for block in packed) == 5
    assert max(len(block.body) for block in packed) < 1 << 20
    assert [block.records for block in blocks(bytes(2 << 20), b"a")] == [1, 1], "one record is in one frame"
    log.append([NewRecord("t", 0, b"k", value) for value in values])
    assert read(log) == values


def test_several_that_append_in_turn_leave_no_gap_and_time_never_falls(log: EmbeddedLog, tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as one, closing(opened(tmp_path)) as other:
        firsts = [one.append(blocks(b"a", b"b"), 10), one.append(blocks(b"c"), 9), other.append(blocks(b"d"), 8)]
        firsts += [one.append(blocks(b"e"), 20), other.append(blocks(b"f"), 15), other.append(blocks(b"g"), 30)]
        frames = one.frames(0, 10)
    assert firsts == [0, 2, 3, 4, 5, 6]
    assert [frame.timestamp_ms for frame in frames] == [10, 10, 10, 20, 20, 30]
    assert read(log) == [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]


def test_an_append_holds_the_file_for_one_statement(log: EmbeddedLog, tmp_path: Path) -> None:
    """Between two of them the process may stand still, and whoever sends codes would wait with it."""
    log.append(RECORDS)
    ran: list[str] = []
    with closing(opened(tmp_path)) as file:
        file._connection.set_trace_callback(ran.append)
        file.append(blocks(b"a"), 1)
        ran.clear()
        file.append(blocks(b"b", b"c"), 1)
    assert len(ran) == 1


def test_who_has_appended_before_is_refused_under_an_earlier_claim(log: EmbeddedLog, tmp_path: Path) -> None:
    earlier, later = Claim("decide", 0, 1, 5), Claim("decide", 0, 1, 6)
    with closing(EmbeddedLog(tmp_path, clock=lambda: 1, claim=earlier)) as mine:
        assert mine.append(RECORDS[:1]) + mine.append(RECORDS[1:2]) == [0, 1]
        log.fence(later, ["t"])
        with pytest.raises(StateFencedError):
            mine.append(RECORDS[2:3])
    assert len(read(log)) == 2


def test_retention_waits_for_no_writer_where_nothing_is_too_old(tmp_path: Path) -> None:
    """Nor does any writer for it: it runs at the lowest priority."""
    now, options = [1_000], EmbeddedOptions(deadline=timedelta(milliseconds=50))
    with closing(EmbeddedLog(tmp_path, clock=lambda: now[0], options=options)) as log:
        log.ensure_topics([TopicSpec("t", 1, retention_ms=500)])
        log.append(RECORDS)
        with closing(sqlite3.connect(file_of(tmp_path), isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            assert log.maintain(1_400) == 0
            with pytest.raises(LogUnavailableError):
                log.maintain(1_600)
        assert log.maintain(1_600) == len(RECORDS)
        assert log.begin_offset("t", 0) == log.end_offset("t", 0) == len(RECORDS)


def test_a_kill_between_the_steps_of_retention_leaves_nothing_behind(log: EmbeddedLog, tmp_path: Path) -> None:
    for record in RECORDS:
        log.append([record])
    with closing(opened(tmp_path)) as file:
        for begin, removed in ((3, 3), (7, 0)):  # its first step, of some or of all
            file.change("UPDATE log SET begin_offset = ?", (begin,))
            assert retain(file, 2) == removed
            assert file.query("SELECT count(*) FROM frames") == [(0,)]
            file.append(blocks(b"a"), 1)


def test_retention_goes_on_where_what_somebody_needed_is_gone(log: EmbeddedLog, tmp_path: Path) -> None:
    """It ended, for all topics, until somebody appended there."""
    log.append(RECORDS)
    with closing(opened(tmp_path)) as file:
        assert [retain(file, 2, needed_from=0) for _ in range(2)] == [len(RECORDS), 0]


@pytest.mark.parametrize("left", [b"", bytes(58), b"{"])
def test_a_damaged_description_of_a_topic_is_named_and_made_again(
    log: EmbeddedLog, tmp_path: Path, left: bytes
) -> None:
    log.append(RECORDS)
    description = tmp_path / "log" / "t" / "topic.json"
    description.write_bytes(left)
    with closing(EmbeddedLog(tmp_path, clock=lambda: 1)) as other:
        with pytest.raises(StateDamagedError, match=r"topic\.json: .*; delete it: the next start makes it again"):
            other.ensure_topics([TopicSpec("t", 1)])
        description.unlink()
        other.ensure_topics([TopicSpec("t", 1)])
        assert read(other) == [record.value for record in RECORDS]


def test_a_note_that_cannot_be_read_now_is_a_log_that_is_away(log: EmbeddedLog, tmp_path: Path) -> None:
    """As without a free descriptor: a gateway said 500, which producers do not try again, in place of 503."""
    file_of(tmp_path).with_suffix(".end").mkdir()
    with pytest.raises(LogUnavailableError, match=r"0\.sqlite: Is a directory"):
        log.append(RECORDS)
