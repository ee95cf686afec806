"""One partition of the embedded log: one SQLite file in WAL mode.

Layout (`PRAGMA user_version` = 2):

    frames(last_offset PRIMARY KEY, first_offset, timestamp_ms, tombstones, offsets, keys, body, checksum)
                                                    see `connectors.log.embedded.frames`; checksum: xxh3_64 of all else,
                                                    as a signed integer
    log(begin_offset, clean_to, clean_records)      one row
    fences(owner PRIMARY KEY, epoch, processes)     who may append, see `connectors.log.owners`

Beside it lies `<partition>.end`, see `connectors.log.embedded.end_note`: a file that ends below what was acknowledged
does not open.

- The next offset is one past the newest frame, or `begin_offset` if retention has removed every frame.
- `timestamp_ms` never falls from frame to frame: an append whose clock is behind takes the newest frame's time.
- `clean_to`: compaction has made keys unique below this offset; `clean_records` is what it left there.
- Compaction never touches the newest frame, so the highest offset is always present.
- Without compaction each frame begins where the last one ended; a reader that finds a gap refuses.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from connectors.log.embedded.end_note import EndNote, highest_note
from connectors.log.embedded.frames import Block, Frame, checksum_of, decode_offsets
from connectors.log.interface import Claim
from state.disk.checkpoints import Checkpoints
from state.disk.files import draft_of, publish
from state.model.errors import LogError, LogUnavailableError, StateDamagedError, StateFencedError, StateVersionError

FORMAT = 2
PAGE_BYTES = 8192

_SETTINGS = f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA user_version = {FORMAT};"
_SCHEMA = """
CREATE TABLE frames (
  last_offset INTEGER PRIMARY KEY, first_offset INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL,
  tombstones INTEGER NOT NULL, offsets BLOB, keys BLOB NOT NULL, body BLOB NOT NULL, checksum INTEGER
);
CREATE TABLE log (begin_offset INTEGER NOT NULL, clean_to INTEGER NOT NULL, clean_records INTEGER NOT NULL);
INSERT INTO log VALUES (0, 0, 0);
CREATE TABLE fences (owner TEXT PRIMARY KEY, epoch INTEGER NOT NULL, processes INTEGER NOT NULL);
"""
_INSERT = "INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_APPEND = """INSERT INTO frames SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE (SELECT max(last_offset) FROM frames) = ?
  AND NOT EXISTS (SELECT 1 FROM fences WHERE (owner = ? OR (owner = ? AND processes <= ?)) AND epoch > ?)"""
_ALONE_MAX_BYTES = 256 << 10
"""SQLite copies what such a statement stores; more goes as a transaction of several."""
_NO_CLAIM = ("", "", 0, 0)
_NONE = (-1, 0)
"""Of no frame."""
_TRIES = 3
_CLAIM = """INSERT INTO fences VALUES (?, ?, ?) ON CONFLICT(owner) DO UPDATE
  SET epoch = excluded.epoch, processes = excluded.processes WHERE epoch < excluded.epoch"""
_FENCE = "SELECT max(epoch) FROM fences WHERE owner = ? OR (owner = ? AND processes <= ?)"
_FROM = "SELECT * FROM frames WHERE last_offset >= ? ORDER BY last_offset"
_NEWEST = "SELECT last_offset, timestamp_ms FROM frames ORDER BY last_offset DESC LIMIT 1"
_BOUNDS = "SELECT begin_offset, (SELECT max(last_offset) FROM frames) FROM log"
_WHOLE_FROM = "SELECT max(begin_offset, clean_to) FROM log"
_TIME_OF = "SELECT last_offset, timestamp_ms FROM frames WHERE last_offset >= ? ORDER BY last_offset LIMIT 1"
_FIRST_SLEEP_S, _LAST_SLEEP_S = 0.0002, 0.005
_CACHE_KIB = 64
"""Of a connection. A process has up to 150, and nobody reads a page of a log twice; by itself SQLite takes 190 KiB for
each as soon as it is opened, and up to 2 MiB with what goes through it.
"""

T = TypeVar("T")


def create(path: Path) -> None:
    """Make an empty partition file, unless there is one already; safe against other processes doing the same."""
    if path.exists():
        return
    with draft_of(path) as draft:
        connection = sqlite3.connect(draft, isolation_level=None)
        connection.executescript(_SETTINGS + _SCHEMA)
        connection.close()
        publish(draft, path)


def _configured(connection: sqlite3.Connection, sync_full: bool, wal_bytes_max: int) -> int:
    """Set a connection up and give the file's version; even this is refused while another process closes the file."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if sync_full else 'NORMAL'}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {wal_bytes_max // PAGE_BYTES}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA shrink_memory")  # gives back the pages that opening took
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _asked(claim: Claim) -> tuple[str, str, int]:
    """Of whose claims may end this one: the places of the two, and from how many processes on."""
    return claim.owner, f"{claim.flow}/0", claim.process


