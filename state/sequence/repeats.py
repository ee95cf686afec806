"""Exact marks of accepted events with their windows (RULES 1, "Repeats"): by event_id, by client key, and the latest
of a kind.

A mark holds in [accepted, expires). Expired marks are dropped as time passes, so memory is bounded by the events of a
window.
"""

import heapq
from collections.abc import Iterable
from typing import NamedTuple

MarkKey = tuple[str | None, ...]


class Mark(NamedTuple):
    """Who set it, until when it holds, and for the latest of a kind its content (empty otherwise)."""

    event_id: str
    expires: int
    content: bytes = b""


class RepeatMarks:
    """Marks by key; the first part of a key says which kind of mark it is."""

    def __init__(self) -> None:
        self.changed: set[MarkKey] = set()
        """Keys whose stored form is stale."""
        self._marks: dict[MarkKey, Mark] = {}
        self._expiries: list[tuple[int, int, MarkKey]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._marks)

    def get(self, key: MarkKey, now: int) -> Mark | None:
        """The mark that holds at `now`."""
        mark = self._marks.get(key)
        return mark if mark is not None and now < mark.expires else None

    def put(self, key: MarkKey, mark: Mark) -> None:
        """Set a mark, in place of an earlier one."""
        self._marks[key] = mark
        self.changed.add(key)
        self._number += 1
        heapq.heappush(self._expiries, (mark.expires, self._number, key))

    def put_all(self, marks: Iterable[tuple[MarkKey, Mark]]) -> None:
        """Set several."""
        for key, mark in marks:
            self.put(key, mark)

    def free(self, key: MarkKey, event_id: str) -> None:
        """Forget a mark that this event set."""
        mark = self._marks.get(key)
        if mark is not None and mark.event_id == event_id:
            del self._marks[key]
            self.changed.add(key)

    def expire(self, now: int) -> None:
        """Drop what no longer holds."""
        while self._expiries and self._expiries[0][0] <= now:
            _, _, key = heapq.heappop(self._expiries)
            mark = self._marks.get(key)
            if mark is not None and mark.expires <= now:
                del self._marks[key]
                self.changed.add(key)

    def stored(self, key: MarkKey) -> Mark | None:
        """The mark as it is to be stored; None: its stored form goes."""
        return self._marks.get(key)
