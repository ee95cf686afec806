"""The owner's side of an inbox store, on whatever table it lies (`connectors/inbox/table.py`)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, takewhile

from connectors.inbox import keys
from connectors.inbox.interface import CountedItems, RowPosition
from connectors.inbox.slices import (
    fold_blocks,
    group_slices,
    slice_events,
    slice_numbers,
    slice_users,
    slices_of_each,
    untaken,
    write_slices,
)
from connectors.inbox.table import InboxTable, KeyedBytes, TableBatch, value_of
from state.disk.exports import ExportedOffset, ExportSource, RowView, rows_from
from state.inbox.codec import decode_head, decode_row, encode_head, encode_row, row_count
from state.inbox.slices import BlockBounds, decode_group_slices, name_of
from state.inbox.values import (
    InboxHead,
    InboxTotals,
    Mark,
    SetAside,
    ShardCommit,
    SliceEvent,
    SliceRange,
    StoredRow,
    UserChanges,
)
from state.model.errors import StateVersionError
from state.model.keys import key_group

_SLICE_EFFORT = 8
"""To count a slice takes as long as so many items of rows (measured)."""


class TableInboxStore(ABC):
    """See `connectors.inbox.interface.InboxStore`; what remains to be said is where the table comes from."""

    def __init__(self, table: InboxTable, bounds: BlockBounds | None = None) -> None:
        """Begin the store where there is none.

        :raises StateVersionError: it was written by a newer program.
        """
        self._table, self._bounds = table, bounds or BlockBounds()
        self._prepared: dict[str, tuple[InboxHead, list[StoredRow]]] = {}
        self._prepared_slices: dict[tuple[str, int], list[SliceEvent]] = {}
        version, now = value_of(table, keys.VERSION_KEY), bytes([keys.LAYOUT_VERSION])
        if version is None or version in [bytes([earlier]) for earlier in keys.EARLIER_LAYOUTS]:
            batch = TableBatch()
            batch.put(keys.VERSION_KEY, now)
            table.write(batch, synced=False)
        elif version != now:
            raise StateVersionError(f"{table.name}: inbox layout {version!r}, this program knows {keys.LAYOUT_VERSION}")

    @abstractmethod
    def export_source(self, partition: int) -> ExportSource:
        """What an export of this store is made of."""

    @abstractmethod
    def close(self) -> None:
        """Free the store."""

    def prepare(self, users: Mapping[str, int | None], *, slices: bool = True) -> None:
        """Read all heads, then all rows, then all slices."""
        absent = [user for user, above in users.items() if above is None]
        values = self._table.values([keys.head_key(user) for user in absent]) if absent else []
        heads = {user: decoded_head(value) for user, value in zip(absent, values, strict=True)}
        known = [user for user, head in heads.items() if head.rows]
        rows = self._table.rows_of_each([keys.rows_prefix(user) for user in known]) if known else []
        self._prepared |= {user: (head, []) for user, head in heads.items()}
        self._prepared |= {user: (heads[user], _stored(each)) for user, each in zip(known, rows, strict=True)}
        above = {user: heads[user].merged if given is None else given for user, given in users.items()}
        self._prepared_slices |= slices_of_each(self._table, above) if slices and above else {}

    def load(self, user: str) -> tuple[InboxHead, list[StoredRow]]:
        """Give a user's head and all rows."""
        if (prepared := self._prepared.pop(user, None)) is not None:
            return prepared
        head = decoded_head(value_of(self._table, keys.head_key(user)))
        return head, _stored(self._table.rows(keys.rows_prefix(user))) if head.rows else []

    def marks(self) -> dict[tuple[str, int], Mark]:
        """Give the marks per (source, group)."""
        return {keys.parse_mark_key(key): keys.decode_mark(value) for key, value in self._table.rows(b"m")}

    def totals(self) -> dict[int, InboxTotals]:
        """Give the running totals per group."""
        return {key[1]: keys.decode_totals(value) for key, value in self._table.rows(b"t")}

    def set_aside(self) -> dict[int, SetAside]:
        """Give the records that could not be applied, by offset."""
        return {int.from_bytes(key[1:], "big"): keys.decode_set_aside(value) for key, value in self._table.rows(b"x")}

    def slice_ranges(self) -> dict[int, SliceRange]:
        """Give the slices that are kept, by group."""
        return {key[1]: decode_group_slices(value).range for key, value in self._table.rows(b"g")}

    def slices(self, user: str, above: int) -> list[SliceEvent]:
        """Give the kept slices that a user is in, numbered above `above`, in order."""
        if (prepared := self._prepared_slices.pop((user, above), None)) is not None:
            return prepared
        group = key_group(user)
        numbers = slice_numbers(self._table, user, group_slices(self._table, group), above)
        return slice_events(self._table, group, numbers) if numbers else []

    def slice_event(self, group: int, number: int) -> SliceEvent:
        """Give a kept slice."""
        return slice_events(self._table, group, [number])[0]

    def slices_before(self, group: int, at: int) -> list[tuple[int, int]]:
        """Give (number, members left) of the kept slices older than `at`, in order."""
        old = takewhile(lambda each: each[0].at < at, untaken(self._table, group))
        return [(event.number, left) for event, left in old]

    def count_items(self, group: int) -> CountedItems:
        """Count the items in the rows of a group, row by row, and those in slices alone."""
        return counted_items(self._table, group)

    def users(self, group: int, after: str | None, limit: int, *, in_slices: bool = False) -> list[str]:
        """Give up to `limit` users of a group in byte order, behind `after`."""
        start = None if after is None else keys.head_key(after) + b"\0"
        found = self._table.rows(keys.head_prefix(group), start)
        users = [keys.user_of_head(key) for key, _ in islice(found, limit)]
        if in_slices:
            users = sorted({*users, *slice_users(self._table, group, after, limit)}, key=name_of)[:limit]
        return users

    def offset(self) -> int:
        """Give the offset of the last commit."""
        return int.from_bytes(value_of(self._table, keys.OFFSET_KEY) or b"", "big")

    def commit(self, commit: ShardCommit) -> None:
        """One batch, durable."""
        batch = TableBatch()
        self._prepared, self._prepared_slices = {}, {}
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
        groups = write_slices(batch, self._table, commit.slices, self._bounds.chunk_names)
        batch.put(keys.OFFSET_KEY, commit.offset.to_bytes(8, "big"))
        self._table.write(batch)
        fold_blocks(self._table, groups, self._bounds)
        for changes in commit.users.values():
            for row in changes.written:
                row.stored_at = row.at


