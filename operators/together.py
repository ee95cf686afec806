"""Evaluates the slices of one event for several key groups together. Most of the cost of a small slice does not depend
on how many recipients it has.

No state is changed here. Later each group applies its own record in its turn, with the same result as alone.
"""

from collections.abc import Sequence

import numpy as np

from operators.bulk import Evaluated, decides_in_bulk, evaluate_slices
from operators.bulk_rules import RowNumbers, scope_of
from operators.columns import columns_of
from operators.fan_out import audience_rows, in_hash_range
from operators.filter import event_outcome
from state.decide.group import GroupState
from state.model.registry import TypeProfile
from state.model.work import SliceWork

ROWS_MAX = 4_096
"""The most recipients that are evaluated together. With more of them the fixed cost of a slice hardly counts."""


def evaluate_together(record: SliceWork, states: Sequence[GroupState], places: Sequence[int]) -> list[Evaluated | None]:
    """Evaluate the record in several groups of one worker; `places` are its offsets in `work`, one for each group. None
    stands for a group that must be decided alone.

    The answer may be shorter than `states`: the last groups are left to the caller's next call where all groups have
    more than ROWS_MAX recipients together.
    """
    found: list[Evaluated | None] = [None] * len(states)
    seen = len(states)
    first, together, count = states[0], list[tuple[int, RowNumbers]](), 0
    profile, now = first.registry.profile(record.event.type), max(first.now, record.stamp)
    for number, state in enumerate(states):
        if not _alike(state, first, profile, now, record):
            continue
        rows = in_hash_range(state, audience_rows(state, record.event), int(record.hash_from), int(record.hash_to))
        count += len(rows)
        if count > ROWS_MAX:
            seen = number
            break
        if decides_in_bulk(state, record.event, profile, len(rows)):
            together.append((number, np.asarray(rows, np.intp)))
    if len(together) > 1:
        groups, columns = [(states[number], rows) for number, rows in together], columns_of(first.users.preferences)
        scope = scope_of(groups, columns, record.event, now, record.ahead, is_new=True)
        final = event_outcome(first, record.event, profile, now, 0)
        slices = evaluate_slices(scope, [places[number] for number, _ in together], final)
        for (number, _), evaluated in zip(together, slices, strict=True):
            found[number] = evaluated
        return found[:seen]
    return found


def _alike(state: GroupState, first: GroupState, profile: TypeProfile, now: int, record: SliceWork) -> bool:
    """Whether a group sees the event as the first one does, and at once: nothing that waits comes before it."""
    return (
        state.users.preferences is first.users.preferences
        and max(state.now, record.stamp) == now
        and state.pending.next_due() > now
        and state.kills.active == first.kills.active
        and state.registry.version == first.registry.version
        and state.registry.profile(record.event.type) == profile
        and state.tzdata_version == first.tzdata_version
    )
