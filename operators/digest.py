"""The daily digest: items whose only way out is a mail that the type marks so (RULES 3.E, last paragraph)."""

from operators.context import OutcomeWriter, group_name
from operators.emit import DIGEST_CHANNELS, emit, no_channel
from operators.filter import filter_item
from operators.gate import gate
from operators.outcomes import FinalOutcome, Hold
from operators.quiet import next_digest
from operators.route import ChannelRoute, allowed
from state.decide.group import GroupState
from state.decide.pending import DIGEST_KEY, HELD, OPEN, Item, PendingGroup


def digest_time(state: GroupState, row: int, now: int) -> int:
    """The next 09:00 after `now` in the user's quiet-hours zone."""
    return next_digest(state.users.preference_of(row).zone, now)


def join_digest(writer: OutcomeWriter, row: int, item: Item, due: int, now: int) -> None:
    """The item joins the user's digest, which opens until `due` if it was closed."""
    pending = writer.state.pending
    group = pending.get(row, DIGEST_KEY)
    if group is None:
        group = PendingGroup(row, DIGEST_KEY, item.place)
        group.state, group.own_wait = OPEN, True
        pending.put(group)
        pending.set_timer(group, writer.state.users.ids[row], due)
    group.join(item, now)
    pending.touch(group)
    writer.wait(group, item, now)


def digest_comes(writer: OutcomeWriter, group: PendingGroup, now: int) -> None:
    """At 09:00 and at the end of every hold: A and email for each item, then the rest is gated as one P1 item."""
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
    state, row = writer.state, group.row
    gated = gate(state, row, "P1", now)
    for item in group.items:
        item.cap_hour, item.cap_day = gated.cap_hour, gated.cap_day
    if isinstance(gated.stop, Hold):
        group.state = HELD
        state.pending.set_timer(group, state.users.ids[row], gated.stop.until)
        for item in group.items:
            writer.wait(group, item, now)
        return
    if gated.stop is None:
        emit(
            writer,
            row,
            group.items,
            ChannelRoute(DIGEST_CHANNELS, (), False),
            now,
            group="digest",
            first=True,
            digest=True,
        )
    else:
        for item in group.items:
            writer.end(row, item, gated.stop, now, group_name(group))
    state.pending.close(group)
