"""RULES 3 for thousands of recipients of one event at once: the same decisions as `operators.decide`, as columns.

Only types without a window come here, and only new items. A recipient who must wait (a hold, a digest) is handed back
and decided alone, since waiting is state of his own. A test holds both ways against each other.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from operators.columns import PreferenceColumns
from operators.emit import goes_to_digest
from operators.outcomes import FinalOutcome
from operators.route import AllowedChannels, ChannelRoute, choose, usable
from state.decide.group import GroupState
from state.model.event import Event
from state.model.registry import TypeProfile

RowNumbers = npt.NDArray[np.int32]
Codes = npt.NDArray[np.int32]
_CHANNEL_BITS = 32


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
    """Decided recipients of one event: `ending[i]` numbers the ending of `rows[i]`."""

    event: Event
    now: int
    place: int
    rows: RowNumbers
    ending: Codes
    endings: list[Ending]
    hour: npt.NDArray[np.int32]
    day: npt.NDArray[np.int32]
    follower_age_ms: int | None


class _RouteCase(NamedTuple):
    """What rules B and E say for one list of channels and one set of usable addresses."""

    inbox: bool
    interruptive: bool
    ending: Ending
    waits: bool
    """Whether passing the gate leads into the digest."""


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

    Emissions are counted here.
    """
    profile = state.registry.profile(event.type)
    endings = _Endings()
    columns.refresh(now)
    state.emissions.reserve_rows(len(state.users))
    codes = np.full(len(rows), -1, np.int32)
    if final is not None:
        codes[:] = endings.number(Ending(final.outcome, final.reason, inbox=False, gated=False))
    else:
        _filter(state, columns, event, profile, rows, codes, endings)
        open_ = np.flatnonzero(codes < 0)
        codes[open_] = _route(state, columns, event, profile, rows[open_], endings, now)
    return _split(state, event, rows, codes, endings, now)


def _split(
    state: GroupState, event: Event, rows: RowNumbers, codes: Codes, endings: _Endings, now: int
) -> tuple[Slice, RowNumbers]:
    decided = codes >= 0
    kept, ending = rows[decided], codes[decided]
    hour, day = state.emissions.hour[kept], state.emissions.day[kept]
    emitted = np.array([each.route is not None for each in endings.list], np.bool_)
    if event.priority != "P0" and emitted.any():
        state.emissions.add_rows(kept[emitted[ending]], now)
    age = 0 if event.fan_out_type == "FOLLOWERS" else None
    return Slice(event, now, state.place, kept, ending, endings.list, hour, day, age), rows[~decided]


def _filter(
    state: GroupState,
    columns: PreferenceColumns,
    event: Event,
    profile: TypeProfile,
    rows: RowNumbers,
    codes: Codes,
    endings: _Endings,
) -> None:
    """A.3 to A.6 in their order: the first that ends a recipient gives the reason."""
    urgent = event.priority == "P0"
    numbers = state.users.preference[rows]
    found: list[tuple[str, npt.NDArray[np.bool_]]] = []
    if event.actor is not None and not profile.notify_self:
        found.append(("self", rows == state.users.row_of.get(event.actor, -1)))
    if not urgent:
        found.append(("master_off", ~columns.master[numbers]))
    found.append(("type_off", ~columns.of_type(profile).enabled[numbers]))
    muted = set() if urgent or profile.mandatory else _muted_rows(state, event)
    if muted:
        found.append(("muted", np.isin(rows, np.fromiter(muted, np.int32))))
    for reason, mask in reversed(found):
        codes[mask] = endings.number(Ending("SUPPRESSED", reason, inbox=False, gated=False))


def _muted_rows(state: GroupState, event: Event) -> set[int]:
    users = state.users
    actors = users.actor_muted_by.get(event.actor, set()) if event.actor is not None else set()
    objects = users.object_muted_by.get(event.object, set()) if event.object is not None else set()
    return actors | objects


def _route(
    state: GroupState,
    columns: PreferenceColumns,
    event: Event,
    profile: TypeProfile,
    rows: RowNumbers,
    endings: _Endings,
    now: int,
) -> Codes:
    """B, D and E for rows that A lets pass: numbers of endings, -1 for those who must wait."""
    lists = columns.of_type(profile).channels[state.users.preference[rows]]
    combined = lists * _CHANNEL_BITS + state.users.usable[rows]
    cases = {key: _case(state, columns, event, profile, key) for key in _present(columns, combined)}
    interruptive = _lookup(cases, combined, lambda case: int(case.interruptive)).astype(np.bool_)
    codes = _lookup(cases, combined, lambda case: -1 if case.waits else endings.number(case.ending))
    stopped = _gate(state, columns, event, rows, endings, now, _lookup(cases, combined, lambda c: int(c.inbox)))
    return np.where(interruptive & (stopped != _PASSES), stopped, codes)


