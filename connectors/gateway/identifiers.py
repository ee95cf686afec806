"""Event ids for producers who give none: UUIDs of version 7 (RFC 9562), which sort by time."""

from __future__ import annotations

from collections.abc import Callable

_VERSION_AND_VARIANT = (0x7 << 76) | (0x2 << 62)
_ID_BYTES = 10
_POOL_BYTES = 256 * _ID_BYTES


class EventIds:
    """Makes ids from a clock (milliseconds since 1970) and a source of random bytes, asked for in large pieces."""

    def __init__(self, clock: Callable[[], int], random_bytes: Callable[[int], bytes]) -> None:
        """`random_bytes` must be fit for secrets (`os.urandom`): ids should not be guessable."""
        self._clock, self._random_bytes = clock, random_bytes
        self._pool, self._used = b"", 0

    def __call__(self) -> str:
        """A new id."""
        if self._used == len(self._pool):
            self._pool, self._used = self._random_bytes(_POOL_BYTES), 0
        self._used += _ID_BYTES
        random = int.from_bytes(self._pool[self._used - _ID_BYTES : self._used], "big")
        high, low = (random >> 62 & 0xFFF) << 64, random & (1 << 62) - 1
        time = (self._clock() & (1 << 48) - 1) << 80
        text = f"{time | _VERSION_AND_VARIANT | high | low:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
