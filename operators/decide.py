"""The pipeline of RULES 3 for one key group: apply one record of the decision log, write what follows from it.

A pure function of (state, record, place): the clock is the record's stamp, and a timer's clock is its due time (RULES
6).
"""

from collections.abc import Iterable

import numpy as np

from operators.aggregate import arrive, end_all, group_key, time_comes
from operators.bulk import Evaluated, Slice, conclude_slice, decide_slice, decides_in_bulk, release_slice
from operators.bulk_rules import RowNumbers
from operators.columns import columns_of
from operators.context import OutcomeWriter
from operators.emit import no_channel
from operators.fan_out import audience_rows, in_hash_range
from operators.filter import event_outcome, user_outcome
from operators.outcomes import FinalOutcome
from operators.retract import erase, read, retract, set_status
from operators.route import allowed
from operators.templates import row_language
from operators.waiting_mail import MAIL_KINDS, mail_comes
from state.decide.group import GroupState
from state.decide.held import HeldBatch
from state.decide.packed_values import AnyRows
from state.decide.pending import BATCH, GivenUp, Item, PendingGroup
from state.model.delivery import Endpoint
from state.model.event import Event
from state.model.inbox import InboxOperation
from state.model.records import Outputs
from state.model.registry import TypeProfile, load_registry
from state.model.work import (
    EndpointWork,
    EventWork,
    FollowWork,
    KillWork,
    PreferenceWork,
    ProfileWork,
    ReadWork,
    SegmentWork,
    SliceWork,
    VersionsWork,
    Work,
)


def apply(
    state: GroupState,
    record: Work,
    place: int,
    given_up: Iterable[GivenUp] = (),
    evaluated: Evaluated | None = None,
) -> Outputs:
    """Fire what is due by the record's stamp, then apply the record; `place` is its offset in the decision log.

    Before that, groups that were given up end unsent, with the reason `dead_letter`. `evaluated`: what
    `operators.together` found of this record.
    """
    out = Outputs()
    writer = OutcomeWriter(state, out)
    state.now = max(state.now, record.stamp)
    state.place, state.ahead = place, record.ahead
    for each in given_up:
        give_up(writer, each)
    if state.pending.next_due() <= state.now:
        _separate(state, record)
        fire_timers(writer, state.now)
    if evaluated is None:
        _apply_record(writer, record)
    else:
        _apply_evaluated(writer, evaluated)
    return out


def fire_timers(writer: OutcomeWriter, now: int) -> None:
    """All timers due at or before `now`, in order, each with its due time as its clock."""
    pending = writer.state.pending
    while (waiting := pending.pop_due(now)) is not None:
        pending.firing = waiting
        pending.watch(waiting)
        if isinstance(waiting, HeldBatch):
            _batch_comes(writer, waiting)
        elif waiting.key.kind in MAIL_KINDS:
            mail_comes(writer, waiting, waiting.due)
        else:
            time_comes(writer, waiting, waiting.due)
    if pending.firing is not None:
        pending.firing = None
        pending.watch(None)


def _separate(state: GroupState, record: Work) -> None:
    """Slices are written when the record is applied: whom it changes is not decided in a slice before it."""
    match record:
        case PreferenceWork() | EndpointWork() | ProfileWork():
            row = state.users.ids.find(record.user)
            if row is not None:
                state.take_out(row, lambda batch: batch.wait.due <= state.now)
        case VersionsWork():
            for batch in [each for each in state.pending.batches.values() if each.wait.due <= state.now]:
                state.take_apart(batch)


def _batch_comes(writer: OutcomeWriter, batch: HeldBatch) -> None:
    """The time of a batch comes. Whoever leaves it here waits alone for the same time, and is handled next."""
    state, pending = writer.state, writer.state.pending
    for row in _overtaken(state, batch):
        pending.take_out(batch, row, state.users.ids[row])
    profile = state.registry.profile(batch.wait.event.type)
    if len(batch) < state.bulk_from or not profile.registered:
        state.take_apart(batch)
        return
    decided, left = release_slice(state, columns_of(state.users.preferences), batch)
    _write_slice(writer, decided)
    for row in left.tolist():
        pending.take_out(batch, row, state.users.ids[row])
    if len(batch):
        pending.end(batch)


def _overtaken(state: GroupState, batch: HeldBatch) -> list[int]:
    """Members of whom something else waits for the same time and comes first (RULES 6)."""
    wait, by_row = batch.wait, state.pending.by_row
    rows = [row for row in batch.members().rows.tolist() if row in by_row]
    return [row for row in rows if any(g.due == wait.due and g.place < wait.place for g in by_row[row].values())]


def waiting_of(state: GroupState, given_up: GivenUp) -> PendingGroup | None:
    """What is given up, alone; None if it is gone."""
    row = state.users.row(given_up.user)
    if given_up.key.kind == "single":
        state.take_out(row, lambda batch: batch.wait.place == given_up.key.place)
    return state.pending.get(row, given_up.key)


def give_up(writer: OutcomeWriter, given_up: GivenUp) -> None:
    """End what waits there: it cannot be handled. Of a batch each member is tried alone."""
    state = writer.state
    if given_up.key.kind == BATCH:
        batch = state.pending.batches.get(given_up.key.place)
        if batch is not None:
            state.take_apart(batch)
        return
    group = waiting_of(state, given_up)
    if group is not None:
        end_all(writer, group, FinalOutcome("SUPPRESSED", "dead_letter"), state.now)


