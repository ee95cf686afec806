"""Inbox store in a dictionary: what the one on RocksDB must give, but for durability."""

from itertools import islice

from connectors.inbox.interface import InboxAudit, RowPage, RowPosition
from state.inbox.codec import decode_head, decode_row, encode_head, encode_row
from state.inbox.values import InboxHead, InboxRow, InboxTotals, Mark, SetAside, ShardCommit, StoredRow, row_view
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

    def load(self, user: str) -> tuple[InboxHead, list[StoredRow]]:
        """Give a user's head and all rows."""
        rows = [decode_row(value) for value in self._rows.get(user, {}).values()]
        for row in rows:
            row.stored_at = row.at
        return self._head(user), rows

    def marks(self) -> dict[tuple[str, int], Mark]:
        """Give the marks per (source, group)."""
        return dict(self._marks)

    def totals(self) -> dict[int, InboxTotals]:
        """Give the running totals per group."""
        return dict(self._totals)

    def set_aside(self) -> dict[int, SetAside]:
        """Give the records that could not be applied, by offset."""
        return dict(self._set_aside)

    def count_items(self, group: int) -> int:
        """Count the items in the rows of a group, row by row."""
        users = [user for user in self._rows if key_group(user) == group]
        return sum(row.count for user in users for row in self.load(user)[1])

    def users(self, group: int, after: str | None, limit: int) -> list[str]:
        """Give up to `limit` users of a group in byte order, behind `after`."""
        names = sorted((user for user in self._heads if key_group(user) == group), key=lambda user: user.encode())
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

    def page(self, user: str, limit: int, before: RowPosition | None = None) -> RowPage:
        """Give up to `limit` rows, newest first."""
        rows = sorted(self.load(user)[1], key=lambda row: (row.at, row.number), reverse=True)
        rest = [row for row in rows if before is None or (row.at, row.number) < before]
        shown = rest[:limit]
        following = RowPosition(shown[-1].at, shown[-1].number) if len(rest) > limit else None
        head = self._head(user)
        return RowPage(tuple(row_view(row) for row in shown), following, head.unread, head.read_up_to)

    def unread(self, user: str) -> int:
        """Give the number of unread rows."""
        return self._head(user).unread

    def row(self, user: str, event_id: str) -> InboxRow | None:
        """Look through the user's rows, newest first."""
        for row in sorted(self.load(user)[1], key=lambda each: (each.at, each.number), reverse=True):
            if row.first_event_id == event_id or any(item.event_id == event_id for item in row.items):
                return row_view(row)
        return None

    def applied(self, group: int) -> dict[str, Mark]:
        """Give the mark of each source for a group."""
        return {source: mark for (source, each), mark in self._marks.items() if each == group}

    def audit(self, group: int) -> InboxAudit:
        """Count the rows of a group one by one."""
        return InboxAudit(self.count_items(group), self._totals.get(group, InboxTotals()), self.applied(group))

    def close(self) -> None:
        """Nothing to free."""

    def _head(self, user: str) -> InboxHead:
        value = self._heads.get(user)
        return InboxHead() if value is None else decode_head(value)
