"""RULES 3 for thousands of recipients of one event at once: the same decisions as `operators.decide`, as columns.

Only types without a window come here. Recipients held until one time become a batch, which is decided here again when
its time comes. Whose only way out is a mail that waits, or whose first channel may be passed over, is handed back and
decided alone. A test holds both ways against each other.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.ahead import decision_time
from operators.columns import PreferenceColumns
from operators.emit import waits_as_mail
from operators.filter import event_outcome
from operators.gate import SLOT_PER_DAY
from operators.outcomes import SHED, FinalOutcome
from operators.route import AllowedChannels, ChannelRoute, carrying, routed
from state.decide.emitted import HOUR_MS, EmissionLog
from state.decide.group import GroupState
from state.decide.held import HeldBatch, HeldMembers, Wait
from state.model.channels import INTERRUPTIVE
from state.model.event import Event
from state.model.registry import TypeProfile

RowNumbers = npt.NDArray[np.intp]
Codes = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Times = npt.NDArray[np.int64]
_CHANNEL_BITS = 1 << len(INTERRUPTIVE)


class Ending(NamedTuple):
    """How some of the recipients end; `route` where they end in an emission."""

    outcome: str
    reason: str | None
    inbox: bool
    gated: bool
    """Whether rule D looked at them, so that the counts are on the record."""
    route: ChannelRoute | None = None
    group: str | None = None
    """The group on the record: `single` where rule C was reached, which lets every item here alone."""


class Slice(NamedTuple):
    """Decided recipients of one event: `ending[i]` numbers the ending of `rows[i]`. HELD is an ending too."""

    event: Event
    now: int
    place: int
    rows: RowNumbers
    ending: Codes
    endings: list[Ending]
    hour: npt.NDArray[np.int32]
    day: npt.NDArray[np.int32]
    follower_age_ms: int | None
    until: Times
    """Where HELD; else 0."""
    control_version: int
    """As of the decision: the record that moved the time may change it before this is written."""
    waited_ms: int = 0
    is_new: bool = True
    """Whether the recipients' inbox rows are written with it: not, where a hold ended."""


class _RouteCase(NamedTuple):
    """What rules B and E say for one list of channels and one set of usable addresses."""

    found: AllowedChannels
    route: ChannelRoute | None
    """Where a channel is left."""


class _Endings:
    """Numbers endings as they are met."""

    def __init__(self) -> None:
        self.list: list[Ending] = []
        self._number: dict[Ending, int] = {}

    def number(self, ending: Ending) -> int:
        found = self._number.get(ending)
        if found is None:
            found = self._number[ending] = len(self.list)
            self.list.append(ending)
        return found


class _Deciding(NamedTuple):
    """What is decided on: recipients of one event at one time, new ones or those of a hold that ends."""

    state: GroupState
    columns: PreferenceColumns
    event: Event
    profile: TypeProfile
    now: int
    is_new: bool
    endings: _Endings
    counted: EmissionLog
    """The pool of rule D."""

    def gated(self, *, by_rule_d: bool) -> bool:
        """Whether the counts of a gate are on the record: that of now, or else of the hold's beginning."""
        return self.event.priority != "P0" and (by_rule_d or not self.is_new)


class _Decided(NamedTuple):
    """Of each row: the number of its ending, -1 for who is handed back; how long it is held, and whether by quiet
    hours.
    """

    codes: Codes
    until: Times
    own_wait: Flags
    passed: Flags
    """Whom rule A let pass."""


def decides_in_bulk(state: GroupState, event: Event, profile: TypeProfile, recipients: int) -> bool:
    """Whether an event is decided in bulk; not of unregistered types, since columns are kept per type."""
    windowed = profile.window_ms > 0 and event.priority != "P0"
    return (
        profile.registered
        and recipients >= state.bulk_from
        and not windowed
        and event.to is None
        and not event.retracts
    )


