"""Rule C: what arrives at a group, and what happens when its time comes (RULES 3.C).

A type without a window is a group of one item that exists only while it is held.
"""

from operators.context import OutcomeWriter, group_name
from operators.emit import emit, no_channel, route_first, waits_as_mail
from operators.filter import filter_item
from operators.gate import gate, in_slot, most_urgent
from operators.outcomes import FinalOutcome, Hold
from operators.waiting_mail import mail_waits
from state.decide.pending import HELD, OPEN, Item, PendingGroup, PendingKey
from state.model.event import Event


def group_key(event: Event, window_ms: int, place: int) -> PendingKey:
    """The group that an event belongs to."""
    if window_ms > 0 and event.priority != "P0":
        return PendingKey("window", event.type, event.object)
    return PendingKey("single", place=place)


def arrive(writer: OutcomeWriter, row: int, item: Item, key: PendingKey, window_ms: int, now: int) -> None:
    """An item that passed A and B and has an interruptive channel comes to its group."""
    group = writer.state.pending.get(row, key)
    if group is not None:
        join(writer, group, item, now)
        return
    group = PendingGroup(row, key, item.place)
    group.join(item, now)
    _gate_pending(writer, group, window_ms, now, was_closed=True)


def join(writer: OutcomeWriter, group: PendingGroup, item: Item, now: int) -> None:
    """It joins an open or held group; nothing is emitted, the time stays."""
    group.join(item, now)
    writer.state.pending.touch(group)
    writer.wait(group, item, now)


def time_comes(writer: OutcomeWriter, group: PendingGroup, now: int) -> None:
    """Rule A for each pending item, then the rest is gated as one."""
    state = writer.state
    group.settle_waits(now)
    end_filtered(writer, group, now)
    if not group.items:
        state.pending.close(group)
        return
    window_ms = state.registry.profile(group.key.type).window_ms if group.key.kind == "window" else 0
    _gate_pending(writer, group, window_ms, now, was_closed=False)


def end_filtered(writer: OutcomeWriter, group: PendingGroup, now: int) -> None:
    """What rule A ends leaves the group."""
    name = group_name(group)
    for item in list(group.items):
        final = filter_item(writer.state, group.row, item, now)
        if final is not None:
            group.remove(group.items.index(item))
            writer.end(group.row, item, final, now, name)


def _gate_pending(writer: OutcomeWriter, group: PendingGroup, window_ms: int, now: int, *, was_closed: bool) -> None:
    state = writer.state
    gated = gate(state, group.row, most_urgent(group.items), now, slot=in_slot(group.items))
    for item in group.items:
        item.cap_hour, item.cap_day = gated.cap_hour, gated.cap_day
    if gated.stop is None:
        _release(writer, group, window_ms, now, was_closed=was_closed)
    elif isinstance(gated.stop, Hold):
        hold(writer, group, gated.stop, now)
    else:
        end_all(writer, group, gated.stop, now, closed=was_closed)


def hold(writer: OutcomeWriter, group: PendingGroup, stop: Hold, now: int) -> None:
    """The group is held until the hold's time with all that is pending."""
    pending = writer.state.pending
    group.state = HELD
    group.own_wait = stop.own_wait
    pending.put(group)
    pending.set_timer(group, writer.state.users.ids[group.row], stop.until)
    for item in group.items:
        writer.wait(group, item, now)


def end_all(writer: OutcomeWriter, group: PendingGroup, final: FinalOutcome, now: int, *, closed: bool = False) -> None:
    """All pending items end for one reason; the group is closed."""
    name = "closed" if closed and group.key.kind == "window" else group_name(group)
    for item in group.items:
        writer.end(group.row, item, final, now, name)
    writer.state.pending.close(group)


def _release(writer: OutcomeWriter, group: PendingGroup, window_ms: int, now: int, *, was_closed: bool) -> None:
    """Rule E for the pending items; then the group is open with nothing pending, or closed if no channel was left."""
    state, row, items = writer.state, group.row, group.items
    found = route_first(state, row, items)
    name = "closed" if was_closed and group.key.kind == "window" else group_name(group)
    profile = state.registry.profile(items[0].event.type)
    if not found.chosen:
        for item in items:
            writer.end(row, item, no_channel(item, killed=found.killed), now, name)
        state.pending.close(group)
        return
    if waits_as_mail(profile, items[0].event, found.chosen, in_row=items[0].inbox):
        mail_waits(writer, row, items, profile, now)
    else:
        emit(writer, row, items, found, now, group=name, first=was_closed or group.key.kind == "single")
    _reopen(writer, group, window_ms, now)


def _reopen(writer: OutcomeWriter, group: PendingGroup, window_ms: int, now: int) -> None:
    pending = writer.state.pending
    if window_ms <= 0:
        pending.close(group)
        return
    group.items, group.waits_from = [], []
    group.state, group.own_wait = OPEN, False
    pending.put(group)
    pending.set_timer(group, writer.state.users.ids[group.row], now + window_ms)
