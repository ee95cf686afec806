"""How many messages may be without an answer at an SMSC: fewer once it throttles, more again as it answers."""

from __future__ import annotations

import asyncio

PAUSE_S = 1.0
"""So long nothing new is sent to an SMSC that throttled."""


class SmscWindow:
    """For one event loop. Halved by each throttling, one wider after every round of answers, up to its width."""

    def __init__(self, width: int) -> None:
        self._width = self.limit = width
        self.outstanding = 0
        self._answered = 0
        """In a row, since the limit last changed."""
        self._open_at = 0.0
        self._left = asyncio.Event()

    async def enter(self) -> None:
        """Wait for a place; `leave` follows."""
        while True:
            pause_s = self._open_at - asyncio.get_running_loop().time()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            elif self.outstanding < self.limit:
                self.outstanding += 1
                return
            else:
                self._left.clear()
                await self._left.wait()

    def leave(self, *, throttled: bool = False, taken: bool = False) -> None:
        """Give the place back, with what the SMSC said of its load, if it said anything."""
        self.outstanding -= 1
        if throttled:
            self.limit, self._answered = max(1, self.limit // 2), 0
            self._open_at = asyncio.get_running_loop().time() + PAUSE_S
        elif taken:
            self._answered += 1
            if self._answered >= self.limit:
                self.limit, self._answered = min(self._width, self.limit + 1), 0
        self._left.set()
