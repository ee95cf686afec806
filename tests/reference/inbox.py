"""RULES 3.G: inbox rows."""

from __future__ import annotations

from typing import Any

from reference.events import Event
from reference.items import Item, Row, User


def write(user: User, item: Item) -> None:
    """The item enters its row, or starts one."""
    event = item.event
    name = (event.type, event.object)
    row = user.unread.get(name) if event.spec.window > 0 else None
    if row is None:
        row = Row(item.user, event.type, event.object, event.event_id)
        user.rows.append(row)
        if event.spec.window > 0:
            user.unread[name] = row
    item.inbox, item.row, item.row_number = True, row, row.joined
    row.joined += 1
    row.items.append(item)
    user.in_rows.setdefault((event.type, event.actor, event.object), []).append(item)


def take_back(user: User, item: Item) -> None:
    """The item leaves its row, if it is in one; at zero the row goes."""
    row, event = item.row, item.event
    if row is None:
        return
    item.row = None
    row.items.remove(item)
    user.in_rows[event.type, event.actor, event.object].remove(item)
    if not row.items:
        user.rows.remove(row)
        if user.unread.get((row.type, row.object)) is row:
            del user.unread[row.type, row.object]


def latest_in_row(user: User, retraction: Event) -> Item | None:
    """The latest item of the same type, actor and object in a row, read or not."""
    items = user.in_rows.get((retraction.type, retraction.actor, retraction.object), ())
    mine = [item for item in items if retraction.parent in (None, item.event.event_id)]
    return max(mine, key=lambda item: item.event.place, default=None)


def erase(user: User) -> None:
    """Every row goes; no later retraction finds an item in one."""
    for row in user.rows:
        for item in row.items:
            item.row = None
    user.rows.clear()
    user.unread.clear()
    user.in_rows.clear()


def mark_read(user: User, up_to: int) -> None:
    """Rows whose latest item is not later become read; the next item of their kind starts a new row."""
    for row in user.rows:
        if not row.read and row.at() <= up_to:
            row.read = True
            _close(user, row)


def _close(user: User, row: Row) -> None:
    """What was read once takes no further item."""
    if user.unread.get((row.type, row.object)) is row:
        del user.unread[row.type, row.object]


def set_status(user: User, what: str, named: list[dict[str, Any]]) -> None:
    """The rows named become read, unread or archived; read and archived only as far as they were seen."""
    for row in user.rows:
        for name in named:
            if (name["type"], name.get("object"), name["event_id"]) != (row.type, row.object, row.first_event_id):
                continue
            if what == "unread":
                row.read = row.archived = False
            elif row.at() <= name["at"]:
                row.read, row.archived = True, row.archived or what == "archived"
                _close(user, row)


def archive_read(user: User, until: int) -> None:
    """Whatever is read and not later is archived."""
    for row in user.rows:
        if row.read and row.at() <= until:
            row.archived = True
