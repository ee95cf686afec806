"""Receivers that give no answer, so that they do not keep the places of others' requests (RULES 4).

What is remembered begins with the process, and of a receiver that answers it is nothing. Times are seconds of a clock
that only goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

SILENT_MAX = 5
"""Requests in a row without an answer, and the receiver is left alone."""
PAUSE = timedelta(seconds=30)
"""For so long; then one request asks whether it is back, and so on."""
_REMEMBERED_MAX = 10_000
Origin = tuple[str, str, int]
"""Scheme, host and port."""


@dataclass(slots=True)
class _Receiver:
    silent: int
    until: float


class SilentReceivers:
    """For one event loop."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._receivers: dict[Origin, _Receiver] = {}

    def pause(self, origin: Origin) -> timedelta | None:
        """How much longer it is to be left alone; None: ask it, and if it is a trial, tell others to wait for it."""
        found, now = self._receivers.get(origin), self._clock_s()
        if found is None or found.silent < SILENT_MAX:
            return None
        if now < found.until:
            return timedelta(seconds=found.until - now)
        found.until = now + PAUSE.total_seconds()
        return None

    def answered(self, origin: Origin) -> None:
        """It gave an answer, whatever that said."""
        self._receivers.pop(origin, None)

    def silent(self, origin: Origin) -> None:
        """It gave none, or there was no connection."""
        if len(self._receivers) >= _REMEMBERED_MAX and origin not in self._receivers:
            self._receivers.pop(next(iter(self._receivers)))
        found = self._receivers.setdefault(origin, _Receiver(0, 0.0))
        found.silent += 1
        found.until = self._clock_s() + PAUSE.total_seconds()
