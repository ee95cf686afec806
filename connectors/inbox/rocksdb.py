"""Inbox store on RocksDB: one database per partition of topic `inbox`, under `DIR/state/inbox/<partition>`.

Guarantee: a commit is one write batch with the log flushed to the disk, so rows and the marks of what they include are
never apart. Other processes read through a secondary instance, which follows the writer's log and never writes there.
Keys and values: `connectors/inbox/keys.py`, `state/inbox/codec.py`.
"""

import heapq
import os
import shutil
import threading
from collections.abc import Collection, Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBRecoveryMode,
    Options,
    Rdict,
    RdictIter,
    WriteBatch,
)

from connectors.inbox import keys
from connectors.inbox.interface import CountedItems, InboxAudit, LoggedRead, RowPage, RowPosition
from connectors.inbox.pages import first_rows, honouring, rows_named, unread_after
from connectors.inbox.slices import (
    fold_blocks,
    fresh_rows,
    slice_events,
    slice_numbers,
    slice_users,
    untaken,
    write_slices,
)
from state.disk.exports import ExportedOffset, ExportSource, rows_from
from state.disk.rocksdb import named_damage, prefixed_rows, refuse_remains, stored_row, synced
from state.inbox.codec import decode_head, decode_row, encode_head, encode_row, row_count
from state.inbox.slices import BlockBounds, decode_group_slices, name_of
from state.inbox.values import (
    InboxHead,
    InboxRow,
    InboxTotals,
    Mark,
    SetAside,
    ShardCommit,
    SliceEvent,
    SliceRange,
    StoredRow,
    UserChanges,
    row_view,
)
from state.model.errors import StateVersionError
from state.model.keys import key_group, partition_of_group

_BLOCK_CACHE_BYTES = 32 << 20
"""Blocks of rows kept in memory."""
_WRITE_BUFFER_BYTES = 16 << 20
"""Rows kept in memory before they are written as a file."""
_SLICE_EFFORT = 8
"""To count a slice takes as long as so many items of rows (measured)."""


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())  # see state.disk.rocksdb
    options.set_keep_log_file_num(2)
    options.set_max_open_files(-1)
    table = BlockBasedOptions()
    table.set_bloom_filter(10, False)
    table.set_block_cache(Cache(_BLOCK_CACHE_BYTES))
    options.set_block_based_table_factory(table)
    return options


def _load_head(database: Rdict, user: str) -> InboxHead:
    value = stored_row(database, keys.head_key(user))
    return InboxHead() if value is None else decode_head(value)


def _stored(value: bytes) -> StoredRow:
    row = decode_row(value)
    row.stored_at = row.at
    return row


def _marks(database: Rdict) -> dict[tuple[str, int], Mark]:
    return {keys.parse_mark_key(key): keys.decode_mark(value) for key, value in prefixed_rows(database, b"m")}


def _count_items(database: Rdict, group: int) -> CountedItems:
    rows = sum(row_count(value) for _, value in prefixed_rows(database, keys.group_rows_prefix(group)))
    slices = [left for _, left in untaken(database, group)]
    return CountedItems(rows + sum(slices), rows + _SLICE_EFFORT * len(slices))


def _check_layout(database: Rdict, path: Path) -> None:
    version = stored_row(database, keys.VERSION_KEY)
    if version in [bytes([earlier]) for earlier in keys.EARLIER_LAYOUTS]:
        database.put(keys.VERSION_KEY, bytes([keys.LAYOUT_VERSION]))
    elif version != bytes([keys.LAYOUT_VERSION]):
        raise StateVersionError(f"{path}: inbox layout {version!r}, this program knows {keys.LAYOUT_VERSION}")


def shard_path(directory: Path, partition: int) -> Path:
    """Where the store of a partition lies under the inbox directory."""
    return directory / str(partition)


