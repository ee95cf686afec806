"""How many fan-outs an actor may send in an hour (RULES 1, "Fan-out limit").

In memory, of one gateway process: what a restart forgets is an hour's counts, and several gateways count apart.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from connectors.gateway.problems import ProblemError, retry_later
from state.model.admission import FieldError
from state.model.durations import HOUR_MS
from state.model.event import Event

TOO_MANY_FAN_OUTS = "too_many_fan_outs"
"""Why in the problem that refuses one."""


class FanOutLimit:
    """Used by one event loop. Memory: eight bytes for each fan-out of the last hour, and some for each actor."""

    def __init__(self, per_h: int, *, clock: Callable[[], int]) -> None:
        """`per_h` in any hour, 0: as many as there are; `clock` in milliseconds since 1970."""
        self._per_h, self._clock = per_h, clock
        self._taken: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        """By actor, or by sender where there is none: when each was taken. The one that took last is last."""

    def refusal(self, event: Event) -> ProblemError | None:
        """429 if the actor's hour is full; else the event is counted. A retraction reaches nobody, and is not."""
        if self._per_h == 0 or event.fan_out_type == "DIRECT" or event.retracts:
            return None
        now, who = self._clock(), _who(event)
        self._forget(now)
        taken = self._taken.setdefault(who, deque())
        while taken and not now - HOUR_MS < taken[0] <= now:  # a clock may be set back
            taken.popleft()
        if len(taken) < self._per_h:
            taken.append(now)
            self._taken.move_to_end(who)
            return None
        error = FieldError(who[0], f"has sent {self._per_h} fan-outs within an hour", _REMEDY)
        after_ms = taken[0] + HOUR_MS - now
        return retry_later(
            429, "the fan-out limit is reached; nothing was accepted", after_ms, (error,), why=TOO_MANY_FAN_OUTS
        )

    def give_back(self, event: Event) -> None:
        """It was not accepted as a new event."""
        taken = self._taken.get(_who(event))
        if taken and event.fan_out_type != "DIRECT" and not event.retracts:
            taken.pop()

    def _forget(self, now: int) -> None:
        """Those who sent nothing in the last hour."""
        while self._taken:
            taken = next(iter(self._taken.values()))
            if taken and now - HOUR_MS < taken[-1] <= now:
                return
            self._taken.popitem(last=False)


_REMEDY = "wait as long as Retry-After says, or have limits.fan_outs_per_h raised"


def _who(event: Event) -> tuple[str, str]:
    return ("sender_id", event.sender_id) if event.actor is None else ("actor", event.actor)
