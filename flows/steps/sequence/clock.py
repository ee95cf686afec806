"""The time of decisions: the machine's clock, but it never falls (RULES 6)."""

import math
from collections.abc import Callable

import structlog

from connectors.metrics import DECISIONS_AHEAD_SECONDS
from operators.ahead import CATCHES_UP_MAX_MS

_PASSES_MAX_MS = 60_000
_TOLD_MS = 1_000
_logger = structlog.get_logger(__name__)


class DecisionClock:
    """Where the machine's clock was set back, this one is ahead, and goes at half the speed until it is caught up. A
    lead of more than a day stays: then it goes as fast as the machine's.
    """

    def __init__(self, clock: Callable[[], int], floor: int = 0) -> None:
        """`clock` gives milliseconds since 1970; `floor` is the time of the last decision."""
        self._clock, self._seen = clock, clock()
        self.lead: float = max(0, floor - self._seen)
        """By how much it is ahead, in ms."""
        self._tell(0)

    def __call__(self) -> int:
        before, self._seen = self._seen, self._clock()
        elapsed = self._seen - before
        lead, self.lead = self.lead, max(0, self.lead - self._gains(elapsed))
        self._tell(lead)
        return self._seen + math.ceil(self.lead)

    def _tell(self, before: float) -> None:
        DECISIONS_AHEAD_SECONDS.set(round(self.lead / 1000))
        if self.lead - before > _TOLD_MS:
            stays = self.lead > CATCHES_UP_MAX_MS
            _logger.warning("decisions_ahead", by_s=round(self.lead / 1000), stays=stays)

    def _gains(self, elapsed: int) -> float:
        """What the machine's clock gains on it. More than a minute between two looks did not pass: it was set."""
        if not 0 <= elapsed <= _PASSES_MAX_MS:
            return elapsed
        return elapsed / 2 if self.lead <= CATCHES_UP_MAX_MS else 0
