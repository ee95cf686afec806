"""Rules A, B, D and E over columns: how recipients of one event end, of one key group or of several that are alike.

What is the same for all is asked once, and each step is one array operation for all groups. But each group has its
own endings, in the order in which they would be met if it were alone: they are written.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.ahead import decision_time
from operators.columns import PreferenceColumns
from operators.emit import waits_as_mail
from operators.gate import SLOT_PER_DAY
from operators.outcomes import SHED, FinalOutcome
from operators.route import AllowedChannels, ChannelRoute, carrying, routed
from state.decide.emitted import EmissionLog
from state.decide.group import GroupState
from state.model.channels import INTERRUPTIVE
from state.model.durations import HOUR_MS
from state.model.event import Event
from state.model.registry import TypeProfile

RowNumbers = npt.NDArray[np.intp]
Indices = npt.NDArray[np.intp]
"""Of endings, documents and groups: NumPy looks up by this type in a third of the time that narrower ones take."""
Codes = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Times = npt.NDArray[np.int64]
PartNumbers = Sequence[int]
"""Indices of groups of a scope."""
_CHANNEL_BITS = 1 << len(INTERRUPTIVE)
_ONLY: PartNumbers = (0,)
_PASSES = -2
_ALONE = -1


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


class _RouteCase(NamedTuple):
    """What rules B and E say for one list of channels and one set of usable addresses."""

    found: AllowedChannels
    route: ChannelRoute | None
    """The route of the emission; None where no channel is left."""


class GroupRows(NamedTuple):
    """Recipients of one key group."""

    state: GroupState
    rows: RowNumbers
    counted: EmissionLog
    """The emissions that rule D counts."""


class _Endings:
    """Numbers endings in the order in which they are met: once over all groups, and once within each group."""

    def __init__(self, groups: int) -> None:
        self.list: list[Ending] = []
        self._number: dict[Ending, int] = {}
        self._of_groups: list[dict[int, int]] = [{} for _ in range(groups)]

    def number(self, ending: Ending, parts: PartNumbers) -> int:
        """The number of an ending over all groups; notes that it was met in these groups."""
        found = self._number.get(ending)
        if found is None:
            found = self._number[ending] = len(self.list)
            self.list.append(ending)
        for part in parts:
            own = self._of_groups[part]
            own.setdefault(found, len(own))
        return found

    def of(self, part: int) -> list[Ending]:
        """The endings of a group, in the order of the group's own numbers."""
        return [self.list[number] for number in self._of_groups[part]]

    def own_numbers(self) -> Indices:
        """A table: at [group, number over all groups] the group's own number. The last column stands for no ending."""
        table = np.full((len(self._of_groups), len(self.list) + 1), _ALONE, np.intp)
        for part, numbers in enumerate(self._of_groups):
            table[part, [*numbers]] = [*numbers.values()]
        return table


