"""RULES 3 for thousands of recipients of one event at once: the same decisions as `operators.decide`, as columns.

Only types without a window come here. Recipients held until one time become a batch, which is decided here again when
its time comes. Whose only way out is a mail that waits, or whose first channel may be passed over, is handed back and
decided alone. A test holds both ways against each other.

What is found of recipients changes nothing yet. So it can be found of several key groups at once.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from operators.bulk_rules import Ending, Flags, Indices, RowNumbers, SliceScope, Times, evaluate, scope_of
from operators.columns import PreferenceColumns
from operators.filter import event_outcome
from operators.outcomes import FinalOutcome
from state.decide.group import GroupState
from state.decide.held import HeldBatch, HeldMembers, Wait
from state.model.event import Event
from state.model.registry import TypeProfile


class Slice(NamedTuple):
    """Decided recipients of one event: `ending[i]` numbers the ending of `rows[i]`. HELD is an ending too."""

    event: Event
    now: int
    place: int
    rows: RowNumbers
    ending: Indices
    endings: list[Ending]
    hour: npt.NDArray[np.int32]
    day: npt.NDArray[np.int32]
    follower_age_ms: int | None
    until: Times
    """The time in ms until which the recipient is held; 0 where he is not."""
    control_version: int
    """As of the decision: the record that moved the time may change it before this is written."""
    waited_ms: int = 0
    is_new: bool = True
    """Whether the recipients' inbox rows are written with it: not, where a hold ended."""


class Evaluated(NamedTuple):
    """How the recipients of a slice are decided, before caps are counted and holds begin."""

    decided: Slice
    own_wait: Flags
    left: RowNumbers
    """The recipients that must be decided one by one."""


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
    """Decide these recipients; gives the slice, and the rows that must be decided one by one.

    Emissions are counted here, and whoever is held waits in a batch. `final` is what A.1 and A.2 said of the event.
    """
    scope = scope_of([(state, rows)], columns, event, now, state.ahead, is_new=True)
    (found,) = evaluate_slices(scope, [state.place], final)
    return conclude_slice(state, found)


def evaluate_slices(scope: SliceScope, places: Sequence[int], final: FinalOutcome | None) -> list[Evaluated]:
    """The slice of each group of a scope, at these places of `work`."""
    found, event = evaluate(scope, final), scope.event
    age = 0 if event.fan_out_type == "FOLLOWERS" else None
    codes = found.codes if found.part is None else scope.endings.own_numbers()[found.part, found.codes]
    slices, begin = [], 0
    for number, (group, place) in enumerate(zip(scope.groups, places, strict=True)):
        of = slice(begin, begin := begin + len(group.rows))
        decided = Slice(
            event, scope.now, place, group.rows, codes[of], scope.endings.of(number), found.hour[of], found.day[of],
            age, found.until[of], group.state.kills.version,
        )  # fmt: skip
        slices.append(_without_left(decided, found.own_wait[of]))
    return slices


def release_slice(state: GroupState, columns: PreferenceColumns, batch: HeldBatch) -> tuple[Slice, RowNumbers]:
    """The same when a hold ends: rules A, D and E again for all in the batch. The caller removes the batch."""
    wait, members = batch.wait, batch.members()
    now, rows = wait.due, members.rows.astype(np.intp)
    scope = scope_of([(state, rows)], columns, wait.event, now, state.ahead, is_new=False)
    waited_ms = wait.waited_ms + (now - wait.since if wait.own_wait else 0)
    final = event_outcome(state, wait.event, scope.profile, now, waited_ms)
    found = evaluate(scope, final, members.inbox)
    decided = Slice(
        wait.event, now, wait.place, rows, found.codes, scope.endings.list,
        np.where(found.passed, found.hour, members.hour), np.where(found.passed, found.day, members.day),
        wait.follower_age_ms, found.until, state.kills.version, waited_ms, is_new=False,
    )  # fmt: skip
    return conclude_slice(state, _without_left(decided, found.own_wait), joined_at=wait.joined_at)


def _without_left(decided: Slice, own_wait: Flags) -> Evaluated:
    """Take out those who must be decided one by one."""
    alone = decided.ending < 0
    if not np.count_nonzero(alone):
        return Evaluated(decided, own_wait, decided.rows[:0])
    kept = {name: getattr(decided, name)[~alone] for name in ("rows", "ending", "hour", "day", "until")}
    return Evaluated(decided._replace(**kept), own_wait[~alone], decided.rows[alone])


def conclude_slice(state: GroupState, found: Evaluated, joined_at: int | None = None) -> tuple[Slice, RowNumbers]:
    """Count the emissions and begin the holds of a slice; gives the slice, and the rows to decide one by one.

    `joined_at`: where a hold ended; else that is now.
    """
    decided, event = found.decided, found.decided.event
    emitted = np.array([each.route is not None for each in decided.endings], np.bool_)
    if event.priority != "P0" and emitted.any():
        counted = state.pool(slot=event.slot is True)
        counted.reserve_rows(len(state.users))
        counted.add_rows(decided.rows.compress(emitted[decided.ending]), decided.now)
    if np.count_nonzero(decided.until):
        _hold(state, decided, found.own_wait, decided.now if joined_at is None else joined_at)
    return decided, found.left


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