class RocksInboxStore:
    """See `connectors.inbox.interface.InboxStore`. The caller holds the lock of the state directory."""

    def __init__(self, path: Path, bounds: BlockBounds | None = None) -> None:
        """Open or begin the store.

        :raises StateDamagedError: RocksDB cannot open it; restore it, or delete it to have it rebuilt from the log.
        :raises StateVersionError: it was written by a newer program.
        """
        self._bounds = bounds or BlockBounds()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            refuse_remains(path)
        with named_damage(path):
            self._database = Rdict(str(path), _options())
        if stored_row(self._database, keys.VERSION_KEY) is None:
            self._database.put(keys.VERSION_KEY, bytes([keys.LAYOUT_VERSION]))
        _check_layout(self._database, path)

    def load(self, user: str) -> tuple[InboxHead, list[StoredRow]]:
        """Give a user's head and all rows."""
        head = _load_head(self._database, user)
        if head.rows == 0:
            return head, []
        return head, [_stored(value) for _, value in prefixed_rows(self._database, keys.rows_prefix(user))]

    def marks(self) -> dict[tuple[str, int], Mark]:
        """Give the marks per (source, group)."""
        return _marks(self._database)

    def totals(self) -> dict[int, InboxTotals]:
        """Give the running totals per group."""
        return {key[1]: keys.decode_totals(value) for key, value in prefixed_rows(self._database, b"t")}

    def set_aside(self) -> dict[int, SetAside]:
        """Give the records that could not be applied, by offset."""
        found = prefixed_rows(self._database, b"x")
        return {int.from_bytes(key[1:], "big"): keys.decode_set_aside(value) for key, value in found}

    def slice_ranges(self) -> dict[int, SliceRange]:
        """Give the slices that are kept, by group."""
        return {key[1]: decode_group_slices(value).range for key, value in prefixed_rows(self._database, b"g")}

    def slices(self, user: str, above: int) -> list[SliceEvent]:
        """Give the kept slices that a user is in, numbered above `above`, in order."""
        return slice_events(self._database, key_group(user), slice_numbers(self._database, user, above))

    def slices_before(self, group: int, at: int) -> list[tuple[int, int]]:
        """Give (number, members left) of the kept slices older than `at`, in order."""
        old = takewhile(lambda each: each[0].at < at, untaken(self._database, group))
        return [(event.number, left) for event, left in old]

    def count_items(self, group: int) -> CountedItems:
        """Count the items in the rows of a group, row by row, and those in slices alone."""
        return _count_items(self._database, group)

    def users(self, group: int, after: str | None, limit: int, *, in_slices: bool = False) -> list[str]:
        """Give up to `limit` users of a group in byte order, behind `after`."""
        start = None if after is None else keys.head_key(after) + b"\0"
        found = prefixed_rows(self._database, keys.head_prefix(group), start)
        users = [keys.user_of_head(key) for key, _ in islice(found, limit)]
        if in_slices:
            users = sorted({*users, *slice_users(self._database, group, after, limit)}, key=name_of)[:limit]
        return users

    def offset(self) -> int:
        """Give the offset of the last commit."""
        return int.from_bytes(stored_row(self._database, keys.OFFSET_KEY) or b"", "big")

    def commit(self, commit: ShardCommit) -> None:
        """One write batch, flushed."""
        batch = WriteBatch(raw_mode=True)
        for user, changes in commit.users.items():
            _write_user(batch, user, changes)
        for (source, group), mark in commit.marks.items():
            batch.put(keys.mark_key(source, group), keys.encode_mark(mark))
        for group, totals in commit.totals.items():
            batch.put(keys.totals_key(group), keys.encode_totals(totals))
        for offset, record in commit.set_aside.items():
            if record is None:
                batch.delete(keys.set_aside_key(offset))
            else:
                batch.put(keys.set_aside_key(offset), keys.encode_set_aside(record))
        write_slices(batch, self._database, commit.slices, self._bounds.chunk_names)
        batch.put(keys.OFFSET_KEY, commit.offset.to_bytes(8, "big"))
        self._database.write(batch, synced())
        fold_blocks(self._database, commit.slices, self._bounds)
        for changes in commit.users.values():
            for row in changes.written:
                row.stored_at = row.at

    def export_source(self, partition: int) -> ExportSource:
        """What an export of this store is made of."""
        return ExportSource(
            f"inbox/{partition}", "partition", self._database.iter, lambda view: _included(view, partition)
        )

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _included(view: RdictIter, partition: int) -> list[ExportedOffset]:
    """Nothing before the first commit."""
    found = next(rows_from(view, keys.OFFSET_KEY), None)
    if found is None or found[0] != keys.OFFSET_KEY:
        return []
    return [ExportedOffset("inbox", partition, int.from_bytes(found[1], "big"))]


def _write_user(batch: WriteBatch, user: str, changes: UserChanges) -> None:
    batch.put(keys.head_key(user), encode_head(changes.head))
    for row in changes.removed:
        if row.stored_at is not None:
            batch.delete(keys.inbox_row_key(user, RowPosition(row.stored_at, row.number)))
    for row in changes.written:
        if row.stored_at not in (None, row.at):
            batch.delete(keys.inbox_row_key(user, RowPosition(row.stored_at or 0, row.number)))
        batch.put(keys.inbox_row_key(user, RowPosition(row.at, row.number)), encode_row(row))


