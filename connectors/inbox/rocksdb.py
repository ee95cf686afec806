"""Inbox store on RocksDB: one database per partition of topic `inbox`, under `DIR/state/inbox/<partition>`.

Guarantee: a commit is one write batch with the log flushed to the disk, so rows and the marks of what they include are
never apart. Other processes read through a secondary instance, which follows the writer's log and never writes there.
Keys and values: `connectors/inbox/keys.py`, `state/inbox/codec.py`.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from rocksdict import (
    AccessType,
    Cache,
    DBRecoveryMode,
    Options,
    Rdict,
    RdictIter,
    WriteBatch,
)

from connectors.inbox import keys
from connectors.inbox.reader import TableInboxReader
from connectors.inbox.store import TableInboxStore, inbox_export
from connectors.inbox.table import InboxTable, KeyedBytes, TableBatch
from state.disk.exports import ExportSource
from state.disk.rocksdb import (
    export_view,
    lookup_table,
    named_damage,
    opened_by,
    prefixed_rows,
    refuse_remains,
    stored_row,
    stored_rows,
    synced,
)
from state.inbox.slices import BlockBounds
from state.model.keys import partition_of_group

T = TypeVar("T")
_SYNCED = synced()
_BLOCK_CACHE_BYTES = 32 << 20
"""Blocks of rows, indexes and filters kept in memory, of all partitions that a process has open."""
_WRITE_BUFFER_BYTES = 8 << 20
"""Rows of a partition kept in memory before they are written as a file."""


@cache
def _block_cache() -> Cache:
    return Cache(_BLOCK_CACHE_BYTES)


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())  # see state.disk.rocksdb
    options.set_keep_log_file_num(2)
    options.set_max_open_files(-1)
    options.set_block_based_table_factory(lookup_table(_block_cache()))
    return options


class RocksTable:
    """See `connectors.inbox.table.InboxTable`."""

    def __init__(self, database: Rdict) -> None:
        self.database = database

    @property
    def name(self) -> str:
        """The directory."""
        return self.database.path()

    def values(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        """Look them up."""
        if len(wanted) == 1:
            return [stored_row(self.database, wanted[0])]
        return stored_rows(self.database, wanted)

    def rows(self, prefix: bytes, start: bytes | None = None, *, backwards: bool = False) -> Iterator[KeyedBytes]:
        """Read on from one seek."""
        return prefixed_rows(self.database, prefix, start, backwards=backwards)

    def rows_of_each(self, prefixes: Sequence[bytes]) -> list[list[KeyedBytes]]:
        """One after the other."""
        return [[*prefixed_rows(self.database, prefix)] for prefix in prefixes]

    def firsts(self, ranges: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """A seek for each."""
        with named_damage(self.name):
            cursor: RdictIter = self.database.iter()
            return [_first(cursor, prefix, start) for prefix, start in ranges]

    def write(self, batch: TableBatch, *, synced: bool = True) -> None:
        """One write batch."""
        written = WriteBatch(raw_mode=True)
        for prefix in batch.prefixes:
            written.delete_range(prefix, prefix + b"\xff")  # no name begins with this byte: it is not in UTF-8
        for key, value in batch.rows.items():
            if value is None:
                written.delete(key)
            else:
                written.put(key, value)
        self.database.write(written, _SYNCED if synced else None)


def _first(cursor: RdictIter, prefix: bytes, start: bytes) -> bytes:
    cursor.seek(start)
    if not cursor.valid():
        cursor.status()
        return b""
    key: bytes = cursor.key()
    value: bytes = cursor.value()
    return value if key.startswith(prefix) else b""


def shard_path(directory: Path, partition: int) -> Path:
    """Where the store of a partition lies under the inbox directory."""
    return directory / str(partition)


class RocksInboxStore(TableInboxStore):
    """See `connectors.inbox.interface.InboxStore`. The caller holds the lock of the state directory."""

    def __init__(self, path: Path, bounds: BlockBounds | None = None) -> None:
        """Open or begin the store.

        :raises StateDamagedError: RocksDB cannot open it; restore it, or delete it to have it rebuilt from the log.
        :raises StateVersionError: it was written by a newer program.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            refuse_remains(path)
        with named_damage(path):
            self._database = opened_by(_options(), path)
        super().__init__(RocksTable(self._database), bounds)

    def export_source(self, partition: int) -> ExportSource:
        """What an export of this store is made of."""
        return inbox_export(partition, partial(export_view, self._database))

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def stored_offset(path: Path) -> int:
    """The offset at which the owner of this store goes on; 0 where there is none yet. Opens it to read only."""
    if not (path / "CURRENT").exists():
        return 0
    with named_damage(path):
        database = opened_by(_options(), path, AccessType.read_only(False))
    try:
        return int.from_bytes(stored_row(database, keys.OFFSET_KEY) or b"", "big")
    finally:
        database.close()


class RocksInboxReader(TableInboxReader):
    """See `connectors.inbox.interface.InboxReader`: secondary instances over all partitions' stores."""

    def __init__(self, directory: Path, partitions: int, secondary: Path) -> None:
        """Read the stores under `directory`; `secondary` is a directory of this reader's own, removed at `close`."""
        self._directory, self._partitions, self._secondary = directory, partitions, secondary
        self._open: dict[int, Rdict] = {}
        self._identities: dict[int, int] = {}
        self._caught_up: dict[int, frozenset[tuple[str, int]]] = {}
        self._lock = threading.Lock()

    def _ask(self, group: int, question: Callable[[InboxTable], T], nothing: T) -> T:
        """Nothing catches up meanwhile, so all of it is of one commit."""
        with self._lock:
            database = self._current(group)
            return nothing if database is None else question(RocksTable(database))

    def close(self) -> None:
        """Close the instances and remove their directory."""
        with self._lock:
            for database in self._open.values():
                database.close()
            self._open.clear()
        shutil.rmtree(self._secondary, ignore_errors=True)

    def _current(self, group: int) -> Rdict | None:
        """The group's database, caught up with its writer; None while there is none."""
        partition = partition_of_group(group, self._partitions)
        path = shard_path(self._directory, partition)
        identity = _identity(path)
        if identity is None:
            return None
        database = self._open.get(partition)
        if database is None or self._identities[partition] != identity:
            database = self._open_secondary(path, partition)
            self._identities[partition] = identity
        files = _written_files(path)  # before: what is written meanwhile is for the next time
        if not files or files != self._caught_up.get(partition):
            database.try_catch_up_with_primary()
            self._caught_up[partition] = files
        return database

    def _open_secondary(self, path: Path, partition: int) -> Rdict:
        """Opened again where a restored store has taken the place of the one that was read."""
        if partition in self._open:
            self._open.pop(partition).close()
        self._caught_up.pop(partition, None)
        own = self._secondary / str(partition)
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        database = opened_by(_options(), path, AccessType.secondary(str(own)))
        self._open[partition] = database
        return database


def _identity(path: Path) -> int | None:
    """Of the database in a directory; None while there is none."""
    try:
        return path.stat().st_ino if (path / "CURRENT").exists() else None
    except FileNotFoundError:
        return None


def _written_files(path: Path) -> frozenset[tuple[str, int]]:
    """What every commit makes longer, with sizes: to catch up where nothing was written takes 2 ms, to look 20 us."""
    try:
        with os.scandir(path) as entries:
            written = [each for each in entries if each.name.endswith(".log") or each.name.startswith("MANIFEST")]
            return frozenset((each.name, each.stat().st_size) for each in written)
    except FileNotFoundError:  # removed while we look
        return frozenset()
