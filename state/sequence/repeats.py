"""Exact entries of accepted events with their windows (RULES 1, "Repeats"): by event_id, by client key, and the latest
of a kind.

An entry holds in [accepted, expires). In memory is what was set since it was last handed to the store. Everything else
is asked of the store, a key at a time (DECISIONS, Exact marks). Without a store, entries stay in memory for their
window.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

RepeatKey = tuple[str | None, ...]
_SWEEP_MS = 3_600_000


class RepeatEntry(NamedTuple):
    """Who set it, until when it holds, and for the latest of a kind its content (empty otherwise)."""

    event_id: str
    expires: int
    content: bytes = b""


class RepeatIndex:
    """Entries by key; the first part of a key says which kind of entry it is."""

    def __init__(self, stored: Callable[[RepeatKey], RepeatEntry | None] | None = None) -> None:
        """`stored` gives the entry that the store was handed last."""
        self.expired_until = 0
        """What ends up to then no longer holds, at whatever time is asked for."""
        self._set: dict[RepeatKey, RepeatEntry | None] = {}
        self._stored = stored
        self._swept = 0

    def __len__(self) -> int:
        """How many are in memory and hold."""
        return sum(entry is not None and self.expired_until < entry.expires for entry in self._set.values())

    def get(self, key: RepeatKey, now: int) -> RepeatEntry | None:
        """The entry that holds at `now`."""
        entry = self._latest(key)
        return entry if entry is not None and max(now, self.expired_until) < entry.expires else None

    def _latest(self, key: RepeatKey) -> RepeatEntry | None:
        if self._stored is None or key in self._set:
            return self._set.get(key)
        return self._stored(key)

    def put(self, key: RepeatKey, entry: RepeatEntry) -> None:
        """Set an entry, in place of an earlier one."""
        self._set[key] = entry

    def put_all(self, entries: Iterable[tuple[RepeatKey, RepeatEntry]]) -> None:
        """Set several."""
        self._set.update(entries)

    def free(self, key: RepeatKey, event_id: str) -> None:
        """Forget an entry that this event set."""
        entry = self._latest(key)
        if entry is not None and entry.event_id == event_id:
            self._set[key] = None

    def expire(self, now: int) -> None:
        """Drop what no longer holds. What only memory has is looked through once in an hour."""
        self.expired_until = max(self.expired_until, now)
        if self._stored is None and now // _SWEEP_MS > self._swept:
            self._swept = now // _SWEEP_MS
            self._set = {key: entry for key, entry in self._set.items() if entry is not None and now < entry.expires}

    def take_set(self) -> dict[RepeatKey, RepeatEntry | None]:
        """What was set since the last call, for the store, which answers for it from now on; None: it goes."""
        taken = self._set
        if self._stored is not None:
            self._set = {}
        return taken
