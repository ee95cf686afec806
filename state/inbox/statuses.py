"""How what a user says changes his rows (RULES 3.G): for a store's owner, and for readers who know of it earlier."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from state.inbox.values import StoredRow
from state.model.row_status import NamedRow, RowStatus
from state.model.settings import ReadRecord


def changed_rows(
    rows: Iterable[StoredRow], status: RowStatus, named: Sequence[NamedRow] | None, up_to: int
) -> Iterator[StoredRow]:
    """Give these rows, or with None all, this status, and give those that change, one by one.

    What came later than `up_to`, or than the time at which a row was seen, is not read, and so not archived either.
    Without names only rows that are read are archived.
    """
    seen = None if named is None else {(row.type, row.object, row.event_id): row.at for row in named}
    for row in rows:
        until = up_to if seen is None else seen.get((row.type, row.object, row.first_event_id))
        if until is not None and _set(row, status, until, whole=seen is None):
            yield row


def _set(row: StoredRow, status: RowStatus, until: int, *, whole: bool) -> bool:
    """Whether it changes."""
    if status == "unread":
        changes = row.read
        row.reopened = row.reopened or changes
        row.read = row.archived = False
        return changes
    done = row.read if status == "read" else row.archived or (whole and not row.read)
    if done or row.at > until:
        return False
    row.read, row.archived, row.reopened = True, status == "archived", False
    return True


def honour(row: StoredRow, record: ReadRecord, now_ms: int) -> bool:
    """Make the row what it is after a user's record, written at `now_ms`. False: it is gone."""
    if record.erase is True:
        return False
    if record.status is msgspec.UNSET:
        changed = changed_rows([row], "read", None, now_ms if record.up_to is None else record.up_to)
    else:
        until = now_ms if record.until is msgspec.UNSET else record.until
        changed = changed_rows([row], record.status, None if record.rows is msgspec.UNSET else record.rows, until)
    next(changed, None)
    return True
