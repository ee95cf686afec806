"""For how long a start is waited for: as long as it gets on."""

from __future__ import annotations

import math
from datetime import timedelta


class StartPatience:
    """On a busy machine a start takes minutes, and to begin it anew would take longer still."""

    def __init__(self, most: timedelta) -> None:
        """`most`: from one look at which less was lacking than ever before to the next such look."""
        self._most_s = most.total_seconds()
        self._least, self._since_s = math.inf, 0.0

    def is_over(self, lacking: int, now_s: float) -> bool:
        """Whether nothing more is expected of a start that lacks so much now."""
        if lacking < self._least:
            self._least, self._since_s = lacking, now_s
        return now_s - self._since_s > self._most_s