def _is_sound(frame: Frame, checksum: object) -> bool:
    try:
        return checksum_of(frame) == checksum
    except (TypeError, struct.error):  # a damaged page gives values of any kind, NULL too
        return False


def _who_writes(path: Path) -> str:
    """Who holds the write lock, byte 120 of the index of the write-ahead log; the kernel knows, on Linux."""
    try:
        inode = path.with_name(f"{path.name}-shm").stat().st_ino
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return ""
    pids = [lock[4] for lock in locks if lock[3] == "WRITE" and lock[5].endswith(f":{inode}") and lock[6] == "120"]
    return f" by process {pids[0]}; if it is stopped, continue it or end it with kill -9" if pids else ""


class PartitionFile:
    """A connection to the file. Not thread-safe; any number of them in any number of processes may be open at once."""

    def __init__(
        self, path: Path, *, deadline: timedelta, sync_full: bool, wal_bytes_max: int, gapless: bool = False
    ) -> None:
        """Open an existing file. `gapless`: no compaction ever leaves room between its frames.

        :raises StateVersionError: a newer version of this program wrote it.
        :raises StateDamagedError: acknowledged records are missing.
        :raises LogUnavailableError: it cannot be opened.
        """
        self.path, self.gapless = path, gapless
        self._deadline_s = deadline.total_seconds()
        self._note: EndNote | None = None
        self._checkpoints = Checkpoints(path)
        self._newest = _NONE
        """Last offset and time of the newest frame, as far as this connection knows."""
        with self._named_errors():
            noted = highest_note(path)
        self._connection = self._open(sync_full, wal_bytes_max)
        self._check_end(noted)

    def _open(self, sync_full: bool, wal_bytes_max: int) -> sqlite3.Connection:
        if not self.path.exists():
            raise self._damaged("the file is missing")
        with self._named_errors():
            uri = f"{self.path.absolute().as_uri()}?mode=rw"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=0)
            version = self._patiently(lambda: _configured(connection, sync_full, wal_bytes_max))
        if version != FORMAT:
            raise StateVersionError(f"{self.path}: format {version}, this program knows {FORMAT}")
        return connection

    def _check_end(self, noted: int) -> None:
        """`noted` was read before, so records appended meanwhile do no harm."""
        end = self.bounds()[1]
        if end < noted:
            self._connection.close()
            raise StateDamagedError(
                f"{self.path}: ends at offset {end}, but everything below {noted} was acknowledged: its end is torn "
                "off; restore the data directory from a snapshot. Without one, delete "
                f"{self.path.with_suffix('.end').name}: new records get the offsets of those that are lost, and flows "
                "that remember these pass over as many"
            )

    def close(self) -> None:
        """Close the connection."""
        self._checkpoints.finish()
        self._connection.close()
        if self._note is not None:
            self._note.close()

    def bounds(self) -> tuple[int, int]:
        """Give the oldest offset that may be read, and the next one to be written."""
        begin, last = self._one(_BOUNDS)
        return begin, begin if last is None else max(begin, last + 1)

    def append(self, blocks: Sequence[Block], now_ms: int, claim: Claim | None = None) -> int:
        """Store the blocks in one transaction and give the offset of their first record.

        :raises StateFencedError: a later claim than this one holds; nothing is stored.
        """
        first = self._append_alone(blocks[0], now_ms, claim) if len(blocks) == 1 else None
        if first is None:
            first = self._append_all(blocks, now_ms, claim)
        self._note_end(first + sum(block.records for block in blocks))
        self._checkpoints.wrote(sum(len(block.keys) + len(block.body) for block in blocks) // PAGE_BYTES)
        return first

    def _append_alone(self, block: Block, now_ms: int, claim: Claim | None) -> int | None:
        """Store it by one statement; None: it is too large, or the first frame, or others always came before.

        Between the statements of a transaction a process may wait for its interpreter or for a processor, and then
        whoever appends here waits with it, also one that is more urgent. Within a statement it waits for neither.
        """
        if len(block.body) > _ALONE_MAX_BYTES:
            return None
        asked = _NO_CLAIM if claim is None else (*_asked(claim), claim.epoch)
        for _ in range(_TRIES):
            before, newest_ms = self._newest
            last, timestamp_ms = before + block.records, max(now_ms, newest_ms)
            frame = Frame(last, before + 1, timestamp_ms, block.tombstones, None, block.keys, block.body)
            if self.change(_APPEND, (*frame, checksum_of(frame), before, *asked)):
                self._newest = last, timestamp_ms
                return before + 1
            newest = self._one(_NEWEST)
            if newest is None:
                return None
            self._newest = newest
        return None

    def _append_all(self, blocks: Sequence[Block], now_ms: int, claim: Claim | None) -> int:
        with self.transaction():
            if claim is not None:
                self._check_claim(claim)
            newest = self._connection.execute(_NEWEST).fetchone()
            first = newest[0] + 1 if newest else self._connection.execute(_BOUNDS).fetchone()[0]
            timestamp_ms = max(now_ms, newest[1]) if newest else now_ms
            offset = first
            for block in blocks:
                last = offset + block.records - 1
                self.put(Frame(last, offset, timestamp_ms, block.tombstones, None, block.keys, block.body))
                offset = last + 1
        self._newest = offset - 1, timestamp_ms
        return int(first)

    def claim(self, claim: Claim) -> None:
        """From now on no append under an earlier claim of the place succeeds here.

        :raises StateFencedError: a later claim holds already.
        """
        with self.transaction():
            self._check_claim(claim)
            self._connection.execute(_CLAIM, (claim.owner, claim.epoch, claim.processes))

    def _check_claim(self, claim: Claim) -> None:
        (epoch,) = self._connection.execute(_FENCE, _asked(claim)).fetchone()
        if epoch is not None and epoch > claim.epoch:
            raise StateFencedError(
                f"{claim.owner}: a later process (epoch {epoch}, this one has {claim.epoch}) owns it"
            )

    def _note_end(self, end: int) -> None:
        with self._named_errors():
            self._note = self._note or EndNote(self.path)
            self._note.write(end)

    def frames(self, offset: int, limit: int) -> list[Frame]:
        """Read up to `limit` frames from the one on that holds the offset, or the next one after it.

        :raises StateDamagedError: a frame is not what was written, or one is missing.
        """
        rows = self._all(f"{_FROM} LIMIT ?", (offset, limit))
        frames = [Frame._make(row[:-1]) for row in rows]
        for frame, row in zip(frames, rows, strict=True):
            if not _is_sound(frame, row[-1]):
                raise self._damaged(f"the records from offset {frame.first_offset} on are not what was written")
        if self.gapless:
            self._check_gaps(offset, frames)
        return frames

    def _check_gaps(self, offset: int, frames: Sequence[Frame]) -> None:
        expected = offset
        for frame in frames:
            if frame.first_offset > expected >= self._one(_WHOLE_FROM)[0]:
                raise self._damaged(f"the records from offset {expected} to {frame.first_offset} are missing")
            expected = frame.last_offset + 1

    def _damaged(self, what: str) -> StateDamagedError:
        return StateDamagedError(f"{self.path}: {what}; restore the file from a copy")

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
        return decode_offsets(found[0])[0] if found else end

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

    def change(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """One statement as a transaction of its own; gives the number of rows that it changed."""
        with self._named_errors():
            return self._patiently(lambda: self._connection.execute(sql, parameters).rowcount)

    def put(self, frame: Frame) -> None:
        """Replace a frame inside a transaction."""
        self._connection.execute(_INSERT, (*frame, checksum_of(frame)))

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
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            raise LogUnavailableError(f"{self.path}: {error}{_who_writes(self.path) if busy else ''}") from error
        except sqlite3.ProgrammingError as error:
            raise LogError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error
        except OSError as error:
            raise LogUnavailableError(f"{self.path}: {error.strerror}") from error
