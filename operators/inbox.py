"""The rows of one user's inbox (RULES 3.G and the rows' part of 3.F) as a fold of the operations of topic `inbox`.

Types without a window have one row per event; types with one collect items in one row per (user, type, object) while
it is unread. A row is named by the event that started it, also after that one was retracted. Times and places are
integers, milliseconds UTC and positions in the decision log. Nothing here reads a clock: `retire` gets the time.
"""

# ruff: noqa: A002 - the arguments of operations bear the names of the fields of topic `inbox`

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from state.inbox.statuses import changed_rows
from state.inbox.values import (
    IDENTITIES_MAX,
    ITEMS_EXACT_MAX,
    PAYLOADS_MAX,
    InboxHead,
    InboxRow,
    OlderItem,
    RowItem,
    StoredRow,
    UserChanges,
    identity_hash,
    row_view,
)
from state.model.row_status import NamedRow, RowStatus

_Subject = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class InboxConfig:
    """How long rows stay (RULES 3.G)."""

    retention: timedelta = timedelta(days=90)
    """Rows whose latest item is older than this are retired."""
    rows_max: int = 10_000
    """The oldest rows of a user beyond this number are retired."""
    retention_ms: int = field(init=False)
    """`retention` in milliseconds."""

    def __post_init__(self) -> None:
        """Asked for with every item: to divide each time would cost more than the answer."""
        object.__setattr__(self, "retention_ms", self.retention // timedelta(milliseconds=1))


DEFAULT_CONFIG = InboxConfig()


@dataclass(slots=True)
class _Found:
    """An item in a row: at `index` of its items, or of its older ones."""

    row: StoredRow
    index: int
    place: int
    older: bool = False


def _order(row: StoredRow) -> tuple[int, int]:
    """Rows are in the order of the latest item's time, then of their number."""
    return row.at, row.number


class UserInbox:
    """The inbox of one user; every method is one operation. Not safe for several threads."""

    def __init__(self, rows: Iterable[StoredRow] = (), head: InboxHead | None = None) -> None:
        self.head = head or InboxHead()
        self.items_added = 0
        self.items_taken_back = 0
        self.items_retired = 0
        """Totals since this object was made."""
        self._rows: dict[int, StoredRow] = {}
        self._subjects: dict[_Subject, list[StoredRow]] | None = None  # made when something is first taken from a row
        self._open: dict[_Subject, StoredRow] = {}
        self._oldest_at: int | None = None  # no row's `at` is below it
        self._dirty: dict[int, StoredRow] = {}
        self._removed: list[StoredRow] = []
        for row in sorted(rows, key=lambda each: each.number):
            self._insert(row)

    # ---- operations

    def add(
        self, *, type: str, object: str | None, windowed: bool, event_id: str, actor: str | None, at: int, place: int,
        payload: bytes | None = None, language: str | None = None,
    ) -> None:  # fmt: skip
        """An item arrives: it joins the unread row of its subject (windowed types), or starts a row."""
        row = self._open.get((type, object)) if windowed else None
        if row is None:
            row = self._start(type, object, windowed, event_id, at)
        row.items.append(RowItem(place, event_id, actor, at, payload))
        row.count += 1
        row.language = language
        self._move(row, at)
        self.items_added += 1
        if len(row.items) > PAYLOADS_MAX:
            row.items[-1 - PAYLOADS_MAX].payload = None
        if len(row.items) > ITEMS_EXACT_MAX:
            self._forget_oldest(row)

    def take_back(self, *, type: str, object: str | None, event_id: str) -> bool:
        """An item that was pending is retracted: it leaves its row. False: it is in none."""
        event_hash = identity_hash(event_id)
        for row in reversed(self._of(type, object)):
            for index in range(len(row.items) - 1, -1, -1):
                if row.items[index].event_id == event_id:
                    return self._take(_Found(row, index, row.items[index].place))
            for index in range(len(row.older) - 1, -1, -1):
                if row.older[index].event_hash == event_hash:
                    return self._take(_Found(row, index, row.older[index].place, older=True))
        return self._take_forgotten(type, object)

    def retract(self, *, type: str, actor: str | None, object: str | None, parent_event_id: str | None) -> bool:
        """None was pending: the latest item, by place, of the same type, actor and object leaves its row, read or not.

        With `parent_event_id` only items of that event are looked at. False: there is no such item.
        """
        latest: _Found | None = None
        for row in self._of(type, object):
            found = _latest_exact(row, actor, parent_event_id) or _latest_older(row, actor, parent_event_id)
            if found is not None and (latest is None or found.place >= latest.place):
                latest = found
        if latest is None:
            return self._take_forgotten(type, object)
        return self._take(latest)

    def read(self, up_to: int) -> int:
        """The user read: rows whose latest item is not later become read. Gives how many did."""
        self.head.read_up_to = up_to if self.head.read_up_to is None else max(up_to, self.head.read_up_to)
        return self.set_status("read", None, up_to)

    def set_status(self, status: RowStatus, rows: Sequence[NamedRow] | None, up_to: int = 0) -> int:
        """The user says this of these rows, or with None of all up to a time. Gives how many changed."""
        changed = list(changed_rows(self._rows.values(), status, rows, up_to))
        for row in changed:
            self._dirty[row.number] = row
            if self._open.get((row.type, row.object)) is row:
                del self._open[row.type, row.object]
        self.head.unread = sum(not row.read for row in self._rows.values())
        return len(changed)

    def erase(self) -> int:
        """Every row goes. Gives the number of items that went with them; they count as retired."""
        items = self.items()
        for row in list(self._rows.values()):
            self._drop(row)
        self.items_retired += items
        self._oldest_at = None
        return items

    def retire(self, now_ms: int, config: InboxConfig = DEFAULT_CONFIG) -> int:
        """Retire rows by age and number. Gives the number of items that went with them."""
        if not self.is_due(now_ms, config):
            return 0
        oldest_kept = now_ms - config.retention_ms
        excess = len(self._rows) - config.rows_max
        ordered = sorted(self._rows.values(), key=_order)
        retired = [row for index, row in enumerate(ordered) if index < excess or row.at < oldest_kept]
        for row in retired:
            self._drop(row)
        items = sum(row.count for row in retired)
        self.items_retired += items
        self._oldest_at = min((row.at for row in self._rows.values()), default=None)
        return items

    def is_due(self, now_ms: int, config: InboxConfig) -> bool:
        """Whether there may be something to retire."""
        too_old = self._oldest_at is not None and self._oldest_at < now_ms - config.retention_ms
        return too_old or len(self._rows) > config.rows_max

    # ---- what it holds

    def rows(self) -> list[InboxRow]:
        """All rows, read ones too, the newest first."""
        return [row_view(row) for row in sorted(self._rows.values(), key=_order, reverse=True)]

    def items(self) -> int:
        """Number of items in all rows."""
        return sum(row.count for row in self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def take_changes(self) -> UserChanges:
        """What changed since the last call, for a store; the caller must store it."""
        changes = UserChanges(self.head, [*self._dirty.values()], tuple(self._removed))
        self._dirty.clear()
        self._removed.clear()
        return changes

    # ---- inside

    def _start(self, type_name: str, object_id: str | None, windowed: bool, event_id: str, at: int) -> StoredRow:
        row = StoredRow(self.head.next_number, type_name, object_id, windowed, event_id, at=at)
        self.head.next_number += 1
        self.head.rows += 1
        self.head.unread += 1
        self._insert(row)
        return row

    def _of(self, type_name: str, object_id: str | None) -> list[StoredRow]:
        """The rows of a subject, the oldest first."""
        if self._subjects is None:
            self._subjects = {}
            for row in self._rows.values():
                self._subjects.setdefault((row.type, row.object), []).append(row)
        return self._subjects.get((type_name, object_id), [])

    def _insert(self, row: StoredRow) -> None:
        subject = row.type, row.object
        self._rows[row.number] = row
        if self._subjects is not None:
            self._subjects.setdefault(subject, []).append(row)
        if row.windowed and not row.read and not row.reopened:
            self._open[subject] = row
        self._oldest_at = row.at if self._oldest_at is None else min(self._oldest_at, row.at)

    def _move(self, row: StoredRow, at: int) -> None:
        row.at = at
        self._dirty[row.number] = row
        if self._oldest_at is None or at < self._oldest_at:
            self._oldest_at = at

    def _forget_oldest(self, row: StoredRow) -> None:
        item = row.items.pop(0)
        row.older.append(OlderItem(item.place, identity_hash(item.actor), identity_hash(item.event_id)))
        if len(row.older) > IDENTITIES_MAX:
            del row.older[0]

    def _take(self, found: _Found) -> bool:
        row = found.row
        if found.older:
            del row.older[found.index]
        else:
            del row.items[found.index]
        self._lower(row)
        return True

    def _take_forgotten(self, type_name: str, object_id: str | None) -> bool:
        """An item that is remembered nowhere can only be among those whose identity was dropped."""
        for row in reversed(self._of(type_name, object_id)):
            if row.count > len(row.items) + len(row.older):
                self._lower(row)
                return True
        return False

    def _lower(self, row: StoredRow) -> None:
        row.count -= 1
        self.items_taken_back += 1
        if row.count == 0:
            self._drop(row)
        else:
            self._move(row, row.items[-1].at if row.items else row.at)

    def _drop(self, row: StoredRow) -> None:
        subject = row.type, row.object
        del self._rows[row.number]
        if self._subjects is not None:
            self._subjects[subject].remove(row)
            if not self._subjects[subject]:
                del self._subjects[subject]
        if self._open.get(subject) is row:
            del self._open[subject]
        self.head.rows -= 1
        self.head.unread -= 0 if row.read else 1
        self._dirty.pop(row.number, None)
        if row.stored_at is not None:
            self._removed.append(row)


def _latest_exact(row: StoredRow, actor: str | None, event_id: str | None) -> _Found | None:
    best: _Found | None = None
    for index, item in enumerate(row.items):
        matches = item.actor == actor and event_id in (None, item.event_id)
        if matches and (best is None or item.place >= best.place):
            best = _Found(row, index, item.place)
    return best


def _latest_older(row: StoredRow, actor: str | None, event_id: str | None) -> _Found | None:
    if not row.older:
        return None
    actor_hash, event_hash = identity_hash(actor), None if event_id is None else identity_hash(event_id)
    for index in range(len(row.older) - 1, -1, -1):
        item = row.older[index]
        if item.actor_hash == actor_hash and event_hash in (None, item.event_hash):
            return _Found(row, index, item.place, older=True)
    return None
