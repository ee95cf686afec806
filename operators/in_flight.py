"""How many requests of fan-outs and campaigns a provider gets at once, by how long its answers take. Pure.

What is for one person waits at the provider behind all that is in flight there. So there is no more in flight than
keeps the provider busy: beyond that each request only waits for the others, and answers take longer. This is seen from
here, as networks see it: while answers come about as soon as the best did, more may be in flight, and less once they
take longer. With few in flight nothing of ours waits, so what answers take then is the best, also of a provider that
has become slow.
"""

from __future__ import annotations

import math
from statistics import median_low

_LEAST = 16
_SLOWER, _NOISE_MS = 2.0, 5
"""Answers take longer if they take more than this times the best, and so many ms more."""


class InFlightBound:
    """Of one provider. It changes once in as many answers as it allows requests."""

    def __init__(self, most: int) -> None:
        """`most`: the provider's own bound."""
        self._most, self._least = most, min(_LEAST, most)
        self.size = self._least
        """So many may be in flight."""
        self._best_ms = math.inf
        self._took_ms = list[int]()
        self._used = 0

    def answered(self, took_ms: int, in_flight: int) -> None:
        """An answer came so long after its request was taken up, while so many were in flight, itself included."""
        self._took_ms.append(took_ms)
        self._used = max(self._used, in_flight)
        if len(self._took_ms) >= self.size:
            self._change(median_low(self._took_ms))  # what hangs says nothing of the others
            self._took_ms.clear()
            self._used = 0

    def _change(self, usual_ms: int) -> None:
        self._best_ms = usual_ms if self.size == self._least else min(self._best_ms, usual_ms)
        if usual_ms > _SLOWER * self._best_ms + _NOISE_MS:
            self.size = max(self._least, self.size * 3 // 4)
        elif self._used >= self.size:
            self.size = min(self._most, self.size + math.ceil(self.size / 4))
