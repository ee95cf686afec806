"""The owner's side of an inbox store, on whatever table it lies (`connectors/inbox/table.py`)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice, takewhile

from connectors.inbox import keys
from connectors.inbox.interface import CountedItems
from connectors.inbox.rows import (
    heads_of,
    newest_windowed,
    newest_windowed_of_each,
    rows_in_order,
    subject_rows,
    write_user,
)
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
from connectors.inbox.table import InboxTable, TableBatch, value_of
from state.disk.exports import ExportedOffset, ExportSource, RowView, rows_from
from state.inbox.codec import row_count
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
    Subject,
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
        self._prepared: dict[str, InboxHead] = {}
        self._prepared_windowed: dict[tuple[str, Subject], StoredRow | None] = {}
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

    def prepare(
        self, users: Mapping[str, int | None], joined: Collection[tuple[str, Subject]] = (), *, slices: bool = True
    ) -> None:
        """Read all heads, then all rows that are joined, then all slices."""
        absent = [user for user, above in users.items() if above is None]
        heads = heads_of(self._table, absent) if absent else {}
        self._prepared |= heads
        wanted = [each for each in joined if each[0] not in heads or heads[each[0]].rows]
        self._prepared_windowed |= newest_windowed_of_each(self._table, wanted) if wanted else {}
        above = {user: heads[user].merged if given is None else given for user, given in users.items()}
        self._prepared_slices |= slices_of_each(self._table, above) if slices and above else {}

    def head(self, user: str) -> InboxHead:
        """Give a user's head."""
        prepared = self._prepared.pop(user, None)
        return heads_of(self._table, [user])[user] if prepared is None else prepared

    def stored_rows(self, user: str, *, oldest_first: bool = False) -> Iterator[StoredRow]:
        """Give a user's rows, newest first, or the other way round."""
        return rows_in_order(self._table, user, oldest_first=oldest_first)

    def subject_rows(self, user: str, subject: Subject) -> list[StoredRow]:
        """Give a user's rows of a subject."""
        return subject_rows(self._table, user, subject)

    def newest_windowed(self, user: str, subject: Subject) -> StoredRow | None:
        """Give the latest of a user's windowed rows of a subject."""
        if (user, subject) in self._prepared_windowed:
            return self._prepared_windowed.pop((user, subject))
        return newest_windowed(self._table, user, subject)

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
        self._prepared, self._prepared_windowed, self._prepared_slices = {}, {}, {}
        for user, changes in commit.users.items():
            write_user(batch, user, changes)
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


def counted_items(table: InboxTable, group: int) -> CountedItems:
    """Row by row, and slice by slice."""
    rows = sum(row_count(value) for _, value in table.rows(keys.group_rows_prefix(group)))
    slices = [left for _, left in untaken(table, group)]
    return CountedItems(rows + sum(slices), rows + _SLICE_EFFORT * len(slices))
