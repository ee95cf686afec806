"""How often those may call who hold a signed link: by their address, and by the user whose link it is."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from connectors.admission.limits import LocalSenderLimit
from connectors.gateway.problems import retry_later

PER_USER_PER_S = 5
_BUCKETS = 4096
"""Windows of limits: addresses and users that share one are few, and memory stays bounded."""


class LinkLimits:
    """The windows of one process."""

    def __init__(self, clock: Callable[[], int], *, address_calls_per_s: int) -> None:
        """`clock` in milliseconds since 1970. Mailbox providers post for all of their users from few addresses, and
        behind a proxy that is not known there is one.
        """
        self._windows, self._clock, self._per_address = LocalSenderLimit(), clock, address_calls_per_s

    def take_address(self, address: str) -> None:
        """:raises ProblemError: 429."""
        self._take(f"address {_bucket(address)}", self._per_address)

    def take_user(self, user: str) -> None:
        """:raises ProblemError: 429."""
        self._take(f"user {_bucket(user)}", PER_USER_PER_S)

    def _take(self, window: str, limit: int) -> None:
        grant = self._windows.take_now(window, 1, limit=limit, now_ms=self._clock())
        if not grant.granted:
            raise retry_later(429, "too many calls at once; try again in a moment", grant.retry_after_ms)


def _bucket(name: str) -> int:
    return crc32(name.encode("utf-8", "surrogatepass")) % _BUCKETS
