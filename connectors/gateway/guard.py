"""What to do when a store is down: leave it alone for a moment, say so once, count it (RULES 1, "Dedup store down")."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from connectors.admission.limits import Grant, LocalSenderLimit, SenderLimit
from connectors.metrics import ADMISSION_STORE_UNAVAILABLE
from state.model.errors import StoreUnavailableError

_PAUSE_S = 1.0
"""How long a failed store is not asked again."""
_logger = structlog.get_logger(__name__)


class Guard:
    """Remembers that a store failed, so that not every request waits for its deadline."""

    def __init__(self, store: str) -> None:
        """`store` is its name in logs and metrics."""
        self._store = store
        self._until_s = 0.0
        self._counter = ADMISSION_STORE_UNAVAILABLE.labels(store)

    def may_ask(self) -> bool:
        """Whether the store may be asked; each request that goes on without it is counted."""
        if time.monotonic() >= self._until_s:
            return True
        self._counter.inc()
        return False

    def failed(self, error: StoreUnavailableError) -> None:
        """Count the failure and begin the pause."""
        self._counter.inc()
        self._until_s = time.monotonic() + _PAUSE_S
        _logger.warning("store_unavailable", store=self._store, error=str(error))


class GuardedLimit:
    """The sender limit, with a conservative one of our own while its store is down."""

    def __init__(
        self,
        limit: SenderLimit,
        *,
        fallback_limit_per_s: int,
        granted: Callable[[str, int], int] = lambda _sender, configured: configured,
    ) -> None:
        """`limit` stays the caller's to close; `granted` gives what a sender may send, of what is configured for it."""
        self._granted = granted
        self._limit, self._guard = limit, Guard("limit")
        self._fallback, self._fallback_limit = LocalSenderLimit(), fallback_limit_per_s

    async def take(self, sender_id: str, count: int, *, limit: int, now_ms: int) -> Grant:
        """See `SenderLimit.take`; never raises."""
        limit = self._granted(sender_id, limit)
        if isinstance(self._limit, LocalSenderLimit):
            return self._limit.take_now(sender_id, count, limit=limit, now_ms=now_ms)
        if self._guard.may_ask():
            try:
                return await self._limit.take(sender_id, count, limit=limit, now_ms=now_ms)
            except StoreUnavailableError as error:
                self._guard.failed(error)
        lower = min(limit, self._fallback_limit)
        return self._fallback.take_now(sender_id, count, limit=lower, now_ms=now_ms)
