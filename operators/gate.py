"""Rule D: quiet hours and exact rolling caps, for interruptive channels (RULES 3.D); and the load (RULES 1)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from operators.ahead import decision_time
from operators.outcomes import SHED, FinalOutcome, Hold
from operators.quiet import is_quiet, quiet_end
from state.decide.group import GroupState
from state.decide.pending import Item
from state.model.durations import HOUR_MS

SLOT_PER_DAY = 1
"""Of all campaigns with a dedicated slot together."""


def most_urgent(items: Sequence[Item]) -> str:
    """The class of a group: the most urgent of its pending items."""
    return min(item.event.priority for item in items)


def in_slot(items: Sequence[Item]) -> bool:
    """Whether all that is gated as one is of campaigns with a dedicated slot."""
    return items[0].event.slot is True and all(item.event.slot is True for item in items)


class GateResult(NamedTuple):
    """`stop` is None to pass; the counts are what this gate saw, null for P0."""

    stop: Hold | FinalOutcome | None
    cap_hour: int | None
    cap_day: int | None


PASS_URGENT = GateResult(None, None, None)


def gate(state: GroupState, row: int, priority: str, now: int, *, slot: bool) -> GateResult:
    """Gate one notification of a class for a user at `now`; `slot`: in the pool of dedicated slots."""
    if priority == "P0":
        return PASS_URGENT
    emissions = state.pool(slot=slot)
    emissions.reserve_rows(row + 1)
    emissions.advance(now)
    hour, day = int(emissions.hour[row]), int(emissions.day[row])
    return GateResult(_stop(state, row, priority, now, (hour, day), slot=slot), hour, day)


def _stop(
    state: GroupState, row: int, priority: str, now: int, counts: tuple[int, int], *, slot: bool
) -> Hold | FinalOutcome | None:
    """Nobody waits for an hour in the pool of slots, which has one a day."""
    (hour, day), preference = counts, state.users.preference_of(row)
    quiet, shown = preference.quiet, now - state.ahead
    if quiet is not None and is_quiet(quiet, shown):
        return (
            FinalOutcome("SUPPRESSED", "quiet_hours")
            if priority == "P2"
            else Hold(decision_time(quiet_end(quiet, shown), now, state.ahead), own_wait=True)
        )
    if state.kills.under_load and state.users.dormant(np.array([row], np.int32), now)[0]:
        return SHED
    if day >= (min(preference.max_per_day, SLOT_PER_DAY) if slot else preference.max_per_day):
        return FinalOutcome("SUPPRESSED", "cap_day")
    if hour < preference.max_per_hour:
        return None
    if priority == "P2" or preference.max_per_hour <= 0:
        return FinalOutcome("SUPPRESSED", "cap_hour")
    return Hold(state.emissions.nth_latest(row, preference.max_per_hour) + HOUR_MS, own_wait=False)
