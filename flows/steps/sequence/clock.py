"""The time of decisions: the machine's clock, but it never falls and never stands still (RULES 6)."""

import math
from collections.abc import Callable


class DecisionClock:
    """Where the machine's clock was set back, this one is ahead, and goes at half the speed until it is caught up."""

    def __init__(self, clock: Callable[[], int], floor: int = 0) -> None:
        """`clock` gives milliseconds since 1970; `floor` is the time of the last decision."""
        self._clock, self._seen = clock, clock()
        self.lead: float = max(0, floor - self._seen)
        """By how much it is ahead, in ms."""

    def __call__(self) -> int:
        before, self._seen = self._seen, self._clock()
        elapsed = self._seen - before
        self.lead = max(0, self.lead - (elapsed if elapsed < 0 else elapsed / 2))
        return self._seen + math.ceil(self.lead)
