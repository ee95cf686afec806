"""How many events a sender may send: an exact sliding window of one second (RULES 1, "Sender limit").

In any window of one second at most the limit is granted, also across the edge of a second: what was granted is kept by
the millisecond. Two implementations keep the laws of `tests/connectors/admission`: `LocalSenderLimit` for
one process, `connectors.admission.redis.RedisSenderLimit` for several.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

WINDOW_MS = 1000


class Grant(NamedTuple):
    """How many of the events asked for may go on, and when it is worth to ask again for the rest."""

    granted: int
    retry_after_ms: int
    """0 where everything was granted."""
    in_second: int = 0
    """Granted in the second that ends with these."""


class SenderLimit(Protocol):
    """See the module."""

    async def take(self, sender_id: str, count: int, *, limit: int, now_ms: int) -> Grant:
        """Count up to `count` events against the sender's `limit` per second; the first ones are granted.

        :raises StoreUnavailableError: it does not answer within its deadline; nothing was granted.
        """
        ...

    async def close(self) -> None:
        """Free it."""
        ...


class Window:
    """What one sender was granted in the last second. Memory: at most one entry a millisecond."""

    __slots__ = ("_entries", "_total")

    def __init__(self) -> None:
        self._entries: deque[tuple[int, int]] = deque()
        self._total = 0

    def take(self, count: int, *, limit: int, now_ms: int) -> Grant:
        """See `SenderLimit.take`. A clock that goes back counts as standing still."""
        entries = self._entries
        now_ms = max(now_ms, entries[-1][0]) if entries else now_ms
        while entries and entries[0][0] <= now_ms - WINDOW_MS:
            self._total -= entries.popleft()[1]
        granted = max(0, min(count, limit - self._total))
        if granted:
            earlier = entries.pop()[1] if entries and entries[-1][0] == now_ms else 0
            entries.append((now_ms, earlier + granted))
            self._total += granted
        if granted == count:
            return Grant(granted, 0, self._total)
        return Grant(granted, entries[0][0] + WINDOW_MS - now_ms if entries else WINDOW_MS, self._total)


class LocalSenderLimit:
    """The windows of one process, in memory: a restart takes longer than they last."""

    def __init__(self) -> None:
        """Begin with nothing granted; senders are those of the configuration, so their number is bounded."""
        self._windows: dict[str, Window] = {}

    async def take(self, sender_id: str, count: int, *, limit: int, now_ms: int) -> Grant:
        """See `SenderLimit`."""
        return self.take_now(sender_id, count, limit=limit, now_ms=now_ms)

    def take_now(self, sender_id: str, count: int, *, limit: int, now_ms: int) -> Grant:
        """The same for callers that need not await."""
        window = self._windows.get(sender_id)
        if window is None:
            window = self._windows[sender_id] = Window()
        return window.take(count, limit=limit, now_ms=now_ms)

    async def close(self) -> None:
        """See `SenderLimit`."""
        self._windows.clear()
