"""How often one user may change something: each such call is a record of the log, and a session may be a script's."""

from __future__ import annotations

from collections.abc import Callable

from connectors.admission.limits import WINDOW_MS, Window
from connectors.gateway.problems import retry_later


class UserLimit:
    """The windows of one process. Who was silent for two seconds is forgotten."""

    def __init__(self, per_s: int, *, clock: Callable[[], int]) -> None:
        """`clock` in milliseconds since 1970."""
        self._per_s, self._clock = per_s, clock
        self._windows, self._before, self._begun = dict[str, Window](), dict[str, Window](), 0

    def take(self, user: str) -> None:
        """Count a call.

        :raises ProblemError: 429: too many in this second.
        """
        now_ms = self._clock()
        if now_ms < self._begun:  # the clock was set back: what was counted lies in a time to come, maybe far off
            self._windows, self._before, self._begun = {}, {}, now_ms
        elif now_ms - self._begun > WINDOW_MS:
            self._windows, self._before, self._begun = {}, self._windows, now_ms
        window = self._windows.get(user)
        if window is None:
            window = self._windows[user] = self._before.get(user) or Window()
        grant = window.take(1, limit=self._per_s, now_ms=now_ms)
        if not grant.granted:
            raise retry_later(429, "too many changes at once; try again in a moment", grant.retry_after_ms)
