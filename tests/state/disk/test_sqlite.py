"""A lane's file that a kill left while it was made is a new one, for whoever asks where to go on and for the lane."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from state.deliver.store import SendingStore
from state.deliver.store import read_start as read_deliver
from state.transactional.store import TransactionalStore
from state.transactional.store import read_start as read_transactional

PLACE = ("deliver.push", 0)


def empty(path: Path) -> None:
    path.touch()


def named_wal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def tables_not_committed(path: Path) -> None:
    _copied_open(path, "PRAGMA journal_mode=WAL", "BEGIN", "CREATE TABLE meta(name)")


def to_be_rolled_back(path: Path) -> None:
    """Pages of a transaction are in the file already, and what was there before is in the journal."""
    rows = [f"INSERT INTO meta VALUES (zeroblob({size}))" for size in range(3_000, 3_100)]
    _copied_open(path, "PRAGMA cache_size=1", "BEGIN", "CREATE TABLE meta(name)", *rows)
    assert path.with_name(f"{path.name}-journal").read_bytes()[:4] == b"\xd9\xd5\x05\xf9", "not flushed yet"


def _copied_open(path: Path, *statements: str) -> None:
    """The files as a kill leaves them after the last statement."""
    source = path.parent / "alive" / path.name
    source.parent.mkdir()
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        for file in source.parent.iterdir():
            shutil.copy(file, path.parent)


@pytest.mark.parametrize("left", [empty, named_wal, tables_not_committed, to_be_rolled_back])
@pytest.mark.parametrize(
    ("read_start", "store"),
    [(read_deliver, SendingStore), (read_transactional, TransactionalStore)],
)
def test_killed_while_it_is_made(
    tmp_path: Path, left: Callable[[Path], None], read_start: Callable[..., int | None], store: Callable[[Path], Any]
) -> None:
    path = tmp_path / "lane.sqlite"
    assert read_start(path, PLACE) is None
    left(path)
    assert read_start(path, PLACE) is None
    store(path).close()
    assert read_start(path, PLACE) is None
