"""A partition file of the embedded log: short of what was acknowledged, with a gap."""

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.heap import only_where_malloc_tells, used_bytes

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.embedded.partition import PartitionFile
from connectors.log.interface import NewRecord, TopicSpec
from state.model.errors import StateDamagedError

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