def inbox_export(partition: int, view: Callable[[], RowView]) -> ExportSource:
    """What an export of the store of a partition is made of."""
    return ExportSource(f"inbox/{partition}", "partition", view, lambda view: _included(view, partition))


def _included(view: RowView, partition: int) -> list[ExportedOffset]:
    """Nothing before the first commit."""
    found = next(rows_from(view, keys.OFFSET_KEY), None)
    if found is None or found[0] != keys.OFFSET_KEY:
        return []
    return [ExportedOffset("inbox", partition, int.from_bytes(found[1], "big"))]


def decoded_head(value: bytes | None) -> InboxHead:
    """A user's head; that of an unknown one is empty."""
    return InboxHead() if value is None else decode_head(value)


def counted_items(table: InboxTable, group: int) -> CountedItems:
    """Row by row, and slice by slice."""
    rows = sum(row_count(value) for _, value in table.rows(keys.group_rows_prefix(group)))
    slices = [left for _, left in untaken(table, group)]
    return CountedItems(rows + sum(slices), rows + _SLICE_EFFORT * len(slices))


def _stored(rows: Iterator[KeyedBytes] | list[KeyedBytes]) -> list[StoredRow]:
    found = [decode_row(value) for _, value in rows]
    for row in found:
        row.stored_at = row.at
    return found


def _write_user(batch: TableBatch, user: str, changes: UserChanges) -> None:
    batch.put(keys.head_key(user), encode_head(changes.head))
    prefix = keys.rows_prefix(user)
    for row in changes.removed:
        if row.stored_at is not None:
            batch.delete(keys.inbox_row_key(prefix, RowPosition(row.stored_at, row.number)))
    for row in changes.written:
        if row.stored_at not in (None, row.at):
            batch.delete(keys.inbox_row_key(prefix, RowPosition(row.stored_at or 0, row.number)))
        batch.put(keys.inbox_row_key(prefix, RowPosition(row.at, row.number)), encode_row(row))
