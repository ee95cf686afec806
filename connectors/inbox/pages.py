"""Pages of a user's rows, from whatever gives them newest first."""

from collections.abc import Iterable, Sequence
from itertools import islice

from connectors.inbox.interface import LoggedRead, RowPage, RowPosition
from state.inbox.statuses import apply_record
from state.inbox.values import InboxHead, StoredRow, row_view

PlacedRow = tuple[RowPosition, StoredRow]


def first_rows(rows: Iterable[PlacedRow], head: InboxHead, unread: int, limit: int, *, archived: bool) -> RowPage:
    """The first rows, archived ones or the others."""
    found = list(islice((each for each in rows if each[1].archived is archived), limit + 1))
    following = found[limit - 1][0] if len(found) > limit else None
    shown = tuple(row_view(row) for _, row in found[:limit])
    return RowPage(shown, following, unread, head.read_up_to, head.logged)


def honouring(rows: Iterable[PlacedRow], said: Sequence[LoggedRead]) -> tuple[list[PlacedRow], int]:
    """All rows as they are after what the user said, and how many of them are unread."""
    placed = list(rows)
    left: Sequence[StoredRow] = [row for _, row in placed]
    for each in said:
        left = apply_record(left, each.record, each.at)
    return placed if left else [], sum(not row.read for row in left)
