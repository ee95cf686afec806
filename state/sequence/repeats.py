"""Exact entries of accepted events with their windows (RULES 1, "Repeats"): by event_id, by client key, and the latest
of a kind.

An entry holds in [accepted, expires). Expired entries are dropped as time passes, so memory is bounded by the events of
a window.
"""

import heapq
from collections.abc import Iterable
from typing import NamedTuple

RepeatKey = tuple[str | None, ...]


class RepeatEntry(NamedTuple):
    """Who set it, until when it holds, and for the latest of a kind its content (empty otherwise)."""

    event_id: str
    expires: int
    content: bytes = b""


class RepeatIndex:
    """Entries by key; the first part of a key says which kind of entry it is."""

    def __init__(self) -> None:
        self.changed: set[RepeatKey] = set()
        """Keys whose stored form is stale."""
        self._entries: dict[RepeatKey, RepeatEntry] = {}
        self._expiries: list[tuple[int, int, RepeatKey]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: RepeatKey, now: int) -> RepeatEntry | None:
        """The entry that holds at `now`."""
        entry = self._entries.get(key)
        return entry if entry is not None and now < entry.expires else None

    def put(self, key: RepeatKey, entry: RepeatEntry) -> None:
        """Set an entry, in place of an earlier one."""
        self._entries[key] = entry
        self.changed.add(key)
        self._number += 1
        heapq.heappush(self._expiries, (entry.expires, self._number, key))

    def put_all(self, entries: Iterable[tuple[RepeatKey, RepeatEntry]]) -> None:
        """Set several."""
        for key, entry in entries:
            self.put(key, entry)

    def free(self, key: RepeatKey, event_id: str) -> None:
        """Forget an entry that this event set."""
        entry = self._entries.get(key)
        if entry is not None and entry.event_id == event_id:
            del self._entries[key]
            self.changed.add(key)

    def expire(self, now: int) -> None:
        """Drop what no longer holds."""
        while self._expiries and self._expiries[0][0] <= now:
            _, _, key = heapq.heappop(self._expiries)
            entry = self._entries.get(key)
            if entry is not None and entry.expires <= now:
                del self._entries[key]
                self.changed.add(key)

    def stored(self, key: RepeatKey) -> RepeatEntry | None:
        """The entry as it is to be stored; None: its stored form goes."""
        return self._entries.get(key)
