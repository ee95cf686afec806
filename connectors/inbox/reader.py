"""The reading side of inbox stores, on whatever tables they lie (`connectors/inbox/table.py`)."""

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple, TypeVar

from connectors.inbox import keys
from connectors.inbox.interface import InboxAudit, LoggedRead, RowPage, RowPosition
from connectors.inbox.pages import first_rows, honouring, rows_named, unread_after
from connectors.inbox.rows import decoded_head
from connectors.inbox.slices import fresh_rows, known_slices, slice_numbers
from connectors.inbox.store import counted_items
from connectors.inbox.table import InboxTable, value_of
from state.inbox.codec import decode_row
from state.inbox.values import InboxHead, InboxRow, InboxTotals, Mark, StoredRow, row_view
from state.model.keys import key_group

T = TypeVar("T")


class _UserRows(NamedTuple):
    """A user's rows, as of one commit."""

    table: InboxTable
    user: str
    head: InboxHead
    fresh: list[int]
    """Numbers of the slices that are not among his own rows yet."""

    @property
    def unread(self) -> int:
        return self.head.unread + len(self.fresh)

    def newest_first(self, before: RowPosition | None = None) -> Iterator[tuple[RowPosition, StoredRow]]:
        """His own, and those of slices."""
        prefix = keys.rows_prefix(self.user)
        stored = self.table.rows(prefix, None if before is None else keys.inbox_row_key(prefix, before) + b"\0")
        own = ((keys.position_of_row(key), decode_row(value)) for key, value in stored)
        added = fresh_rows(self.table, key_group(self.user), self.fresh, self.head.next_number, before)
        return heapq.merge(own, added, key=lambda each: each[0], reverse=True)


class TableInboxReader(ABC):
    """See `connectors.inbox.interface.InboxReader`; what remains to be said is which table is asked, and when."""

    @abstractmethod
    def close(self) -> None:
        """Free the reader."""

    @abstractmethod
    def _ask(self, group: int, question: Callable[[InboxTable], T], nothing: T) -> T:
        """What the group's table answers, as of one commit; `nothing` where there is no table yet."""

    def page(
        self, user: str, limit: int, before: RowPosition | None = None, *, archived: bool = False,
        said: Sequence[LoggedRead] = (),
    ) -> RowPage:  # fmt: skip
        """One seek, then as many steps as rows, and as archived ones between them."""

        def question(table: InboxTable) -> RowPage:
            rows = _rows_of(table, user)
            later = [each for each in said if each.offset > rows.head.logged]
            unread = unread_after(rows.newest_first(), rows.unread, later) if later else rows.unread
            return first_rows(honouring(rows.newest_first(before), later), rows.head, unread, limit, archived=archived)

        return self._ask(key_group(user), question, RowPage((), None, 0, None))

    def named(self, user: str, event_ids: Collection[str]) -> list[InboxRow]:
        """Look through the user's rows, newest first."""
        return self._ask(
            key_group(user), lambda table: rows_named(_rows_of(table, user).newest_first(), event_ids), list[InboxRow]()
        )

    def unread(self, user: str) -> int:
        """Give the number of unread rows."""
        return self._ask(key_group(user), lambda table: _rows_of(table, user).unread, 0)

    def row(self, user: str, event_id: str) -> InboxRow | None:
        """Look through the user's rows, newest first."""

        def question(table: InboxTable) -> InboxRow | None:
            for _, row in _rows_of(table, user).newest_first():
                if row.first_event_id == event_id or any(item.event_id == event_id for item in row.items):
                    return row_view(row)
            return None

        return self._ask(key_group(user), question, None)

    def applied(self, group: int) -> dict[str, Mark]:
        """Give the mark of each source for a group."""
        return self._ask(group, lambda table: _applied(table, group), dict[str, Mark]())

    def audit(self, group: int) -> InboxAudit:
        """Count the rows of a group one by one."""

        def question(table: InboxTable) -> InboxAudit:
            value = value_of(table, keys.totals_key(group))
            totals = InboxTotals() if value is None else keys.decode_totals(value)
            return InboxAudit(counted_items(table, group).items, totals, _applied(table, group))

        return self._ask(group, question, InboxAudit(0, InboxTotals(), {}))


def _rows_of(table: InboxTable, user: str) -> _UserRows:
    found, slices = table.values([keys.head_key(user), keys.slices_key(key_group(user))])
    head = decoded_head(found)
    return _UserRows(table, user, head, slice_numbers(table, user, known_slices(slices), head.merged))


def _applied(table: InboxTable, group: int) -> dict[str, Mark]:
    return {keys.parse_mark_key(key)[0]: keys.decode_mark(value) for key, value in table.rows(b"m" + bytes([group]))}