def _present(columns: PreferenceColumns, combined: Codes) -> list[int]:
    """Keys of the cases there are, in the order of their content. The numbers of lists differ from one start to the
    next, but the order of endings, and of the batches made of them, must not.
    """
    keys: list[int] = np.flatnonzero(np.bincount(combined, minlength=1)).tolist()
    return sorted(keys, key=lambda key: (columns.channel_lists[key // _CHANNEL_BITS], key % _CHANNEL_BITS))


_PASSES = -2
_WAITS = -1


def _lookup(cases: dict[int, _RouteCase], combined: Codes, value: Callable[[_RouteCase], int]) -> Codes:
    table = np.zeros(max(cases, default=0) + 1, np.int32)
    for key, case in cases.items():
        table[key] = value(case)
    return table[combined]


def _case(state: GroupState, columns: PreferenceColumns, event: Event, profile: TypeProfile, key: int) -> _RouteCase:
    listed, bits = columns.channel_lists[key // _CHANNEL_BITS], key % _CHANNEL_BITS
    kept = tuple(c for c in listed if c == "in_app" or usable(c, bits, event, profile))
    inbox_killed = "in_app" in kept and state.kills.channel("in_app")
    found = AllowedChannels(tuple(c for c in kept if c != "in_app") if inbox_killed else kept, inbox_killed)
    if not found.interruptive:
        return _RouteCase(found.in_app, False, _without_interruption(found), waits=False)
    left = tuple(channel for channel in found.interruptive if not state.kills.channel(channel))
    chosen = choose(profile.policy, left)
    gated = event.priority != "P0"
    if not chosen:
        return _RouteCase(found.in_app, True, _nothing_left(found, gated=gated), waits=False)
    route = ChannelRoute(chosen, tuple(channel for channel in left if channel not in chosen), False)
    ending = Ending("EMITTED", None, found.in_app, gated, route, "single")
    return _RouteCase(found.in_app, True, ending, waits=goes_to_digest(profile, chosen))


def _without_interruption(found: AllowedChannels) -> Ending:
    if found.in_app:
        return Ending("INBOX", None, inbox=True, gated=False)
    return Ending("SUPPRESSED", "kill_switch" if found.inbox_killed else "no_channel", inbox=False, gated=False)


def _nothing_left(found: AllowedChannels, *, gated: bool) -> Ending:
    """Every interruptive channel is under a kill switch."""
    if found.in_app:
        return Ending("INBOX", None, inbox=True, gated=gated, group="single")
    return Ending("SUPPRESSED", "kill_switch", inbox=False, gated=gated, group="single")


def _gate(
    state: GroupState,
    columns: PreferenceColumns,
    event: Event,
    rows: RowNumbers,
    endings: _Endings,
    now: int,
    inbox: Codes,
) -> Codes:
    """Rule D: `_PASSES`, `_WAITS`, or the number of the ending."""
    state.emissions.advance(now)
    codes = np.full(len(rows), _PASSES, np.int32)
    if event.priority == "P0":
        return codes
    numbers = state.users.preference[rows]
    later = event.priority == "P2"
    max_hour = columns.max_per_hour[numbers]
    hour_full = state.emissions.hour[rows] >= max_hour
    day_full = state.emissions.day[rows] >= columns.max_per_day[numbers]
    _set(codes, endings, inbox, hour_full & (later | (max_hour <= 0)), "cap_hour")
    codes[hour_full & ~(later | (max_hour <= 0))] = _WAITS
    _set(codes, endings, inbox, day_full, "cap_day")
    quiet = columns.quiet[numbers]
    if later:
        _set(codes, endings, inbox, quiet, "quiet_hours")
    else:
        codes[quiet] = _WAITS
    return codes


def _set(codes: Codes, endings: _Endings, inbox: Codes, mask: npt.NDArray[np.bool_], reason: str) -> None:
    for has_row in (0, 1):
        part = mask & (inbox == has_row)
        if part.any():
            ending = Ending("SUPPRESSED", reason, inbox=bool(has_row), gated=True, group="single")
            codes[part] = endings.number(ending)