def decide_slice(
    state: GroupState,
    columns: PreferenceColumns,
    event: Event,
    rows: RowNumbers,
    now: int,
    final: FinalOutcome | None,
) -> tuple[Slice, RowNumbers]:
    """(the decided slice, the rows to decide one by one); `final` is what A.1 and A.2 said of the event.

    Emissions are counted here, and whoever is held waits in a batch.
    """
    scope = _scope(state, columns, event, now, is_new=True)
    found = _evaluate(scope, rows, np.zeros(len(rows), np.bool_), final)
    age = 0 if event.fan_out_type == "FOLLOWERS" else None
    decided = Slice(
        event, now, state.place, rows, found.codes, scope.endings.list, scope.counted.hour[rows],
        scope.counted.day[rows], age, found.until, state.kills.version,
    )  # fmt: skip
    return _concluded(scope, decided, found, joined_at=now)


def release_slice(state: GroupState, columns: PreferenceColumns, batch: HeldBatch) -> tuple[Slice, RowNumbers]:
    """The same where a hold ends: A, D and E again for whoever is in the batch, which the caller ends."""
    wait, members = batch.wait, batch.members()
    now, rows = wait.due, members.rows.astype(np.intp)
    scope = _scope(state, columns, wait.event, now, is_new=False)
    waited_ms = wait.waited_ms + (now - wait.since if wait.own_wait else 0)
    final = event_outcome(state, wait.event, scope.profile, now, waited_ms)
    found = _evaluate(scope, rows, members.inbox, final)
    decided = Slice(
        wait.event, now, wait.place, rows, found.codes, scope.endings.list,
        np.where(found.passed, scope.counted.hour[rows], members.hour),
        np.where(found.passed, scope.counted.day[rows], members.day),
        wait.follower_age_ms, found.until, state.kills.version, waited_ms, is_new=False,
    )  # fmt: skip
    return _concluded(scope, decided, found, joined_at=wait.joined_at)


def _scope(state: GroupState, columns: PreferenceColumns, event: Event, now: int, *, is_new: bool) -> _Deciding:
    columns.refresh(now - state.ahead)
    counted = state.pool(slot=event.slot is True)
    counted.reserve_rows(len(state.users))
    return _Deciding(state, columns, event, state.registry.profile(event.type), now, is_new, _Endings(), counted)


def _concluded(scope: _Deciding, decided: Slice, found: _Decided, *, joined_at: int) -> tuple[Slice, RowNumbers]:
    """Without those who are handed back. What follows from it for the caps and for what waits, is done."""
    state, alone = scope.state, found.codes < 0
    left, own_wait = decided.rows[:0], found.own_wait
    if np.count_nonzero(alone):
        left = decided.rows[alone]
        own_wait = own_wait[~alone]
        decided = decided._replace(
            **{name: getattr(decided, name)[~alone] for name in ("rows", "ending", "hour", "day", "until")}
        )
    emitted = np.array([each.route is not None for each in decided.endings], np.bool_)
    if scope.event.priority != "P0" and emitted.any():
        scope.counted.add_rows(decided.rows[emitted[decided.ending]], scope.now)
    if np.count_nonzero(decided.until):
        _hold(state, decided, own_wait, joined_at)
    return decided, left


def _hold(state: GroupState, decided: Slice, own_wait: Flags, joined_at: int) -> None:
    """One batch for each time and reason, in this order, whatever the order of the rows."""
    held = decided.until.nonzero()[0]
    kinds = decided.until[held] * 2 + own_wait[held]
    order = np.lexsort((decided.rows[held], kinds))
    held, kinds = held[order], kinds[order]
    in_row = np.array([each.inbox for each in decided.endings])
    ends = (kinds[1:] != kinds[:-1]).nonzero()[0] + 1
    for begin, end in pairwise([0, *ends.tolist(), len(held)]):
        part = held[begin:end]
        wait = Wait(
            decided.event, decided.place, int(decided.until[part[0]]), bool(own_wait[part[0]]), joined_at,
            decided.waited_ms, decided.now, decided.follower_age_ms,
        )  # fmt: skip
        rows = decided.rows[part].astype(np.int32)
        members = HeldMembers(rows, in_row[decided.ending[part]], decided.hour[part], decided.day[part])
        state.pending.hold_together(HeldBatch(wait, members))


