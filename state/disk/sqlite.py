"""Whether the tables of a SQLite file are what was written: SQLite has no checksums for its pages.

Every commit stores a digest over all rows of the small tables (places and marks) in `meta`, under the name `digest`. It
is compared when the file is opened. It is xxh3_64 over the MessagePack of the rows in the order of the queries, as a
signed integer. A file of an earlier release that has none is accepted.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import xxhash

from state.model.errors import StateDamagedError, StateError

_pack = msgspec.msgpack.Encoder().encode
NAME = "digest"
_OF_THE_DISK = (
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY,
)  # fmt: skip
_WHERE = "SELECT value FROM meta WHERE name = ?"


def signed_sum(content: bytes) -> int:
    """xxh3_64 as SQLite can store it."""
    value: int = xxhash.xxh3_64_intdigest(content)
    return value - (1 << 64) if value >> 63 else value


def digest_of(connection: sqlite3.Connection, queries: Sequence[str]) -> int:
    """Over the rows that the queries give, which must be in a fixed order."""
    return signed_sum(b"".join(_pack(row) for query in queries for row in connection.execute(query)))


def store_digest(connection: sqlite3.Connection, queries: Sequence[str]) -> None:
    """Call inside the transaction that changed the tables, last."""
    connection.execute("REPLACE INTO meta VALUES (?, ?)", (NAME, digest_of(connection, queries)))


def is_intact(connection: sqlite3.Connection, queries: Sequence[str]) -> bool:
    """Whether the tables are what was stored last."""
    stored = connection.execute(_WHERE, (NAME,)).fetchone()
    return stored is None or bool(stored[0] == digest_of(connection, queries))


@contextmanager
def named_refusals(path: Path) -> Iterator[None]:
    """Name what SQLite finds wrong with a file while it is used; raises as `refusal` says."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise refusal(path, error) from error


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All of the body or nothing; raises as `refusal` says."""
    with named_refusals(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has ended it already
                connection.execute("ROLLBACK")
            raise


def refusal(path: Path, error: sqlite3.DatabaseError | None) -> StateError:
    """What to raise for a file that does not open (its error) or whose digest is another (None)."""
    if error is not None and getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_DISK:
        return StateError(f"{path}: {error}; free space or make it writable, then restart")
    what = "is not what was written" if error is None else f"does not read ({error})"
    return StateDamagedError(f"{path} {what}; delete it and its -wal, and it is rebuilt from the log")
