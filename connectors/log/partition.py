"""One partition of the embedded log: one SQLite file in WAL mode.

Layout (`PRAGMA user_version` = 1):

    frames(last_offset PRIMARY KEY, first_offset, timestamp_ms, tombstones, offsets, keys, body)   connectors.log.frames
    log(begin_offset, clean_to, clean_records)                                                     one row

- The next offset is one past the newest frame, or `begin_offset` if retention has removed every frame.
- `timestamp_ms` never falls from frame to frame: an append whose clock is behind takes the newest frame's time.
- `clean_to`: compaction has made keys unique below this offset; `clean_records` is what it left there.
- Compaction never touches the newest frame, so the highest offset is always present.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from connectors.log.frames import Block, Frame, offsets_of
from state.model.errors import LogError, LogUnavailableError, StateDamagedError, StateVersionError

FORMAT = 1
PAGE_BYTES = 8192
CHECKPOINT_BYTES = 4 << 20
"""The writer that makes the write-ahead log exceed this carries it over to the file."""

_SETTINGS = f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA user_version = {FORMAT};"
_SCHEMA = """
CREATE TABLE frames (
  last_offset INTEGER PRIMARY KEY, first_offset INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL,
  tombstones INTEGER NOT NULL, offsets BLOB, keys BLOB NOT NULL, body BLOB NOT NULL
);
CREATE TABLE log (begin_offset INTEGER NOT NULL, clean_to INTEGER NOT NULL, clean_records INTEGER NOT NULL);
INSERT INTO log VALUES (0, 0, 0);
"""
_INSERT = "INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?, ?, ?, ?)"
_FROM = "SELECT * FROM frames WHERE last_offset >= ? ORDER BY last_offset"
_NEWEST = "SELECT last_offset, timestamp_ms FROM frames ORDER BY last_offset DESC LIMIT 1"
_BOUNDS = "SELECT begin_offset, (SELECT max(last_offset) FROM frames) FROM log"
_TIME_OF = "SELECT last_offset, timestamp_ms FROM frames WHERE last_offset >= ? ORDER BY last_offset LIMIT 1"
_FIRST_SLEEP_S, _LAST_SLEEP_S = 0.0002, 0.005

T = TypeVar("T")


def create(path: Path) -> None:
    """Make an empty partition file, unless there is one already; safe against other processes doing the same."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    connection = sqlite3.connect(draft, isolation_level=None)
    connection.executescript(_SETTINGS + _SCHEMA)
    connection.close()
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _configured(connection: sqlite3.Connection, sync_full: bool) -> int:
    """Set a connection up and give the file's version; even this is refused while another process closes the file."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if sync_full else 'NORMAL'}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // PAGE_BYTES}")
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


class PartitionFile:
    """A connection to the file. Not thread-safe; any number of them in any number of processes may be open at once."""

    def __init__(self, path: Path, *, deadline: timedelta, sync_full: bool) -> None:
        """Open an existing file.

        :raises StateVersionError: another version of this program wrote it.
        :raises LogUnavailableError: it cannot be opened.
        """
        self.path = path
        self._deadline_s = deadline.total_seconds()
        self._connection = self._open(sync_full)

    def _open(self, sync_full: bool) -> sqlite3.Connection:
        with self._named_errors():
            uri = f"{self.path.absolute().as_uri()}?mode=rw"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=0)
            version = self._patiently(lambda: _configured(connection, sync_full))
        if version != FORMAT:
            raise StateVersionError(f"{self.path}: format {version}, this program knows {FORMAT}")
        return connection

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def bounds(self) -> tuple[int, int]:
        """Give the oldest offset that may be read, and the next one to be written."""
        begin, last = self._one(_BOUNDS)
        return begin, begin if last is None else max(begin, last + 1)

    def append(self, blocks: Sequence[Block], now_ms: int) -> int:
        """Store the blocks in one transaction and give the offset of their first record."""
        with self.transaction():
            newest = self._connection.execute(_NEWEST).fetchone()
            first = newest[0] + 1 if newest else self._connection.execute(_BOUNDS).fetchone()[0]
            timestamp_ms = max(now_ms, newest[1]) if newest else now_ms
            offset = first
            for block in blocks:
                last = offset + block.records - 1
                row = (last, offset, timestamp_ms, block.tombstones, None, block.keys, block.body)
                self._connection.execute(_INSERT, row)
                offset = last + 1
        return int(first)

    def frames(self, offset: int, limit: int) -> list[Frame]:
        """Read up to `limit` frames from the one on that holds the offset, or the next one after it."""
        rows = self._all(f"{_FROM} LIMIT ?", (offset, limit))
        return [Frame._make(row) for row in rows]

    def offset_at(self, timestamp_ms: int) -> int:
        """Give the first offset of the first frame that is not older than the time, or the next offset."""
        low, end = self.bounds()
        high = end
        while low < high:
            middle = (low + high) // 2
            row = self._one(_TIME_OF, (middle,))
            if row is None or row[1] >= timestamp_ms:
                high = middle
            else:
                low = row[0] + 1
        found = self.frames(low, 1)
        return offsets_of(found[0])[0] if found else end

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the only write lock of the file; rolls back when the body raises.

        :raises LogUnavailableError: another writer did not let go within the deadline, or the disk refuses.
        """
        with self._named_errors():
            self._patiently(lambda: self._connection.execute("BEGIN IMMEDIATE"))
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement inside a transaction and give the number of rows that it changed."""
        return self._connection.execute(sql, parameters).rowcount

    def put(self, frame: Frame) -> None:
        """Replace a frame inside a transaction."""
        self._connection.execute(_INSERT, frame)

    def query(self, sql: str, parameters: Sequence[int] = ()) -> list[Any]:
        """Run a query and give its rows."""
        return self._all(sql, parameters)

    def _one(self, sql: str, parameters: Sequence[int] = ()) -> Any:
        rows = self._all(sql, parameters)
        return rows[0] if rows else None

    def _all(self, sql: str, parameters: Sequence[int]) -> list[Any]:
        with self._named_errors():
            return self._patiently(lambda: self._connection.execute(sql, parameters).fetchall())

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Repeat what another process's lock refuses, until the deadline; SQLite's own waiting sleeps up to 100 ms."""
        give_up, sleep = time.monotonic() + self._deadline_s, _FIRST_SLEEP_S
        while True:
            try:
                return attempt()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
            time.sleep(sleep)
            sleep = min(sleep * 1.5, _LAST_SLEEP_S)

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise LogUnavailableError(f"{self.path}: {error}") from error
        except sqlite3.ProgrammingError as error:
            raise LogError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StateDamagedError(f"{self.path}: {error}; restore the partition from an export") from error