def _evaluate(scope: _Deciding, rows: RowNumbers, inbox: Flags, final: FinalOutcome | None) -> _Decided:
    """`inbox`: who has an inbox row already."""
    count = len(rows)
    found = _Decided(
        np.full(count, -1, np.int32), np.zeros(count, np.int64), np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    )
    if final is not None:
        _end(scope, found.codes, inbox, np.ones(count, np.bool_), final, by_rule_d=False)
        return found
    documents = scope.state.users.preference[rows]
    _filter(scope, rows, documents, inbox, found.codes)
    np.less(found.codes, 0, out=found.passed)
    open_ = found.passed.nonzero()[0]
    _route(scope, rows[open_], documents[open_], inbox[open_], open_, found)
    return found


def _end(scope: _Deciding, codes: Codes, inbox: Flags, mask: Flags, final: FinalOutcome, *, by_rule_d: bool) -> None:
    """Number the endings of some."""
    if not np.count_nonzero(mask):
        return
    gated = scope.gated(by_rule_d=by_rule_d)
    for in_row, part in ((False, mask & ~inbox), (True, mask & inbox)):
        if np.count_nonzero(part):
            codes[part] = scope.endings.number(Ending(*final, in_row, gated, group="single" if gated else None))


def _filter(scope: _Deciding, rows: RowNumbers, documents: Codes, inbox: Flags, codes: Codes) -> None:
    """A.3 to A.6 in their order: the first that ends a recipient gives the reason."""
    state, event, profile = scope.state, scope.event, scope.profile
    urgent = event.priority == "P0"
    found: list[tuple[str, Flags]] = []
    if event.actor is not None and not profile.notify_self:
        himself = state.users.ids.find(event.actor)
        if himself is not None:
            found.append(("self", rows == himself))
    if not urgent:
        found.append(("master_off", ~scope.columns.master[documents]))
    found.append(("type_off", ~scope.columns.of_type(profile).enabled[documents]))
    muted = set() if urgent or profile.mandatory else _muted_rows(state, event)
    if muted:
        found.append(("muted", np.isin(rows, np.fromiter(muted, np.int32))))
    for reason, mask in reversed(found):
        _end(scope, codes, inbox, mask, FinalOutcome("SUPPRESSED", reason), by_rule_d=False)


def _muted_rows(state: GroupState, event: Event) -> set[int]:
    users = state.users
    actors = users.actor_muted_by.get(event.actor, set()) if event.actor is not None else set()
    objects = users.object_muted_by.get(event.object, set()) if event.object is not None else set()
    return actors | objects


