"""Mails that wait: the daily digest, and mails of types that ask for them only where the row stays unread (RULES 3.E,
the last two paragraphs).

Both are found when rule E is left with email alone. What waits here ends as any pending item does: read, retracted,
filtered. What is left when the time comes is gated as one, and mailed.
"""

from operators.ahead import decision_time
from operators.context import OutcomeWriter, group_name
from operators.emit import MAIL_ALONE, emit, no_channel
from operators.filter import filter_item
from operators.gate import gate, in_slot, most_urgent
from operators.outcomes import FinalOutcome, Hold
from operators.quiet import next_digest
from operators.route import ChannelRoute, allowed
from state.decide.group import GroupState
from state.decide.pending import DIGEST, DIGEST_KEY, HELD, OPEN, UNREAD, Item, PendingGroup, PendingKey
from state.model.registry import TypeProfile

MAIL_KINDS = (DIGEST, UNREAD)


def mail_waits(writer: OutcomeWriter, row: int, items: list[Item], profile: TypeProfile, now: int) -> None:
    """The items wait in the digest until the next 09:00 in the user's quiet-hours zone, or until they had time to be
    read in the inbox.
    """
    digest = profile.digest
    due = _digest_due(writer.state, row, now) if digest else now + profile.mail_wait_ms
    for item in items:
        _join(writer, row, item, DIGEST_KEY if digest else _unread_key(profile, item), due, now)


def _digest_due(state: GroupState, row: int, now: int) -> int:
    nine = next_digest(state.users.preference_of(row).zone, now - state.ahead)
    return decision_time(nine, now, state.ahead)


def _unread_key(profile: TypeProfile, item: Item) -> PendingKey:
    if profile.window_ms > 0:
        return PendingKey(UNREAD, item.event.type, item.event.object)
    return PendingKey(UNREAD, item.event.type, place=item.place)


def _join(writer: OutcomeWriter, row: int, item: Item, key: PendingKey, due: int, now: int) -> None:
    """The item joins the group, which opens until `due` if it was closed."""
    pending = writer.state.pending
    group = pending.get(row, key)
    if group is None:
        group = PendingGroup(row, key, item.place)
        group.state, group.own_wait = OPEN, True
        pending.put(group)
        pending.set_timer(group, writer.state.users.ids[row], due)
    group.join(item, now)
    pending.touch(group)
    writer.wait(group, item, now)


def mail_comes(writer: OutcomeWriter, group: PendingGroup, now: int) -> None:
    """At its time and at the end of every hold: A and email for each item, then the rest is gated as one."""
    state = writer.state
    group.settle_waits(now)
    for item in list(group.items):
        final = _item_outcome(state, group.row, item, now)
        if final is not None:
            group.remove(group.items.index(item))
            writer.end(group.row, item, final, now, group_name(group))
    if not group.items:
        state.pending.close(group)
        return
    _gate(writer, group, now)


def _item_outcome(state: GroupState, row: int, item: Item, now: int) -> FinalOutcome | None:
    final = filter_item(state, row, item, now)
    if final is not None:
        return final
    has_email = "email" in allowed(state, row, item.event, state.registry.profile(item.event.type)).channels
    if has_email and not state.kills.channel("email"):
        return None
    return no_channel(item, killed=has_email)


def _gate(writer: OutcomeWriter, group: PendingGroup, now: int) -> None:
    """The digest is gated as P1, mail of one type as the most urgent of its items."""
    state, row, digest = writer.state, group.row, group.key.kind == DIGEST
    slot = not digest and in_slot(group.items)
    gated = gate(state, row, "P1" if digest else most_urgent(group.items), now, slot=slot)
    for item in group.items:
        item.cap_hour, item.cap_day = gated.cap_hour, gated.cap_day
    if isinstance(gated.stop, Hold):
        group.state = HELD
        state.pending.set_timer(group, state.users.ids[row], gated.stop.until)
        for item in group.items:
            writer.wait(group, item, now)
        return
    if gated.stop is None:
        found = ChannelRoute(MAIL_ALONE, (), False)
        emit(writer, row, group.items, found, now, group=group_name(group), first=True, digest=digest)
    else:
        for item in group.items:
            writer.end(row, item, gated.stop, now, group_name(group))
    state.pending.close(group)
