"""The breaker of one provider with one credential (RULES 4): how much of its rate it gets, by its last answers. Pure.

Of the answers of the last 30 s (whole seconds, now's and the 29 before it) the share that failed is what counts, from
20 answers on. While open, one probe every 30 s asks whether the provider is back. What is remembered begins with the
process, closed, and takes a few numbers for each second.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

BreakerState = Literal["closed", "reduced", "half_open", "open"]
SHARES: dict[BreakerState, float] = {"closed": 1.0, "reduced": 0.2, "half_open": 0.1, "open": 0.0}
"""The part of the rate, and of the requests in flight, that a state allows."""
PROBE_EVERY_MS = 30_000
HALF_OPEN_MS = 10_000
REDUCED_MIN_MS = 10_000
MOVE_AFTER_MS = 60_000
"""Open for so long, P1 moves to its next channel."""
CALLS_MIN = 20
_REDUCE_PERCENT, _OPEN_PERCENT = 5, 30
_SECOND_MS = 1_000
_SECONDS = 30


class Answers(NamedTuple):
    """Of the last 30 s, as far as they count."""

    calls: int
    failed: int

    def reach(self, percent: int) -> bool:
        """Whether so many of them failed."""
        return self.calls > 0 and self.failed * 100 >= percent * self.calls


@dataclass(slots=True)
class _Second:
    number: int
    calls: int = 0
    failed: int = 0


class Breaker:
    """Times are milliseconds. Where the clock steps back, its time goes on from where it stood."""

    def __init__(self) -> None:
        self._state: BreakerState = "closed"
        self._now = self._since = self._probe_at = self._stepped_back = 0
        self._opened_at: int | None = None
        self.judged = Answers(0, 0)
        """What the last change of state was made by."""
        self._seconds: deque[_Second] = deque()
        self._calls = self._failed = 0
        """In all of these seconds."""

    def answered(self, now: int, *, failed: bool, probe: bool = False) -> None:
        """The provider answered a call, or did not in time. While open, the probe's answer alone counts."""
        if self.look(now) != "open":
            number = self._now // _SECOND_MS
            if not self._seconds or self._seconds[-1].number != number:
                self._forget_old()
                self._seconds.append(_Second(number))
            last = self._seconds[-1]
            last.calls += 1
            last.failed += failed
            self._calls += 1
            self._failed += failed
            if not self.at_ease:
                self.look(now)
        elif probe and not failed:
            self._enter("half_open")

    @property
    def at_ease(self) -> bool:
        """Whether it is closed, and no call failed lately: then nothing but time changes with an answer."""
        return not self._failed and self._state == "closed"

    def look(self, now: int) -> BreakerState:
        """The state, as of now."""
        self._stepped_back = max(self._stepped_back, self._now - now)
        self._now = now + self._stepped_back
        if self._state == "half_open":
            self._look_half_open()
        elif self._state != "open" and (self._failed or self._state != "closed"):
            self._look_at_all()
        return self._state

    def answers(self) -> Answers:
        """What the last 30 s say, or in half-open its time so far."""
        self._forget_old()
        return Answers(self._calls, self._failed)

    def _forget_old(self) -> None:
        while self._seconds and self._seconds[0].number <= self._now // _SECOND_MS - _SECONDS:
            old = self._seconds.popleft()
            self._calls -= old.calls
            self._failed -= old.failed

    def probe_in_ms(self) -> int:
        """How long until a probe may go, 0: now; for an open breaker, as of the last look."""
        return max(0, self._probe_at - self._now)

    def probe(self) -> None:
        """A probe goes out."""
        self._probe_at = self._now + PROBE_EVERY_MS

    def probe_lost(self) -> None:
        """It was not sent after all: another one may go."""
        self._probe_at = self._now

    def open_ms(self) -> int:
        """For how long it has not been closed, as of the last look; 0 while it lets anything but probes through."""
        return self._now - self._opened_at if self._state == "open" and self._opened_at is not None else 0

    def _look_at_all(self) -> None:
        found = self.answers()
        enough = found.calls >= CALLS_MIN
        if enough and found.reach(_OPEN_PERCENT):
            self._enter("open")
        elif enough and found.reach(_REDUCE_PERCENT):
            self._become("reduced")
        elif self._now - self._since >= REDUCED_MIN_MS:  # a share about the bound would change it at each answer
            self._become("closed")

    def _look_half_open(self) -> None:
        found, over = self.answers(), self._now - self._since >= HALF_OPEN_MS
        if (over or found.calls >= CALLS_MIN) and found.reach(_OPEN_PERCENT):
            self._enter("open")
        elif over:
            self._become("closed")
            self._opened_at = None

    def _become(self, state: BreakerState) -> None:
        if state != self._state:
            self.judged = self.answers()
            self._state, self._since = state, self._now

    def _enter(self, state: BreakerState) -> None:
        self._become(state)
        self._seconds.clear()
        self._calls = self._failed = 0
        if state == "open":
            self._probe_at = self._now + PROBE_EVERY_MS
            self._opened_at = self._now if self._opened_at is None else self._opened_at


class Pace:
    """At most a rate: a bucket that holds a tenth of a second's worth, at least one. Where the clock steps back, it
    goes on filling from there.
    """

    def __init__(self, rate_per_s: float) -> None:
        self._level = math.inf
        self._at = 0
        self.change(rate_per_s)

    def change(self, rate_per_s: float) -> None:
        """From now on this rate; what was in the bucket stays, as far as there is room for it."""
        self._per_ms = rate_per_s / 1000
        self._size = max(1.0, rate_per_s / 10)
        self._level = min(self._size, self._level)

    def room(self, now: int) -> int:
        """How many may go now."""
        self._level = min(self._size, self._level + max(0, now - self._at) * self._per_ms)
        self._at = now
        return int(self._level)

    def take(self, count: int) -> None:
        """So many went, at most what there was room for."""
        self._level -= count
