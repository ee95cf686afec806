"""Write-ahead logs are carried over by a thread."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import randbytes

import pytest
from helpers.waiting import wait_for

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.embedded.partition import PAGE_BYTES
from connectors.log.interface import NewRecord, TopicSpec
from state.disk.checkpoints import COMMIT_PAGES, DUE_PAGES, Checkpoints
from state.disk.sqlite import SqliteFile

COMMITS = DUE_PAGES // COMMIT_PAGES + 1


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "file", isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (n)")
        connection.execute("INSERT INTO t VALUES (1)")
        yield connection


def not_carried_over(path: Path) -> list[int]:
    """What a reader of the file alone finds."""
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(f"file:{copy}?immutable=1", uri=True)) as alone:
        try:
            return [number for (number,) in alone.execute("SELECT n FROM t")]
        except sqlite3.OperationalError:  # not even its table
            return []


def test_a_file_is_carried_over_once_enough_was_written(writer: sqlite3.Connection, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "file")
    for _ in range(COMMITS - 1):
        checkpoints.wrote()
    checkpoints.finish()
    before = not_carried_over(tmp_path / "file")
    checkpoints.wrote()
    checkpoints.finish()
    assert (before, not_carried_over(tmp_path / "file")) == ([], [1])


def test_one_large_commit_is_enough(writer: sqlite3.Connection, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "file")
    checkpoints.wrote(DUE_PAGES)
    checkpoints.finish()
    assert not_carried_over(tmp_path / "file") == [1]


def test_nobody_who_writes_meanwhile_is_held_up(writer: sqlite3.Connection, tmp_path: Path) -> None:
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES (2)")
    checkpoints = Checkpoints(tmp_path / "file")
    checkpoints.wrote(DUE_PAGES)
    checkpoints.finish()
    assert not_carried_over(tmp_path / "file") == [1]
    writer.execute("COMMIT")
    assert writer.execute("SELECT n FROM t").fetchall() == [(1,), (2,)]


def test_a_file_that_is_gone_is_the_writers_to_tell(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "file")
    checkpoints.wrote(DUE_PAGES)
    checkpoints.finish()
    assert not (tmp_path / "file").exists()


def test_the_log_and_the_lanes_files_are_carried_over(tmp_path: Path) -> None:
    with closing(EmbeddedLog(tmp_path, clock=lambda: 1)) as log:
        log.ensure_topics([TopicSpec("t", 1)])
        path = tmp_path / "log" / "t" / "0.sqlite"
        empty = path.stat().st_size
        for number in range(COMMITS):
            log.append([NewRecord("t", 0, b"k%d" % number, randbytes(PAGE_BYTES))])
        wait_for(lambda: path.stat().st_size > empty)
    with closing(SqliteFile(tmp_path / "lane", version=1, schema=SCHEMA, checked=())) as file:
        for number in range(COMMITS):
            with file.transaction():
                file.run("INSERT INTO t VALUES (?)", (number,))
        wait_for(lambda: len(not_carried_over(tmp_path / "lane")) > 0)


SCHEMA = "CREATE TABLE meta(name TEXT PRIMARY KEY, value); CREATE TABLE t(n)"
