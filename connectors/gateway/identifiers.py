"""Event ids for producers who give none: UUIDs of version 7 (RFC 9562), which sort by time."""

from __future__ import annotations

from collections.abc import Callable

_ID_DIGITS = 20
_POOL_IDS = 256
_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""Of a random digit, the one that stands where the variant is said: two of its bits are random."""


class EventIds:
    """Makes ids from a time (milliseconds since 1970) and a source of random bytes, asked for in large pieces."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        """`random_bytes` must be fit for secrets (`os.urandom`): ids should not be guessable."""
        self._random_bytes = random_bytes
        self._pool, self._used = "", 0
        self._time_ms, self._time = -1, ""

    def __call__(self, now_ms: int) -> str:
        """A new id."""
        if self._used == len(self._pool):
            self._pool, self._used = self._random_bytes(_POOL_IDS * _ID_DIGITS // 2).hex(), 0
        if now_ms != self._time_ms:
            time = f"{now_ms & (1 << 48) - 1:012x}"
            self._time_ms, self._time = now_ms, f"{time[:8]}-{time[8:]}-7"
        digits = self._pool[self._used : self._used + _ID_DIGITS]
        self._used += _ID_DIGITS
        return f"{self._time}{digits[:3]}-{_VARIANTS[digits[3]]}{digits[4:7]}-{digits[7:19]}"
