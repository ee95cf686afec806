"""A SQLite file that knows whether its tables are what was written: SQLite has no checksums for its pages.

Every commit stores a digest over all rows of the small tables (places and marks) in `meta`, under the name `digest`. It
is compared when the file is opened. It is xxh3_64 over the MessagePack of the rows in the order of the queries, as a
signed integer. A file to which nothing was committed yet has none.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from state.disk.checkpoints import Checkpoints
from state.model.errors import StateDamagedError, StateError, StateVersionError

WAL_PAGES_MAX = 4_096
"""16 MB."""
_pack = msgspec.msgpack.Encoder().encode
_MADE = "SELECT 1 FROM sqlite_master WHERE name = 'meta'"
"""Gives a row once the tables are there: they are made in one transaction."""
_OF_THE_DISK = (
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY,
)  # fmt: skip


def signed_sum(content: bytes) -> int:
    """xxh3_64 as SQLite can store it."""
    value: int = xxhash.xxh3_64_intdigest(content)
    return value - (1 << 64) if value >> 63 else value


class SqliteFile:
    """One file in WAL mode, with a table `meta(name, value)`; for one thread at a time.

    A commit survives the kill of the process. After a loss of power the file may be older.
    """

    def __init__(
        self,
        path: Path,
        *,
        version: int,
        schema: str,
        checked: Sequence[str],
        wal_pages_max: int = WAL_PAGES_MAX,
    ) -> None:
        """Open or create it. `checked`: queries, in a fixed order of rows, over which the digest is. A write-ahead log
        of more than `wal_pages_max` is carried over by whoever writes (`state.disk.checkpoints`).

        :raises StateDamagedError: it is no such file, or not what was written.
        :raises StateVersionError: a newer program wrote it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._checked, self._checkpoints = path, checked, Checkpoints(path)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        with self.named_refusals():
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(f"PRAGMA wal_autocheckpoint={wal_pages_max}")
            self.fresh = not self.run(_MADE)
            """It was created now."""
            if self.fresh:
                self.script(f"BEGIN; {schema}")
                self.run("INSERT INTO meta VALUES ('version', ?)", (version,))
                self.run("COMMIT")
            elif (found := self.meta("version")) != version:
                raise StateVersionError(f"{path} has version {found}, this program knows {version}")
            if self.meta("digest") not in (None, self._digest()):
                raise refusal(path, None)

    def run(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Every row of it.

        :raises StateError: the file does not read, or the disk refuses.
        """
        with self.named_refusals():
            return self._connection.execute(statement, parameters).fetchall()

    def first(self, statement: str, parameters: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """The first row, if there is one."""
        rows = self.run(statement, parameters)
        return rows[0] if rows else None

    def many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """The statement for each of the rows; call inside a transaction."""
        self._connection.executemany(statement, rows)

    def script(self, statements: str) -> None:
        """Several statements that ask for nothing."""
        self._connection.executescript(statements)

    def meta(self, name: str) -> int | None:
        """A value of `meta`."""
        row = self.first("SELECT value FROM meta WHERE name = ?", (name,))
        return None if row is None else int(row[0])

    @contextmanager
    def transaction(self, *, digest: bool = True) -> Iterator[None]:
        """All of the body or nothing; with a digest unless no table that is checked changes.

        :raises StateError: see `refusal`.
        """
        with self.named_refusals():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                if digest:
                    self._connection.execute("REPLACE INTO meta VALUES ('digest', ?)", (self._digest(),))
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise
            self._checkpoints.wrote()

    @contextmanager
    def named_refusals(self) -> Iterator[None]:
        """Name what SQLite finds wrong with the file while it is used; raises as `refusal` says."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise refusal(self.path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._checkpoints.finish()
        self._connection.close()

    def _digest(self) -> int:
        return signed_sum(b"".join(_pack(row) for query in self._checked for row in self._connection.execute(query)))


def read_first(path: Path, statement: str, parameters: Sequence[object]) -> tuple[Any, ...] | None:
    """The first row of a file that another process may have open; None without a file, or where a kill came before its
    tables were made. Changes no row.

    :raises StateError: see `refusal`.
    """
    if not path.exists():
        return None
    # Not read-only: what a kill left half-written could not be rolled back then.
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=10)
    try:
        if connection.execute(_MADE).fetchone() is None:
            return None
        row: tuple[Any, ...] | None = connection.execute(statement, parameters).fetchone()
    except sqlite3.DatabaseError as error:
        raise refusal(path, error) from error
    finally:
        connection.close()
    return row


def refusal(path: Path, error: sqlite3.DatabaseError | None) -> StateError:
    """What to raise for a file that does not open (its error) or whose digest is another (None)."""
    if error is not None and getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_DISK:
        return StateError(f"{path}: {error}; free space or make it writable, then restart")
    what = "is not what was written" if error is None else f"does not read ({error})"
    return StateDamagedError(f"{path} {what}; delete it and its -wal, and it is rebuilt from the log")