def _route(
    scope: _Deciding, rows: RowNumbers, documents: Codes, inbox: Flags, places: npt.NDArray[np.intp], found: _Decided
) -> None:
    """B, D and E for rows that A lets pass, which are at these places of what is found. When a hold ends, nobody
    enters his inbox any more, and D comes before it is known whether a channel is left.
    """
    columns = scope.columns
    lists = columns.of_type(scope.profile).channels[documents]
    combined = lists * _CHANNEL_BITS + scope.state.users.usable[rows]
    cases = {key: _case(scope, key) for key in _present(columns, combined)}
    if scope.is_new:
        inbox = _lookup({key: case.found.in_app for key, case in cases.items()}, combined, np.bool_)
        numbers = {key: _ending_number(scope, case, in_row=case.found.in_app) for key, case in cases.items()}
        codes = _lookup(numbers, combined)
    else:
        both = combined * 2 + inbox
        keys = _present(columns, both, 2)
        codes = _lookup({key: _ending_number(scope, cases[key // 2], in_row=key % 2 > 0) for key in keys}, both)
    stopped, until, own_wait = _gate(scope, rows, documents, inbox)
    stops = stopped != _PASSES
    if scope.is_new:
        stops &= _lookup({key: bool(case.found.interruptive) for key, case in cases.items()}, combined, np.bool_)
    found.codes[places] = np.where(stops, stopped, codes)
    found.until[places] = np.where(stops, until, 0)
    found.own_wait[places] = own_wait


def _present(columns: PreferenceColumns, combined: Codes, parts: int = 1) -> list[int]:
    """Keys of the cases there are, in the order of their content. The numbers of lists differ from one start to the
    next, but the order of endings, and of the batches made of them, must not.
    """
    keys: list[int] = np.bincount(combined, minlength=1).nonzero()[0].tolist()
    step = _CHANNEL_BITS * parts
    return sorted(keys, key=lambda key: (columns.channel_lists[key // step], key % step))


_PASSES = -2
_ALONE = -1


def _lookup(values: dict[int, int], combined: Codes, kind: type[np.generic] = np.int32) -> npt.NDArray[Any]:
    table = np.zeros(max(values, default=0) + 1, kind)
    for key, value in values.items():
        table[key] = value
    return table[combined]


def _case(scope: _Deciding, key: int) -> _RouteCase:
    listed, bits = scope.columns.channel_lists[key // _CHANNEL_BITS], key % _CHANNEL_BITS
    profile, killed = scope.profile, scope.state.kills.channels()
    found, route = routed(listed, carrying(bits, scope.event, profile), profile.policy, killed)
    return _RouteCase(found, route if route.chosen else None)


def _ending_number(scope: _Deciding, case: _RouteCase, *, in_row: bool) -> int:
    """How those end whom the gate lets pass, or whom it is not asked about since no channel of theirs interrupts."""
    route = case.route
    if route is not None and (
        waits_as_mail(scope.profile, scope.event, route.chosen, in_row=in_row) or _may_pass_over(scope, route)
    ):
        return _ALONE
    reached = bool(case.found.interruptive) or not scope.is_new
    gated, group = scope.gated(by_rule_d=reached), "single" if reached else None
    if route is not None:
        return scope.endings.number(Ending("EMITTED", None, in_row, gated, route, group))
    if in_row:
        return scope.endings.number(Ending("INBOX", None, in_row, gated, group=group))
    killed = bool(case.found.interruptive) if reached else case.found.inbox_killed
    return scope.endings.number(
        Ending("SUPPRESSED", "kill_switch" if killed else "no_channel", in_row, gated, group=group)
    )


def _may_pass_over(scope: _Deciding, route: ChannelRoute) -> bool:
    """Whether the devices of each recipient must be looked at: another channel is left, and this one's are away."""
    away = scope.state.kills.away
    first = scope.profile.policy == "first" and bool(route.rest)
    return bool(away) and first and any(place.startswith(route.chosen[0] + "/") for place in away)


def _gate(scope: _Deciding, rows: RowNumbers, documents: Codes, inbox: Flags) -> tuple[Codes, Times, Flags]:
    """Rule D: `_PASSES` or the number of the ending; where that is HELD, until when and whether for quiet hours."""
    state, columns = scope.state, scope.columns
    scope.counted.advance(scope.now)
    codes, until = np.full(len(rows), _PASSES, np.int32), np.zeros(len(rows), np.int64)
    quiet = columns.quiet[documents]
    if scope.event.priority == "P0":
        return codes, until, quiet
    later = scope.event.priority == "P2"
    max_hour, max_day = columns.max_per_hour[documents], columns.max_per_day[documents]
    if scope.event.slot is True:
        max_day = np.minimum(max_day, SLOT_PER_DAY)
    hour_full = scope.counted.hour[rows] >= max_hour
    day_full = scope.counted.day[rows] >= max_day
    never = hour_full & (later | (max_hour <= 0))
    for reason, mask in (("cap_hour", never), ("cap_day", day_full)):
        _end(scope, codes, inbox, mask, FinalOutcome("SUPPRESSED", reason), by_rule_d=True)
    full = hour_full & ~never & ~day_full & ~quiet
    if state.kills.under_load:
        shed = state.users.dormant(rows, scope.now)
        _end(scope, codes, inbox, shed, SHED, by_rule_d=True)
        full &= ~shed
    if later:
        _end(scope, codes, inbox, quiet, FinalOutcome("SUPPRESSED", "quiet_hours"), by_rule_d=True)
        return codes, until, quiet
    if np.count_nonzero(full):
        until[full] = scope.counted.nth_latest_of(rows[full], max_hour[full]) + HOUR_MS
    ends = columns.quiet_end[documents[quiet]]
    until[quiet] = [decision_time(end, scope.now, state.ahead) for end in ends.tolist()] if state.ahead else ends
    _end(scope, codes, inbox, until > 0, FinalOutcome("HELD", None), by_rule_d=True)
    return codes, until, quiet
