"""Who has to wait at the door while the system is loaded: P2 first, then P1, never P0 (RULES 1, "Load").

While half of the events wait here that a gateway holds for the log, P2 waits as well: the rest of the room is P1's.
A retraction is let in, since it takes work away, and so is what is kept for later. Those who wait are told to come back
at different times.
"""

from __future__ import annotations

from collections.abc import Callable

from connectors.gateway.problems import ProblemError, retry_later
from connectors.load import LoadLevels
from state.model.event import Event
from state.model.load import P1_HALVED, P1_WAITS, P2_WAITS

_RETRY_MS = 5_000
"""For each level, times 1 to 3."""


class Pressure:
    """One gateway's; used by one event loop."""

    def __init__(
        self, levels: LoadLevels, half_full: Callable[[], bool], *, uniform: Callable[[float, float], float]
    ) -> None:
        """`uniform` draws from a range."""
        self._levels, self._half_full, self._uniform = levels, half_full, uniform
        self._let_in = False
        """Whether the last P1 event of a time of half the rate was let in."""

    def level(self, now_ms: int) -> int:
        """How loaded the system is, for the events of one post."""
        return max(self._levels.level(now_ms), P2_WAITS if self._half_full() else 0)

    def refusal(self, event: Event, now_ms: int, level: int) -> ProblemError | None:
        """429 if the event has to wait."""
        if (
            level < P2_WAITS
            or event.retracts
            or (event.deliver_at or 0) > now_ms
            or not self._waits(event.priority, level)
        ):
            return None
        after = round(_RETRY_MS * level * self._uniform(1.0, 3.0))
        return retry_later(
            429, f"the system is loaded, and {event.priority} waits; nothing was accepted", after, why="system_loaded"
        )

    def _waits(self, klass: str, level: int) -> bool:
        if klass != "P1" or level != P1_HALVED:
            return klass == "P2" or (klass == "P1" and level >= P1_WAITS)
        self._let_in = not self._let_in
        return not self._let_in
