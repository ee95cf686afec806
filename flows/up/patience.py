"""How long the supervisor waits for a start: as long as it makes progress."""

from __future__ import annotations

import math
from datetime import timedelta


class StartPatience:
    """Says when to give a start up. On a busy machine it takes minutes, and a second try would take longer still."""

    def __init__(self, most: timedelta) -> None:
        """`most`: how long a start may go without progress."""
        self._most_s = most.total_seconds()
        self._least, self._since_s = math.inf, 0.0

    def is_over(self, lacking: int, now_s: float) -> bool:
        """Whether to give up. `lacking` counts what is not ready yet; that it was never so low is progress."""
        if lacking < self._least:
            self._least, self._since_s = lacking, now_s
        return now_s - self._since_s > self._most_s
