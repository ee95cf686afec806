"""Inbox store in a dictionary: what the one on RocksDB must give, but for durability."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from connectors.inbox.interface import CountedItems, InboxAudit, LoggedRead, RowPage, RowPosition
from state.inbox.codec import decode_head, decode_row, encode_head, encode_row
from state.inbox.statuses import honour
from state.inbox.values import (
    InboxHead,
    InboxRow,
    InboxTotals,
    Mark,
    SetAside,
    ShardCommit,
    SliceChanges,
    SliceEvent,
    SliceRange,
    StoredRow,
    Subject,
    row_view,
)
from state.model.keys import key_group


class MemoryInboxStore:
    """`InboxStore` and `InboxReader` in one; it keeps bytes, so that nothing is shared with who wrote it."""

    def __init__(self) -> None:
        self._heads: dict[str, bytes] = {}
        self._rows: dict[str, dict[int, bytes]] = {}
        self._marks: dict[tuple[str, int], Mark] = {}
        self._totals: dict[int, InboxTotals] = {}
        self._set_aside: dict[int, SetAside] = {}
        self._offset = 0
        self._ranges: dict[int, SliceRange] = {}
        self._slices: dict[int, dict[int, tuple[SliceEvent, set[str]]]] = {}
        self._taken = Counter[tuple[int, int]]()

    def prepare(
        self, users: Mapping[str, int | None], joined: Collection[tuple[str, Subject]] = (), *, slices: bool = True
    ) -> None:
        """All is in memory."""

    def head(self, user: str) -> InboxHead:
        """Give a user's head."""
        value = self._heads.get(user)
        return InboxHead() if value is None else decode_head(value)

    def stored_rows(self, user: str, *, oldest_first: bool = False) -> Iterator[StoredRow]:
        """Give a user's rows, newest first, or the other way round."""
        rows = [decode_row(value) for value in self._rows.get(user, {}).values()]
        for row in rows:
            row.stored_at = row.at
        return iter(sorted(rows, key=lambda row: (row.at, row.number), reverse=not oldest_first))

    def subject_rows(self, user: str, subject: Subject) -> list[StoredRow]:
        """Give a user's rows of a subject."""
        return [row for row in self.stored_rows(user) if (row.type, row.object) == subject]

    def newest_windowed(self, user: str, subject: Subject) -> StoredRow | None:
        """Give the latest of a user's windowed rows of a subject."""
        windowed = [row for row in self.subject_rows(user, subject) if row.windowed]
        return max(windowed, key=lambda row: row.number, default=None)

    def marks(self) -> dict[tuple[str, int], Mark]:
        """Give the marks per (source, group)."""
        return dict(self._marks)

    def totals(self) -> dict[int, InboxTotals]:
        """Give the running totals per group."""
        return dict(self._totals)

    def set_aside(self) -> dict[int, SetAside]:
        """Give the records that could not be applied, by offset."""
        return dict(self._set_aside)

    def slice_ranges(self) -> dict[int, SliceRange]:
        """Give the slices that are kept, by group."""
        return dict(self._ranges)

    def slices(self, user: str, above: int) -> list[SliceEvent]:
        """Give the slices that a user is in."""
        kept = self._slices.get(key_group(user), {})
        return [event for number, (event, members) in sorted(kept.items()) if number > above and user in members]

    def slice_event(self, group: int, number: int) -> SliceEvent:
        """Give a kept slice."""
        return self._slices[group][number][0]

    def slices_before(self, group: int, at: int) -> list[tuple[int, int]]:
        """Give (number, members left) of the slices older than `at`."""
        kept = sorted(self._slices.get(group, {}).items())
        return [(n, event.members - self._taken[group, n]) for n, (event, _) in kept if event.at < at]

    def count_items(self, group: int) -> CountedItems:
        """Count the items in the rows of a group, row by row, and whoever has a slice not yet in his rows."""
        users = [user for user in self._rows if key_group(user) == group]
        members = {user for _, names in self._slices.get(group, {}).values() for user in names}
        rows = sum(row.count for user in users for row in self.stored_rows(user))
        return CountedItems(rows + sum(len(self._fresh(user)) for user in members), rows)

    def users(self, group: int, after: str | None, limit: int, *, in_slices: bool = False) -> list[str]:
        """Give up to `limit` users of a group in byte order, behind `after`."""
        known = {user for user in self._heads if key_group(user) == group}
        if in_slices:
            known |= {user for _, names in self._slices.get(group, {}).values() for user in names}
        names = sorted(known, key=lambda user: user.encode())
        return list(islice((user for user in names if after is None or user.encode() > after.encode()), limit))

    def offset(self) -> int:
        """Give the offset of the last commit."""
        return self._offset

    def commit(self, commit: ShardCommit) -> None:
        """All at once."""
        for user, changes in commit.users.items():
            self._heads[user] = encode_head(changes.head)
            rows = self._rows.setdefault(user, {})
            for row in changes.removed:
                rows.pop(row.number, None)
            for row in changes.written:
                rows[row.number] = encode_row(row)
                row.stored_at = row.at
        self._marks.update(commit.marks)
        self._totals.update(commit.totals)
        after = {**self._set_aside, **commit.set_aside}
        self._set_aside = {offset: record for offset, record in after.items() if record is not None}
        self._offset = commit.offset
        self._change_slices(commit.slices)

    def page(
        self, user: str, limit: int, before: RowPosition | None = None, *, archived: bool = False,
        said: Sequence[LoggedRead] = (),
    ) -> RowPage:  # fmt: skip
        """Give up to `limit` rows, newest first."""
        head, rows = self.head(user), self._newest_first(user)
        for each in said:
            if each.offset > head.logged:
                rows = [row for row in rows if honour(row, each.record, each.at)]
        rest = [row for row in rows if row.archived is archived and (before is None or (row.at, row.number) < before)]
        shown = rest[:limit]
        following = RowPosition(shown[-1].at, shown[-1].number) if len(rest) > limit else None
        unread = sum(not row.read for row in rows)
        return RowPage(tuple(row_view(row) for row in shown), following, unread, head.read_up_to, head.logged)

    def named(self, user: str, event_ids: Collection[str]) -> list[InboxRow]:
        """Look through the user's rows, newest first."""
        return [row_view(row) for row in self._newest_first(user) if row.first_event_id in event_ids]

    def unread(self, user: str) -> int:
        """Give the number of unread rows."""
        return self.head(user).unread + len(self._fresh(user))

    def row(self, user: str, event_id: str) -> InboxRow | None:
        """Look through the user's rows, newest first."""
        for row in self._newest_first(user):
            if row.first_event_id == event_id or any(item.event_id == event_id for item in row.items):
                return row_view(row)
        return None

    def applied(self, group: int) -> dict[str, Mark]:
        """Give the mark of each source for a group."""
        return {source: mark for (source, each), mark in self._marks.items() if each == group}

    def audit(self, group: int) -> InboxAudit:
        """Count the rows of a group one by one."""
        return InboxAudit(self.count_items(group).items, self._totals.get(group, InboxTotals()), self.applied(group))

    def close(self) -> None:
        """Nothing to free."""

    def _change_slices(self, changes: SliceChanges) -> None:
        for group, event, names in changes.new:
            members = {name.decode() for name in names[1:-1].split(b"\0")}
            self._slices.setdefault(group, {})[event.number] = event, members
            kept = self._ranges.get(group, SliceRange())
            self._ranges[group] = kept._replace(newest=event.number, newest_at=event.at, now_ms=event.now_ms)
        self._taken.update(changes.taken)
        for group, last in changes.retired.items():
            self._ranges[group] = self._ranges[group]._replace(kept_from=last + 1)
            for number in [number for number in self._slices[group] if number <= last]:
                del self._slices[group][number]

    def _fresh(self, user: str) -> list[StoredRow]:
        head = self.head(user)
        return [event.row(head.next_number + n) for n, event in enumerate(self.slices(user, head.merged))]

    def _newest_first(self, user: str) -> list[StoredRow]:
        rows = [*self.stored_rows(user), *self._fresh(user)]
        return sorted(rows, key=lambda row: (row.at, row.number), reverse=True)