def stored_offset(path: Path) -> int:
    """The offset at which the owner of this store goes on; 0 where there is none yet. Opens it to read only."""
    if not (path / "CURRENT").exists():
        return 0
    with named_damage(path):
        database = Rdict(str(path), _options(), access_type=AccessType.read_only(False))
    try:
        return int.from_bytes(stored_row(database, keys.OFFSET_KEY) or b"", "big")
    finally:
        database.close()


class RocksInboxReader:
    """See `connectors.inbox.interface.InboxReader`: secondary instances over all partitions' stores."""

    def __init__(self, directory: Path, partitions: int, secondary: Path) -> None:
        """Read the stores under `directory`; `secondary` is a directory of this reader's own, removed at `close`."""
        self._directory, self._partitions, self._secondary = directory, partitions, secondary
        self._open: dict[int, Rdict] = {}
        self._identities: dict[int, int] = {}
        self._caught_up: dict[int, frozenset[tuple[str, int]]] = {}
        self._lock = threading.Lock()

    def page(
        self, user: str, limit: int, before: RowPosition | None = None, *, archived: bool = False,
        said: Sequence[LoggedRead] = (),
    ) -> RowPage:  # fmt: skip
        """One seek, then as many steps as rows, and as archived ones between them."""
        with self._lock:
            database = self._current(key_group(user))
            if database is None:
                return RowPage((), None, 0, None)
            head = _load_head(database, user)
            fresh = slice_numbers(database, user, head.merged)
            later = [each for each in said if each.offset > head.logged]
            unread = head.unread + len(fresh)
            if later:
                unread = unread_after(_newest_first(database, user, head, fresh, None), unread, later)
            rows = honouring(_newest_first(database, user, head, fresh, before), later)
            return first_rows(rows, head, unread, limit, archived=archived)

    def named(self, user: str, event_ids: Collection[str]) -> list[InboxRow]:
        """Look through the user's rows, newest first."""
        with self._lock:
            database = self._current(key_group(user))
            if database is None:
                return []
            head = _load_head(database, user)
            fresh = slice_numbers(database, user, head.merged)
            return rows_named(_newest_first(database, user, head, fresh, None), event_ids)

    def unread(self, user: str) -> int:
        """Give the number of unread rows."""
        with self._lock:
            database = self._current(key_group(user))
            if database is None:
                return 0
            head = _load_head(database, user)
            return head.unread + len(slice_numbers(database, user, head.merged))

    def row(self, user: str, event_id: str) -> InboxRow | None:
        """Look through the user's rows, newest first."""
        with self._lock:
            database = self._current(key_group(user))
            if database is None:
                return None
            head = _load_head(database, user)
            fresh = slice_numbers(database, user, head.merged)
            for _, row in _newest_first(database, user, head, fresh, None):
                if row.first_event_id == event_id or any(item.event_id == event_id for item in row.items):
                    return row_view(row)
        return None

    def applied(self, group: int) -> dict[str, Mark]:
        """Give the mark of each source for a group."""
        with self._lock:
            database = self._current(group)
            return {} if database is None else _applied(database, group)

    def audit(self, group: int) -> InboxAudit:
        """Count the rows of a group one by one; nothing catches up meanwhile, so all of it is of one commit."""
        with self._lock:
            database = self._current(group)
            if database is None:
                return InboxAudit(0, InboxTotals(), {})
            value = stored_row(database, keys.totals_key(group))
            totals = InboxTotals() if value is None else keys.decode_totals(value)
            return InboxAudit(_count_items(database, group).items, totals, _applied(database, group))

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
        options = _options()
        database = Rdict(str(path), options, access_type=AccessType.secondary(str(own)))
        self._open[partition] = database
        return database


def _newest_first(
    database: Rdict, user: str, head: InboxHead, fresh: Sequence[int], before: RowPosition | None
) -> Iterator[tuple[RowPosition, StoredRow]]:
    """A user's own rows, and those of slices (`fresh`) that are not among them yet."""
    start = None if before is None else keys.inbox_row_key(user, before) + b"\0"
    stored = prefixed_rows(database, keys.rows_prefix(user), start)
    own = ((keys.position_of_row(key), decode_row(value)) for key, value in stored)
    added = fresh_rows(database, key_group(user), fresh, head.next_number, before)
    return heapq.merge(own, added, key=lambda each: each[0], reverse=True)


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


def _applied(database: Rdict, group: int) -> dict[str, Mark]:
    found = prefixed_rows(database, b"m" + bytes([group]))
    return {keys.parse_mark_key(key)[0]: keys.decode_mark(value) for key, value in found}
