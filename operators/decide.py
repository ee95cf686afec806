"""The pipeline of RULES 3 for one key group: apply one record of the decision log, write what follows from it.

A pure function of (state, record, place): the clock is the record's stamp, and a timer's clock is its due time (RULES
6).
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from operators.aggregate import arrive, end_all, group_key, time_comes
from operators.bulk import decide_slice, decides_in_bulk
from operators.columns import columns_of
from operators.context import OutcomeWriter
from operators.digest import digest_comes
from operators.emit import no_channel
from operators.fan_out import audience_rows, in_hash_range
from operators.filter import event_outcome, user_outcome
from operators.outcomes import FinalOutcome
from operators.retract import read, retract
from operators.route import AllowedChannels, allowed
from state.decide.group import GroupState
from state.decide.pending import GivenUp, Item
from state.decide.users import Endpoint
from state.model.event import Event
from state.model.inbox import InboxOperation
from state.model.records import Outputs
from state.model.registry import load_registry
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


def apply(state: GroupState, record: Work, place: int, given_up: Iterable[GivenUp] = ()) -> Outputs:
    """Fire what is due by the record's stamp, then apply the record; `place` is its offset in the decision log.

    Before that, groups that were given up end unsent, with the reason `dead_letter`.
    """
    out = Outputs()
    writer = OutcomeWriter(state, out)
    state.now = max(state.now, record.stamp)
    state.place = place
    for each in given_up:
        give_up(writer, each)
    fire_timers(writer, state.now)
    _apply_record(writer, record)
    return out


def fire_timers(writer: OutcomeWriter, now: int) -> None:
    """All timers due at or before `now`, in order, each with its due time as its clock."""
    pending = writer.state.pending
    while (group := pending.pop_due(now)) is not None:
        pending.firing = group
        pending.watch(group)
        if group.key.kind == "digest":
            digest_comes(writer, group, group.due)
        else:
            time_comes(writer, group, group.due)
    if pending.firing is not None:
        pending.firing = None
        pending.watch(None)


def give_up(writer: OutcomeWriter, given_up: GivenUp) -> None:
    """End what waits there: it cannot be handled."""
    state = writer.state
    group = state.pending.get(state.users.row(given_up.user), given_up.key)
    if group is not None:
        end_all(writer, group, FinalOutcome("SUPPRESSED", "dead_letter"), state.now)


def _apply_record(writer: OutcomeWriter, record: Work) -> None:
    match record:
        case EventWork():
            decide_event(writer, record.event, [writer.state.users.row(user) for user in dict.fromkeys(record.users)])
        case SliceWork():
            rows = audience_rows(writer.state, record.event)
            rows = in_hash_range(writer.state, rows, int(record.hash_from), int(record.hash_to))
            decide_event(writer, record.event, rows)
        case ReadWork():
            up_to = writer.state.now if record.up_to is None else record.up_to
            read(writer, record.user, up_to, writer.state.now)
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


def decide_event(writer: OutcomeWriter, event: Event, rows: npt.NDArray[np.int32] | list[int]) -> None:
    """Every recipient's decision, one by one."""
    state, now = writer.state, writer.state.now
    state.totals.resolved += len(rows)
    if event.retracts:
        for row in map(int, rows):
            retract(writer, row, Item(event, state.place, now, inbox=False), now)
        return
    profile = state.registry.profile(event.type)
    final = event_outcome(state, event, profile, now, 0)
    if decides_in_bulk(state, event, profile, len(rows)):
        rows = _decide_bulk(writer, event, np.asarray(rows, np.int32), final)
    age = 0 if event.fan_out_type == "FOLLOWERS" else None
    for row in map(int, rows):
        item = Item(event, state.place, now, inbox=False, follower_age_ms=age)
        decide_one(writer, row, item, final or user_outcome(state, row, event, profile), now)


def _decide_bulk(
    writer: OutcomeWriter, event: Event, rows: npt.NDArray[np.int32], final: FinalOutcome | None
) -> npt.NDArray[np.int32]:
    """Decide most of the rows at once; returns those that must be decided one by one."""
    state = writer.state
    decided, left = decide_slice(state, columns_of(state.users.preferences), event, rows, state.now, final)
    writer.out.slices.append(decided)
    for number, ending in enumerate(decided.endings):
        part = decided.rows[decided.ending == number]
        state.totals.inbox_items += len(part) * ending.inbox
        if ending.route is not None:
            state.totals.emitted += int(state.users.deliveries(part, ending.route.chosen).sum())
    return left


def decide_one(writer: OutcomeWriter, row: int, item: Item, final: FinalOutcome | None, now: int) -> None:
    """Rules B to E for one recipient whom A lets pass; `final` is what A found."""
    state, event = writer.state, item.event
    if final is not None:
        writer.end(row, item, final, now, None)
        return
    profile = state.registry.profile(event.type)
    found = allowed(state, row, event, profile)
    if not found.channels:
        writer.end(row, item, no_channel(item, killed=found.inbox_killed), now, None)
        return
    _enter_inbox(writer, row, item, found, windowed=profile.window_ms > 0)
    if not found.interruptive:
        writer.end(row, item, FinalOutcome("INBOX", None), now, None)
        return
    arrive(writer, row, item, group_key(event, profile.window_ms, item.place), profile.window_ms, now)


def _enter_inbox(writer: OutcomeWriter, row: int, item: Item, found: AllowedChannels, *, windowed: bool) -> None:
    if not found.in_app:
        return
    event = item.event
    item.inbox = True
    writer.state.totals.inbox_items += 1
    writer.inbox(
        InboxOperation(
            op="add", user=writer.state.users.ids[row], type=event.type, object=event.object, actor=event.actor,
            event_id=event.event_id, windowed=windowed, at=writer.state.now, place=item.place,
            priority=event.priority, payload=event.payload,
        )
    )  # fmt: skip
