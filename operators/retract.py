"""Rule F and the user's reading: what takes pending items back (RULES 3.F, 3.G)."""

from operators.context import OutcomeWriter, group_name
from operators.outcomes import FinalOutcome
from state.decide.pending import Item, PendingGroup
from state.model.event import Event
from state.model.inbox import InboxOperation

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
    else:
        group, index = found
        taken = group.remove(index)
        if taken.inbox:
            _leave_row(writer, user, taken)
        writer.end(row, taken, RETRACTED, now, group_name(group))
        _after_leaving(writer, group)
    writer.end(row, item, RETRACTION, now, None)


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
    """A group that this empties keeps its time; a single hold is gone with its item."""
    if not group.items and group.key.kind == "single":
        writer.state.pending.close(group)
    else:
        writer.state.pending.touch(group)


def read(writer: OutcomeWriter, user: str, up_to: int, now: int) -> None:
    """His rows are read; pending items that entered a row not later than `up_to` need not interrupt any more."""
    writer.inbox(InboxOperation(op="read", user=user, up_to=up_to))
    _end_pending(writer, user, up_to, READ, now)


def erase(writer: OutcomeWriter, user: str, now: int) -> None:
    """His rows go, and all that waits for him ends (RULES 3.G)."""
    writer.inbox(InboxOperation(op="erase", user=user))
    _end_pending(writer, user, now, ERASED, now)


def _end_pending(writer: OutcomeWriter, user: str, up_to: int, outcome: FinalOutcome, now: int) -> None:
    """Those that joined by then; who reads has seen only what is in a row."""
    row = writer.state.users.ids.find(user)
    if row is None:
        return
    writer.state.take_out(row, lambda batch: batch.wait.joined_at <= up_to)
    for group in writer.state.pending.of(row):
        name = group_name(group)
        seen = [item for item in group.items if item.joined_at <= up_to and (item.inbox or outcome is ERASED)]
        for item in seen:
            group.remove(group.items.index(item))
            writer.end(row, item, outcome, now, name)
        _after_leaving(writer, group)