def _apply_record(writer: OutcomeWriter, record: Work) -> None:
    match record:
        case EventWork():
            decide_event(writer, record.event, list(map(writer.state.users.row, dict.fromkeys(record.users))))
        case SliceWork():
            rows = audience_rows(writer.state, record.event)
            rows = in_hash_range(writer.state, rows, int(record.hash_from), int(record.hash_to))
            decide_event(writer, record.event, rows)
        case ReadWork(erase=True):
            erase(writer, record.user, writer.state.now, record.logged())
        case ReadWork(status=str()):
            set_status(writer, record, writer.state.now)
        case ReadWork():
            up_to = writer.state.now if record.up_to is None else record.up_to
            read(writer, record.user, up_to, writer.state.now, record.logged())
        case _:
            apply_setting(writer.state, record)


def apply_setting(state: GroupState, record: Work) -> None:
    """Preferences, endpoints, follows, segments, switches and versions count from their place in the log."""
    users, place = state.users, state.place
    match record:
        case PreferenceWork():
            users.set_preference(record.user, record.doc, place)
        case EndpointWork() if record.gone_at is not None:
            users.retire_endpoint(record.user, record.channel, record.id, record.gone_at, place)
        case EndpointWork():
            active = record.state == "active"
            endpoint = Endpoint(
                record.channel, record.id, record.platform, record.address, active, record.registered_at, place
            )
            users.set_endpoint(record.user, endpoint)
        case ProfileWork():
            users.set_profile(record.user, record.locale, record.name)
        case FollowWork():
            row = users.row(record.follower)
            (state.followers.add if record.on else state.followers.discard)(record.followee, row)
        case SegmentWork():
            state.segments.replace(record.segment, np.array([users.row(user) for user in record.users], np.int64))
        case KillWork():
            state.kills.set(record.scope, record.value, on=record.on, place=place)
        case VersionsWork():
            state.registry = load_registry(record.types, version=record.registry)
            state.registry_tables = record.types
            state.users.serve(record.served)
            state.bulk_from = record.bulk_from or state.bulk_from


def decide_event(writer: OutcomeWriter, event: Event, rows: AnyRows | list[int]) -> None:
    """Decide every recipient one by one."""
    state, now = writer.state, writer.state.now
    state.totals.resolved += len(rows)
    if event.retracts:
        for row in map(int, rows):
            retract(writer, row, Item(event, state.place, now, inbox=False), now)
        return
    profile = state.registry.profile(event.type)
    final = event_outcome(state, event, profile, now, 0)
    if decides_in_bulk(state, event, profile, len(rows)):
        rows = _decide_bulk(writer, event, np.asarray(rows, np.intp), final)
    _decide_alone(writer, event, rows, profile, final)


def _decide_alone(
    writer: OutcomeWriter,
    event: Event,
    rows: AnyRows | list[int],
    profile: TypeProfile,
    final: FinalOutcome | None,
) -> None:
    state, now, age = writer.state, writer.state.now, 0 if event.fan_out_type == "FOLLOWERS" else None
    for row in map(int, rows):
        item = Item(event, state.place, now, inbox=False, follower_age_ms=age)
        decide_one(writer, row, item, profile, final or user_outcome(state, row, event, profile), now)


def _decide_bulk(writer: OutcomeWriter, event: Event, rows: RowNumbers, final: FinalOutcome | None) -> RowNumbers:
    """Decide most of the rows at once; returns those that must be decided one by one."""
    state = writer.state
    decided, left = decide_slice(state, columns_of(state.users.preferences), event, rows, state.now, final)
    _write_slice(writer, decided)
    return left


def _apply_evaluated(writer: OutcomeWriter, evaluated: Evaluated) -> None:
    state = writer.state
    decided, left = conclude_slice(state, evaluated)
    state.totals.resolved += len(decided.rows) + len(left)
    _write_slice(writer, decided)
    if len(left):
        profile = state.registry.profile(decided.event.type)
        _decide_alone(writer, decided.event, left, profile, event_outcome(state, decided.event, profile, state.now, 0))


def _write_slice(writer: OutcomeWriter, decided: Slice) -> None:
    state = writer.state
    writer.out.slices.append(decided)
    counts = np.bincount(decided.ending, minlength=len(decided.endings)).tolist()
    for number, (ending, count) in enumerate(zip(decided.endings, counts, strict=True)):
        state.totals.inbox_items += count * (ending.inbox and decided.is_new)
        if ending.route is not None and count:
            part = decided.rows.compress(decided.ending == number)
            state.totals.emitted += int(np.add.reduce(state.users.deliveries(part, ending.route.chosen)))


def decide_one(
    writer: OutcomeWriter, row: int, item: Item, profile: TypeProfile, final: FinalOutcome | None, now: int
) -> None:
    """Rules B to E for one recipient whom A lets pass; `final` is what A found."""
    state, event = writer.state, item.event
    if final is not None:
        writer.end(row, item, final, now, None)
        return
    found = allowed(state, row, event, profile)
    if not found.channels:
        writer.end(row, item, no_channel(item, killed=found.inbox_killed), now, None)
        return
    if found.in_app:
        _enter_inbox(writer, row, item, windowed=profile.window_ms > 0)
    if not found.interruptive:
        writer.end(row, item, FinalOutcome("INBOX", None), now, None)
        return
    arrive(writer, row, item, group_key(event, profile.window_ms, item.place), profile.window_ms, now)


def _enter_inbox(writer: OutcomeWriter, row: int, item: Item, *, windowed: bool) -> None:
    event = item.event
    locale, _ = writer.state.users.profiles.get(row, (None, None))
    item.inbox = True
    writer.state.totals.inbox_items += 1
    writer.inbox(
        InboxOperation(
            op="add", user=writer.state.users.ids[row], type=event.type, object=event.object, actor=event.actor,
            event_id=event.event_id, windowed=windowed, at=writer.state.now, place=item.place,
            priority=event.priority, payload=event.payload, language=row_language(locale),
        )
    )  # fmt: skip
