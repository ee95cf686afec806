"""Rule F and the user's reading: what takes pending items back (RULES 3.F, 3.G)."""

from collections.abc import Callable, Sequence

import msgspec

from operators.context import OutcomeWriter, group_name
from operators.outcomes import FinalOutcome
from state.decide.pending import UNREAD, Item, PendingGroup
from state.model.delivery import Withdrawal
from state.model.event import Event
from state.model.inbox import InboxOperation
from state.model.registry import Registry
from state.model.row_status import NamedRow
from state.model.work import ReadWork

_Concerned = Callable[[Event, int], bool]
"""Whether an item of this event, that joined at this time, is concerned."""
RETRACTED = FinalOutcome("SUPPRESSED", "retracted")
RETRACTION = FinalOutcome("SUPPRESSED", "retraction")
READ = FinalOutcome("INBOX", None)
ERASED = FinalOutcome("SUPPRESSED", "erased")


def retract(writer: OutcomeWriter, row: int, item: Item, now: int) -> None:
    """Take back the latest pending item of the same type, actor and object, else the latest in an inbox row."""
    event = item.event
    user = writer.state.users.ids[row]
    writer.state.take_out(row, lambda batch: _matches(batch.wait.event, event))
    found = _latest_pending(writer.state.pending.of(row), event)
    if found is None:
        writer.inbox(
            InboxOperation(
                op="retract", user=user, type=event.type, object=event.object, actor=event.actor,
                parent_event_id=event.parent_event_id,
            )
        )  # fmt: skip
        _withdraw(writer, row, event, now)
    else:
        group, index = found
        taken = group.remove(index)
        if taken.inbox:
            _leave_row(writer, user, taken)
        writer.end(row, taken, RETRACTED, now, group_name(group))
        _after_leaving(writer, group)
    writer.end(row, item, RETRACTION, now, None)


def _withdraw(writer: OutcomeWriter, row: int, event: Event, now: int) -> None:
    """It may be on a screen: deliver knows."""
    devices = writer.state.users.devices(row, "push")
    if devices:
        writer.out.withdrawals.append(
            Withdrawal(
                event_id=event.event_id, user=writer.state.users.ids[row], type=event.type, object=event.object,
                actor=event.actor, parent_event_id=event.parent_event_id, priority=event.priority,
                sender_id=event.sender_id, devices=devices, decided_at=now,
            )
        )  # fmt: skip


def _leave_row(writer: OutcomeWriter, user: str, taken: Item) -> None:
    event = taken.event
    writer.inbox(
        InboxOperation(op="take_back", user=user, type=event.type, object=event.object, event_id=event.event_id)
    )


def _matches(event: Event, retraction: Event) -> bool:
    if (event.type, event.actor, event.object) != (retraction.type, retraction.actor, retraction.object):
        return False
    return retraction.parent_event_id is None or event.event_id == retraction.parent_event_id


def _latest_pending(groups: list[PendingGroup], retraction: Event) -> tuple[PendingGroup, int] | None:
    """The matching item with the highest log place, as (group, index)."""
    best: tuple[PendingGroup, int] | None = None
    best_place = -1
    for group in groups:
        for index, item in enumerate(group.items):
            if item.place > best_place and _matches(item.event, retraction):
                best, best_place = (group, index), item.place
    return best


def _after_leaving(writer: OutcomeWriter, group: PendingGroup) -> None:
    """A group that this empties keeps its time; a single hold is gone with its item, and so is a mail that waited to
    be read: what comes later has a row of its own, and the whole time for it.
    """
    if not group.items and group.key.kind in ("single", UNREAD):
        writer.state.pending.close(group)
    else:
        writer.state.pending.touch(group)


def read(writer: OutcomeWriter, user: str, up_to: int, now: int, logged: int | None = None) -> None:
    """His rows are read; pending items that entered a row not later than `up_to` need not interrupt any more."""
    writer.inbox(InboxOperation(op="read", user=user, up_to=up_to, logged=logged))
    _end_pending(writer, user, lambda _event, joined_at: joined_at <= up_to, READ, now)


def set_status(writer: OutcomeWriter, work: ReadWork, now: int) -> None:
    """Rows are read, unread or archived; what he read or archived need not interrupt any more."""
    rows = None if work.rows is msgspec.UNSET else work.rows
    until = None if work.until is msgspec.UNSET else work.until
    assert work.status is not msgspec.UNSET
    writer.inbox(
        InboxOperation(op="status", user=work.user, status=work.status, rows=rows, up_to=until, logged=work.logged())
    )
    if rows is not None and work.status != "unread":
        _end_pending(writer, work.user, _seen(writer.state.registry, rows), READ, now)


def erase(writer: OutcomeWriter, user: str, now: int, logged: int | None = None) -> None:
    """His rows go, and all that waits for him ends (RULES 3.G)."""
    writer.inbox(InboxOperation(op="erase", user=user, logged=logged))
    _end_pending(writer, user, lambda _event, joined_at: joined_at <= now, ERASED, now)


def _seen(registry: Registry, rows: Sequence[NamedRow]) -> _Concerned:
    """Whether an item is in one of these rows as they were seen: a row has all of its type and object, or one event."""
    names: dict[tuple[str, str | None], list[NamedRow]] = {}
    for row in rows:
        names.setdefault((row.type, row.object), []).append(row)

    def concerned(event: Event, joined_at: int) -> bool:
        collects = registry.profile(event.type).window_ms > 0
        found = names.get((event.type, event.object), ())
        return any(joined_at <= row.at and (collects or row.event_id == event.event_id) for row in found)

    return concerned


def _end_pending(writer: OutcomeWriter, user: str, concerned: _Concerned, outcome: FinalOutcome, now: int) -> None:
    """Those concerned; who reads has seen only what is in a row."""
    row = writer.state.users.ids.find(user)
    if row is None:
        return
    writer.state.take_out(row, lambda batch: concerned(batch.wait.event, batch.wait.joined_at))
    for group in writer.state.pending.of(row):
        name = group_name(group)
        seen = [
            item for item in group.items if concerned(item.event, item.joined_at) and (item.inbox or outcome is ERASED)
        ]
        for item in seen:
            group.remove(group.items.index(item))
            writer.end(row, item, outcome, now, name)
        _after_leaving(writer, group)