class SliceScope(NamedTuple):
    """What is decided on: recipients of one event at one time, new ones or those of a hold that ends."""

    groups: Sequence[GroupRows]
    columns: PreferenceColumns
    event: Event
    profile: TypeProfile
    now: int
    ahead: int
    is_new: bool
    endings: _Endings

    @property
    def state(self) -> GroupState:
        """The state of the first group, for what is the same in all."""
        return self.groups[0].state

    def gated(self, *, by_rule_d: bool) -> bool:
        """Whether the record shows the counts of rule D, as of now or as of the beginning of a hold."""
        return self.event.priority != "P0" and (by_rule_d or not self.is_new)

    def gathered(self, column: Callable[[GroupRows], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The column of all groups, one behind the other."""
        arrays = list(map(column, self.groups))
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def parts_of(self, part: Indices | None, mask: Flags) -> PartNumbers:
        """The groups that have a recipient in the mask."""
        return _ONLY if part is None else np.bincount(part[mask]).nonzero()[0].tolist()

    def each_of(self, part: Indices | None, mask: Flags) -> Iterator[tuple[GroupRows, Flags]]:
        """Each group that has a recipient in the mask, with the part of the mask that is its own."""
        for number in self.parts_of(part, mask):
            yield self.groups[number], mask if part is None else mask & (part == number)


class _Recipients(NamedTuple):
    """Recipients that are being decided, as columns."""

    part: Indices | None
    """The index of each recipient's group; None where there is only one group."""
    rows: RowNumbers
    documents: Indices
    usable: npt.NDArray[np.uint8]
    hour: Codes
    day: Codes
    inbox: Flags
    """Who has an inbox row."""

    def at(self, places: npt.NDArray[np.intp]) -> "_Recipients":
        """The recipients at these places."""
        if len(places) == len(self.rows):
            return self
        columns: list[Any] = [None if each is None else each[places] for each in self]
        return _Recipients(*columns)


class Decided(NamedTuple):
    """What was found of each recipient, group by group: the number of his ending (-1: he is to be decided alone), until
    when he is held, whether quiet hours hold him, and the counts of rule D.
    """

    part: Indices | None
    codes: Indices
    until: Times
    own_wait: Flags
    passed: Flags
    """The recipients whom rule A let pass."""
    hour: Codes
    day: Codes


def scope_of(
    groups: Sequence[tuple[GroupState, RowNumbers]],
    columns: PreferenceColumns,
    event: Event,
    now: int,
    ahead: int,
    *,
    is_new: bool,
) -> SliceScope:
    """Of groups that are alike in all that is not of single users; their counts are brought to `now`."""
    columns.refresh(now - ahead)
    profile = groups[0][0].registry.profile(event.type)
    parts = [GroupRows(state, rows, state.pool(slot=event.slot is True)) for state, rows in groups]
    for each in parts:
        each.counted.reserve_rows(len(each.state.users))
        each.counted.advance(now)
    return SliceScope(parts, columns, event, profile, now, ahead, is_new, _Endings(len(parts)))


def evaluate(scope: SliceScope, final: FinalOutcome | None, inbox: Flags | None = None) -> Decided:
    """`inbox`: who has an inbox row already; `final` is what A.1 and A.2 said of the event."""
    groups = scope.groups
    sizes = [len(each.rows) for each in groups]
    count, part = sum(sizes), None
    if len(groups) > 1:
        part = np.repeat(np.arange(len(groups)), sizes)
    recipients = _Recipients(
        part,
        scope.gathered(lambda each: each.rows),
        scope.gathered(lambda each: each.state.users.preference[each.rows]).astype(np.intp),
        scope.gathered(lambda each: each.state.users.usable[each.rows]),
        scope.gathered(lambda each: each.counted.hour[each.rows]),
        scope.gathered(lambda each: each.counted.day[each.rows]),
        np.zeros(count, np.bool_) if inbox is None else inbox,
    )
    found = Decided(
        part, np.full(count, _ALONE, np.intp), np.zeros(count, np.int64), np.zeros(count, np.bool_),
        np.zeros(count, np.bool_), recipients.hour, recipients.day,
    )  # fmt: skip
    if final is not None:
        _end(scope, recipients, found.codes, np.ones(count, np.bool_), final, by_rule_d=False)
        return found
    _filter(scope, recipients, found.codes)
    np.less(found.codes, 0, out=found.passed)
    open_ = found.passed.nonzero()[0]
    _route(scope, recipients.at(open_), open_, found)
    return found


def _end(
    scope: SliceScope, recipients: _Recipients, codes: Indices, mask: Flags, final: FinalOutcome, *, by_rule_d: bool
) -> None:
    """Note how these recipients end."""
    if not np.count_nonzero(mask):
        return
    gated, inbox = scope.gated(by_rule_d=by_rule_d), recipients.inbox
    for in_row, some in ((False, mask & ~inbox), (True, mask & inbox)):
        if np.count_nonzero(some):
            ending = Ending(*final, in_row, gated, group="single" if gated else None)
            codes[some] = scope.endings.number(ending, scope.parts_of(recipients.part, some))


def _filter(scope: SliceScope, recipients: _Recipients, codes: Indices) -> None:
    """A.3 to A.6 in their order: the first that ends a recipient gives the reason."""
    event, profile = scope.event, scope.profile
    urgent, documents = event.priority == "P0", recipients.documents
    found: list[tuple[str, Flags]] = []
    if event.actor is not None and not profile.notify_self:
        found += [("self", mask) for mask in _himself(scope, recipients, event.actor)]
    if not urgent:
        found.append(("master_off", ~scope.columns.master[documents]))
    found.append(("type_off", ~scope.columns.of_type(profile).enabled[documents]))
    if not urgent and not profile.mandatory:
        found += [("muted", mask) for mask in _muted(scope, recipients)]
    for reason, mask in reversed(found):
        _end(scope, recipients, codes, mask, FinalOutcome("SUPPRESSED", reason), by_rule_d=False)


def _himself(scope: SliceScope, recipients: _Recipients, actor: str) -> list[Flags]:
    """Who is the actor; nothing where nobody can be."""
    found = [each.state.users.ids.find(actor) for each in scope.groups]
    if found.count(None) == len(found):
        return []
    rows = np.array([-1 if row is None else row for row in found], np.intp)
    return [recipients.rows == (rows[0] if recipients.part is None else rows[recipients.part])]


def _muted(scope: SliceScope, recipients: _Recipients) -> list[Flags]:
    """Who muted the actor or the object; nothing where nobody did."""
    muted = [_muted_rows(each.state, scope.event) for each in scope.groups]
    if not any(muted):
        return []
    found = np.zeros(len(recipients.rows), np.bool_)
    for number, rows in enumerate(muted):
        if rows:
            his = np.isin(recipients.rows, np.fromiter(rows, np.int32))
            found |= his if recipients.part is None else his & (recipients.part == number)
    return [found]


def _muted_rows(state: GroupState, event: Event) -> set[int]:
    users = state.users
    actors = users.actor_muted_by.get(event.actor, set()) if event.actor is not None else set()
    objects = users.object_muted_by.get(event.object, set()) if event.object is not None else set()
    return actors | objects


def _route(scope: SliceScope, recipients: _Recipients, places: npt.NDArray[np.intp], found: Decided) -> None:
    """B, D and E for whom A lets pass, who are at these places of what is found. When a hold ends, nobody enters his
    inbox any more, and D comes before it is known whether a channel is left.
    """
    lists = scope.columns.of_type(scope.profile).channels[recipients.documents]
    combined = (lists * _CHANNEL_BITS + recipients.usable).astype(np.intp)
    present = _present(scope, recipients.part, combined)
    cases = {key: _case(scope, key) for key in present}
    if scope.is_new:
        recipients = recipients._replace(
            inbox=_lookup({key: case.found.in_app for key, case in cases.items()}, combined, np.bool_)
        )
        codes = _lookup(
            {key: _ending_number(scope, case, present[key], in_row=case.found.in_app) for key, case in cases.items()},
            combined,
        )
    else:
        both = combined * 2 + recipients.inbox
        numbers = {
            key: _ending_number(scope, cases[key // 2], parts, in_row=key % 2 > 0)
            for key, parts in _present(scope, recipients.part, both, 2).items()
        }
        codes = _lookup(numbers, both)
    stopped, until, own_wait = _gate(scope, recipients)
    stops = stopped != _PASSES
    if scope.is_new:
        stops &= _lookup({key: bool(case.found.interruptive) for key, case in cases.items()}, combined, np.bool_)
    found.codes[places] = np.where(stops, stopped, codes)
    found.until[places] = np.where(stops, until, 0)
    found.own_wait[places] = own_wait


def _present(scope: SliceScope, part: Indices | None, combined: Indices, kinds: int = 1) -> dict[int, PartNumbers]:
    """Keys of the cases there are, in the order of their content, each with its groups. The numbers of lists differ
    from one start to the next, but the order of endings, and of the batches made of them, must not.
    """
    columns, step = scope.columns, _CHANNEL_BITS * kinds
    found: dict[int, PartNumbers]
    if part is None:
        found = dict.fromkeys(np.bincount(combined, minlength=1).nonzero()[0].tolist(), _ONLY)
    else:
        width = int(combined.max(initial=0)) + 1
        counts = np.bincount(part * width + combined, minlength=len(scope.groups) * width).reshape(-1, width)
        found = {key: counts[:, key].nonzero()[0].tolist() for key in np.flatnonzero(counts.any(axis=0)).tolist()}
    return {key: found[key] for key in sorted(found, key=lambda key: (columns.channel_lists[key // step], key % step))}


def _lookup(values: dict[int, int], combined: Indices, kind: type[np.generic] = np.intp) -> npt.NDArray[Any]:
    table = np.zeros(max(values, default=0) + 1, kind)
    for key, value in values.items():
        table[key] = value
    return table[combined]


def _case(scope: SliceScope, key: int) -> _RouteCase:
    listed, bits = scope.columns.channel_lists[key // _CHANNEL_BITS], key % _CHANNEL_BITS
    profile, killed = scope.profile, scope.state.kills.channels()
    found, route = routed(listed, carrying(bits, scope.event, profile), profile.policy, killed)
    return _RouteCase(found, route if route.chosen else None)


def _ending_number(scope: SliceScope, case: _RouteCase, parts: PartNumbers, *, in_row: bool) -> int:
    """How those end whom the gate lets pass, or whom it is not asked about since no channel of theirs interrupts."""
    route = case.route
    if route is not None and (
        waits_as_mail(scope.profile, scope.event, route.chosen, in_row=in_row) or _may_pass_over(scope, route)
    ):
        return _ALONE
    reached = bool(case.found.interruptive) or not scope.is_new
    gated, group = scope.gated(by_rule_d=reached), "single" if reached else None
    if route is not None:
        return scope.endings.number(Ending("EMITTED", None, in_row, gated, route, group), parts)
    if in_row:
        return scope.endings.number(Ending("INBOX", None, in_row, gated, group=group), parts)
    killed = bool(case.found.interruptive) if reached else case.found.inbox_killed
    return scope.endings.number(
        Ending("SUPPRESSED", "kill_switch" if killed else "no_channel", in_row, gated, group=group), parts
    )


def _may_pass_over(scope: SliceScope, route: ChannelRoute) -> bool:
    """Whether the devices of each recipient must be looked at: another channel is left, and this one's are away."""
    away = scope.state.kills.away
    first = scope.profile.policy == "first" and bool(route.rest)
    return bool(away) and first and any(place.startswith(route.chosen[0] + "/") for place in away)


def _gate(scope: SliceScope, recipients: _Recipients) -> tuple[Indices, Times, Flags]:
    """Rule D: `_PASSES` or the number of the ending; where that is HELD, until when and whether for quiet hours."""
    columns, (part, rows, documents, *_) = scope.columns, recipients
    codes, until = np.full(len(rows), _PASSES, np.intp), np.zeros(len(rows), np.int64)
    quiet = columns.quiet[documents]
    if scope.event.priority == "P0":
        return codes, until, quiet
    later = scope.event.priority == "P2"
    max_hour, max_day = columns.max_per_hour[documents], columns.max_per_day[documents]
    if scope.event.slot is True:
        max_day = np.minimum(max_day, SLOT_PER_DAY)
    hour_full, day_full = recipients.hour >= max_hour, recipients.day >= max_day
    never = hour_full & (later | (max_hour <= 0))
    for reason, mask in (("cap_hour", never), ("cap_day", day_full)):
        _end(scope, recipients, codes, mask, FinalOutcome("SUPPRESSED", reason), by_rule_d=True)
    full = hour_full & ~never & ~day_full & ~quiet
    if scope.state.kills.under_load:
        shed = np.zeros(len(rows), np.bool_)
        for group, some in scope.each_of(part, np.ones(len(rows), np.bool_)):
            shed[some] = group.state.users.dormant(rows[some], scope.now)
        _end(scope, recipients, codes, shed, SHED, by_rule_d=True)
        full &= ~shed
    if later:
        _end(scope, recipients, codes, quiet, FinalOutcome("SUPPRESSED", "quiet_hours"), by_rule_d=True)
        return codes, until, quiet
    if np.count_nonzero(full):
        for group, some in scope.each_of(part, full):
            until[some] = group.counted.nth_latest_of(rows[some], max_hour[some]) + HOUR_MS
    ends = columns.quiet_end[documents[quiet]]
    until[quiet] = [decision_time(end, scope.now, scope.ahead) for end in ends.tolist()] if scope.ahead else ends
    _end(scope, recipients, codes, until > 0, FinalOutcome("HELD", None), by_rule_d=True)
    return codes, until, quiet
