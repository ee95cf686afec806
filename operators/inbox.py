"""The rows of one user's inbox (RULES 3.G and the rows' part of 3.F) as a fold of the operations of topic `inbox`.

Types without a window have one row per event; types with one collect items in one row per (user, type, object) while
it is unread. A row is named by the event that started it, also after that one was retracted. Times and places are
integers, milliseconds UTC and positions in the decision log. Nothing here reads a clock: `retire` gets the time.
An operation reads no more of the stored rows than it needs (`operators/inbox_rows.py`).
"""

# ruff: noqa: A002 - the arguments of operations bear the names of the fields of topic `inbox`

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from operators.inbox_rows import KnownRows, RowSource
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
    Subject,
    UserChanges,
    identity_hash,
    row_view,
)
from state.model.row_status import NamedRow, RowStatus


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


def retirement_due(head: InboxHead, now_ms: int, config: InboxConfig) -> bool:
    """Whether there may be something to retire in the inbox of this head."""
    too_old = head.oldest is not None and head.oldest < now_ms - config.retention_ms
    return too_old or head.rows > config.rows_max


class UserInbox:
    """The inbox of one user; every method is one operation. Not safe for several threads."""

    def __init__(
        self, rows: Iterable[StoredRow] = (), head: InboxHead | None = None, *, source: RowSource | None = None,
        user: str = "",
    ) -> None:  # fmt: skip
        """What is not among `rows` is read from `source` when it is needed; without one these are all."""
        self.head = head or InboxHead()
        self.items_added = 0
        self.items_taken_back = 0
        self.items_retired = 0
        """Totals since this object was made."""
        self._rows = KnownRows(rows, self.head.rows, source, user)

    # ---- operations

    def add(
        self, *, type: str, object: str | None, windowed: bool, event_id: str, actor: str | None, at: int, place: int,
        payload: bytes | None = None, language: str | None = None,
    ) -> None:  # fmt: skip
        """An item arrives: it joins the unread row of its subject (windowed types), or starts a row."""
        row = self._rows.open((type, object)) if windowed else None
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
        for row in reversed(self._rows.of((type, object))):
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
        for row in self._rows.of((type, object)):
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
        changed = list(changed_rows(self._counted(self._meant(status, rows)), status, rows, up_to))
        for row in changed:
            self._rows.change(row)
            self._rows.close(row)
        return len(changed)

    def erase(self) -> int:
        """Every row goes. Gives the number of items that went with them; they count as retired."""
        items = sum(map(self._drop, [*self._rows.in_order()]))
        self.items_retired += items
        return items

    def retire(self, now_ms: int, config: InboxConfig = DEFAULT_CONFIG) -> int:
        """Retire rows by age and number. Gives the number of items that went with them."""
        if not retirement_due(self.head, now_ms, config):
            return 0
        oldest_kept, items = now_ms - config.retention_ms, 0
        for row in self._rows.in_order(oldest_first=True):
            if row.at >= oldest_kept and self.head.rows <= config.rows_max:
                self.head.oldest = row.at
                break
            items += self._drop(row)
        self.items_retired += items
        return items

    # ---- what it holds

    def rows(self) -> list[InboxRow]:
        """All rows, read ones too, the newest first."""
        return [row_view(row) for row in self._rows.in_order()]

    def items(self) -> int:
        """Number of items in all rows."""
        return sum(row.count for row in self._rows.in_order())

    def in_memory(self) -> int:
        """Number of rows in memory."""
        return len(self._rows.known)

    def knows_open(self, subject: Subject) -> bool:
        """Whether an item of a subject may be added without a look at what is stored."""
        return self._rows.knows_open(subject)

    def take_changes(self) -> UserChanges:
        """What changed since the last call, for a store; the caller must store it."""
        rows = self._rows
        changes = UserChanges(self.head, [*rows.changed.values()], [*rows.removed.values()])
        rows.changed.clear()
        rows.removed.clear()
        rows.forget_gone()
        return changes

    # ---- inside

    def _start(self, type_name: str, object_id: str | None, windowed: bool, event_id: str, at: int) -> StoredRow:
        row = StoredRow(self.head.next_number, type_name, object_id, windowed, event_id, at=at)
        self.head.next_number += 1
        self.head.rows += 1
        self.head.unread += 1
        self._rows.start(row)
        return row

    def _meant(self, status: RowStatus, rows: Sequence[NamedRow] | None) -> Iterator[StoredRow]:
        """Rows of which some are to have this status; read no further than the oldest of them."""
        if rows is not None:
            subjects = dict.fromkeys((row.type, row.object) for row in rows)
            yield from (row for subject in subjects for row in self._rows.of(subject))
        elif status == "read":
            yield from self._unread()
        else:
            yield from self._rows.in_order()

    def _unread(self) -> Iterator[StoredRow]:
        left, rows = self.head.unread, self._rows.in_order()
        while left > 0 and (row := next(rows, None)) is not None:
            if not row.read:
                left -= 1
                yield row

    def _counted(self, rows: Iterable[StoredRow]) -> Iterator[StoredRow]:
        """When the next one is asked for, a row is as it will be."""
        for row in rows:
            was_read = row.read
            yield row
            self.head.unread += was_read - row.read

    def _move(self, row: StoredRow, at: int) -> None:
        row.at = at
        self._rows.change(row)
        if self.head.oldest is None or at < self.head.oldest:
            self.head.oldest = at

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
        for row in reversed(self._rows.of((type_name, object_id))):
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

    def _drop(self, row: StoredRow) -> int:
        """Gives its items."""
        self._rows.drop(row)
        self.head.rows -= 1
        self.head.unread -= 0 if row.read else 1
        if self.head.rows == 0:
            self.head.oldest = None
        return row.count


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
