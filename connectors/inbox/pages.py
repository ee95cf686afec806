"""Pages of a user's rows, from whatever gives them newest first."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from msgspec import UnsetType

from connectors.inbox.interface import LoggedRead, RowPage, RowPosition
from state.inbox.statuses import honour
from state.inbox.values import InboxHead, InboxRow, StoredRow, row_view

PlacedRow = tuple[RowPosition, StoredRow]


def first_rows(rows: Iterable[PlacedRow], head: InboxHead, unread: int, limit: int, *, archived: bool) -> RowPage:
    """The first rows, archived ones or the others."""
    found = list(islice((each for each in rows if each[1].archived is archived), limit + 1))
    following = found[limit - 1][0] if len(found) > limit else None
    shown = tuple(row_view(row) for _, row in found[:limit])
    return RowPage(shown, following, unread, head.read_up_to, head.logged)


def honouring(rows: Iterable[PlacedRow], said: Sequence[LoggedRead]) -> Iterator[PlacedRow]:
    """The rows as they are after what the user said; those that are left."""
    return (each for each in rows if all(honour(each[1], one.record, one.at) for one in said))


def unread_after(rows: Iterable[PlacedRow], unread: int, said: Sequence[LoggedRead]) -> int:
    """How many rows are unread after what the user said, if so many are before; looks no further than it must."""
    names, read_up_to = _named(said), _read_up_to(said)
    before = after = 0
    for _, row in rows:
        if not names and (read_up_to is None or row.at <= read_up_to):
            return after + (unread - before if read_up_to is None else 0)  # all that follows is as it was, or read
        before += not row.read
        names.discard((row.type, row.object, row.first_event_id))
        after += all(honour(row, each.record, each.at) for each in said) and not row.read
    return after


def rows_named(rows: Iterable[PlacedRow], event_ids: Iterable[str]) -> list[InboxRow]:
    """The newest row that each of these events began; looks no further than it must."""
    missing, found = set(event_ids), []
    for _, row in rows:
        if not missing:
            break
        if row.first_event_id in missing:
            missing.discard(row.first_event_id)
            found.append(row_view(row))
    return found


def _named(said: Iterable[LoggedRead]) -> set[tuple[str, str | None, str]]:
    rows = (row for each in said if not isinstance(each.record.rows, UnsetType) for row in each.record.rows)
    return {(row.type, row.object, row.event_id) for row in rows}


def _read_up_to(said: Iterable[LoggedRead]) -> int | None:
    """Up to when all rows are read or gone."""
    whole = [each for each in said if isinstance(each.record.status, UnsetType)]
    times = [each.at if each.record.up_to is None or each.record.erase is True else each.record.up_to for each in whole]
    return max(times, default=None)
