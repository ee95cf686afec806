"""Notices a client that fetches nothing any more from a partition that has more.

The client's own recovery may fail. In one test with brokers that died, deliver got nothing more from either partition
for two minutes, while all other processes went on; nothing said why, and it was not seen again. A reader that waits for
such a client waits for ever, and nobody is told. So it asks now and then where its partitions end, through another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Protocol

from state.model.envelope import TopicPartition

_LOOKS = 2
"""So many in a row that find the same make it certain: one may come just before what was asked for."""
_PATIENCE_MAX = 64
"""A new client that fetches nothing either is replaced later each time, up to so many times later."""


class KnownEnd(Protocol):
    """What a broker answers."""

    @property
    def offset(self) -> int: ...


AskEnds = Callable[[Sequence[TopicPartition]], Mapping[TopicPartition, "Future[KnownEnd]"]]
"""Asks where partitions end, and waits for nothing."""


class ArrivalWatch:
    """Of one reader; for its thread."""

    def __init__(self, ask_ends: AskEnds, now_s: float, look_every: timedelta = timedelta(seconds=5)) -> None:
        """`now_s`: by a monotonic clock."""
        self._ask_ends = ask_ends
        self._ends: Mapping[TopicPartition, Future[KnownEnd]] = {}
        self._before: Mapping[TopicPartition, int] = {}
        """Up to where all had come that was fetched, when the ends were asked for."""
        self._missing = frozenset[TopicPartition]()
        self._looks, self._patience = 0, 1
        self._every_s = look_every.total_seconds()
        self._due_s = now_s + self._every_s

    def is_due(self, now_s: float) -> bool:
        """Whether it is time for a look; asked when everything that the client fetched was handed out."""
        return now_s >= self._due_s

    def stuck(self, fetched_to: Mapping[TopicPartition, int], now_s: float) -> frozenset[TopicPartition]:
        """The partitions from which nothing came for a while though they have had more; empty: all is well."""
        self._due_s = now_s + self._every_s
        missing = frozenset(place for place, before in self._before.items() if self._lacks(place, before, fetched_to))
        if missing and missing & self._missing:
            self._looks += 1
        else:
            self._looks, self._patience = int(bool(missing)), self._patience if missing else 1
        self._missing, self._before, self._ends = missing, fetched_to, self._ask_ends(list(fetched_to))
        if self._looks < _LOOKS * self._patience:
            return frozenset()
        self._looks, self._patience = 0, min(2 * self._patience, _PATIENCE_MAX)
        return missing

    def _lacks(self, place: TopicPartition, before: int, fetched_to: Mapping[TopicPartition, int]) -> bool:
        answer = self._ends.get(place)
        if answer is None or not answer.done() or answer.exception() is not None:
            return False
        return before == fetched_to.get(place) and answer.result().offset > before
