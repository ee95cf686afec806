"""What each sender posts and what it is answered, for metrics. Senders are those of the configuration: a closed set."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from functools import cache
from types import TracebackType
from typing import Self

from connectors.gateway.answers import Accepted
from connectors.gateway.problems import ProblemError
from connectors.metrics import SENDER_EVENTS, SENDER_FULLEST, SENDER_SECONDS

_FULLEST_OVER_S = 60
_REFUSALS = {
    400: "not_valid", 403: "not_allowed", 404: "no_such_segment", 409: "key_used_before", 413: "not_valid",
    415: "not_valid", 429: "above_limit", 503: "not_stored",
}  # fmt: skip
_events = cache(SENDER_EVENTS.labels)
_seconds = cache(SENDER_SECONDS.labels)


class PostAnswer:
    """Times one post of a sender, and counts its events; one that is refused as a whole is counted by `events`."""

    def __init__(self, sender: str) -> None:
        self._sender, self._began = sender, time.perf_counter()
        self.events = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        _seconds(self._sender).observe(time.perf_counter() - self._began)
        if isinstance(error, ProblemError):
            _events(self._sender, _word(error)).inc(self.events)

    def count(self, outcomes: Iterable[Accepted | ProblemError]) -> None:
        """Each was answered so."""
        for word, events in Counter(map(_word, outcomes)).items():
            _events(self._sender, word).inc(events)


def _word(outcome: Accepted | ProblemError) -> str:
    if isinstance(outcome, Accepted):
        return "repeated" if outcome.status == 200 else "accepted"
    return outcome.why or _REFUSALS.get(outcome.status, "other")


class FullestSeconds:
    """How many events each sender was granted in a second, at most, in the last minute; for one event loop."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[tuple[int, int]]] = {}

    def note(self, sender: str, granted: int, now_ms: int) -> None:
        """So many were granted in the second that ends now."""
        seconds = self._seconds.get(sender)
        if seconds is None:
            seconds = self._seconds[sender] = deque()
            SENDER_FULLEST.labels(sender).set_function(lambda: self._fullest(sender))
        second = now_ms // 1000
        if seconds and seconds[-1][0] >= second:
            granted = max(granted, seconds.pop()[1])
        seconds.append((second, granted))
        while seconds[0][0] <= second - _FULLEST_OVER_S:
            seconds.popleft()

    def _fullest(self, sender: str) -> float:
        oldest = time.time() - _FULLEST_OVER_S
        return max((granted for second, granted in tuple(self._seconds[sender]) if second > oldest), default=0)
