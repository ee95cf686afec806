"""The wall clock of one process, which does not jump with the machine's when somebody sets that while it runs.

Small steps, as they keep a clock right, are followed. A larger one is told, and believed when it has lasted for
`BELIEVED_AFTER`; until then time goes on as it passes. So a wrong setting that is noticed in time ends no wait early,
and nothing as too old. One of more than a year is never believed, unless the clock before it was of a time before this
program. What starts meanwhile has the machine's clock (`flows/process/wild_clock.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from connectors.metrics import CLOCK_SET_SECONDS

STEP_MS = 2_000
"""More than what keeps a clock right between two looks."""
TOLD_AFTER_MS = 1_000
BELIEVED_AFTER = timedelta(minutes=5)
_BELIEVED_AFTER_MS = BELIEVED_AFTER // timedelta(milliseconds=1)
_NEVER_FROM_MS = 366 * 86_400_000
_WRITTEN_MS = 1_764_547_200_000
"""December 2025: a clock that shows less was never right while this program ran."""
_logger = structlog.get_logger(__name__)


class SteadyClock:
    """Milliseconds since 1970. Any thread may ask."""

    def __init__(self, wall: Callable[[], int], passed: Callable[[], int]) -> None:
        """`wall` is the machine's; `passed` counts milliseconds that nobody sets, also while the process is stopped."""
        self._wall, self._passed = wall, passed
        self._began = wall() - passed()
        self._set_at: int | None = None
        """Since when the machine's clock is another one, by `passed`."""
        self._told = False

    def __call__(self) -> int:
        passed = self._passed()
        began = self._wall() - passed
        if abs(began - self._began) > STEP_MS:
            self._was_set(began, passed)
        else:
            self._began = began
            if self._set_at is not None:
                self._goes_with("clock_set_back_again")
        return passed + self._began

    def keep_looking(self, every: timedelta = timedelta(seconds=1)) -> None:
        """For the life of the process, in a thread, where nobody may ask for long: what was set meanwhile would be told
        late, and believed long after the other processes did.
        """

        def look() -> None:
            while True:
                self()
                time.sleep(every.total_seconds())

        threading.Thread(target=look, name="steady-clock", daemon=True).start()

    def _was_set(self, began: int, passed: int) -> None:
        """A look that was interrupted between its two readings is over with the next one."""
        by_ms = began - self._began
        set_at = self._set_at = passed if self._set_at is None else self._set_at
        never = abs(by_ms) > _NEVER_FROM_MS and self._began + passed >= _WRITTEN_MS
        if passed - set_at >= _BELIEVED_AFTER_MS and not never:
            self._began = began  # not added to: two threads may be here
            self._goes_with("clock_believed")
        elif passed - set_at >= TOLD_AFTER_MS and not self._told:
            self._told = True
            CLOCK_SET_SECONDS.set(by_ms / 1000)
            _logger.error(
                "clock_set",
                by_s=round(by_ms / 1000),
                believed_in_s=None if never else int(BELIEVED_AFTER.total_seconds()),
                remedy="if the machine's clock is wrong, set it right before then; if it is right now, restart",
            )

    def _goes_with(self, event: str) -> None:
        if self._told:
            CLOCK_SET_SECONDS.set(0)
            _logger.warning(event)
        self._set_at, self._told = None, False
