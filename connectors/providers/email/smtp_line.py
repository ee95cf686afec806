"""Which mail goes next on which of a relay's connections.

A mail that finds all of them in use waits in line. Where the relay offers PIPELINING, the commands of the first in line
go out in the same write as the text before them (RFC 2920, 3.1), and its connection is handed on to it. If that other
mail hangs, it goes back to its place in line: nothing of it was taken, as its text is not written.
"""

from __future__ import annotations

import asyncio
from collections import deque

from connectors.providers.email.smtp_exchange import SmtpEnvelope, SmtpExchange

_HANGS_S = 1.0
"""Whoever follows a mail for so long looks for another connection."""


class _InLine:
    """A mail in line."""

    __slots__ = ("envelope", "timer", "turn")

    def __init__(self, envelope: SmtpEnvelope, turn: asyncio.Future[SmtpExchange | None]) -> None:
        self.envelope, self.turn = envelope, turn
        self.timer: asyncio.TimerHandle | None = None


class SmtpLine:
    """For one event loop."""

    def __init__(self, connections: int) -> None:
        self._free = connections
        self._line = deque[_InLine]()
        self._following = dict[SmtpExchange, _InLine]()

    async def turn(self, envelope: SmtpEnvelope) -> SmtpExchange | None:
        """Wait for a connection; gives that on which the mail's commands are written already. None: it may take any.
        `leave` follows in either case.
        """
        if self._free:
            self._free -= 1
            return None
        waiting = _InLine(envelope, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        try:
            return await waiting.turn
        except asyncio.CancelledError:
            if not waiting.turn.cancelled():  # it was its turn already
                if (given := waiting.turn.result()) is not None:
                    given.close()
                self._next()
            raise

    def following(self, exchange: SmtpExchange) -> SmtpEnvelope | None:
        """Whose commands go out there behind the text that is about to be written."""
        waiting = self._first()
        if waiting is None:
            return None
        waiting.timer = asyncio.get_running_loop().call_later(_HANGS_S, self._back, exchange)
        self._following[exchange] = waiting
        return waiting.envelope

    def is_followed(self, exchange: SmtpExchange) -> bool:
        """Whether somebody still waits for the end of the mail that goes there."""
        return exchange in self._following

    def leave(self, exchange: SmtpExchange | None) -> None:
        """A mail is over, and its connection, if it had one, may be closed: the next one's turn."""
        waiting = None if exchange is None else self._following.pop(exchange, None)
        if waiting is not None and waiting.timer is not None:
            waiting.timer.cancel()
        if waiting is not None and not waiting.turn.done():
            if exchange is not None and exchange.is_open:
                waiting.turn.set_result(exchange)
                return
            self._line.appendleft(waiting)
        elif waiting is not None and exchange is not None:
            exchange.close()  # of one who was cancelled
        self._next()

    def _back(self, exchange: SmtpExchange) -> None:
        if (waiting := self._following.pop(exchange, None)) is not None and not waiting.turn.done():
            self._line.appendleft(waiting)
            if self._free:
                self._free -= 1
                self._next()

    def _next(self) -> None:
        if (waiting := self._first()) is None:
            self._free += 1
        else:
            waiting.turn.set_result(None)

    def _first(self) -> _InLine | None:
        while self._line:
            if not (waiting := self._line.popleft()).turn.done():
                return waiting
        return None
