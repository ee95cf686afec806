"""The way to an SMSC: one session that all share, opened when it is first needed and again whenever it ended.

SMSCs hand receipts to who is bound, so a session that ended, or could not be opened, is opened again though nothing is
to be sent. Who cannot bind, or whose session ends soon, tries again after a wait that doubles and begins anew when a
session has held; whatever is to be sent meanwhile fails at once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import structlog

from connectors.providers.sms.smpp_options import SmppOptions
from connectors.providers.sms.smpp_session import BindRefused, OnMessage, SessionEnded, SmscSession, open_session
from state.model.errors import CarillonError

_WAIT_MAX_S = 15.0
_logger = structlog.get_logger(__name__)


class NoSession(CarillonError):  # noqa: N818 - the state of things; nothing was written
    """Why there is none; nothing was written."""


class SmscLink:
    """For one event loop."""

    def __init__(
        self,
        options: SmppOptions,
        tls: ssl.SSLContext | None,
        on_message: OnMessage,
        *,
        uniform: Callable[[float, float], float],
        wait_s: float = 0.5,
        held_s: float = 5.0,
    ) -> None:
        """`uniform` draws from a range; `wait_s`: the first wait; a session that ends before `held_s` is as one that
        could not be opened.
        """
        self._first_wait_s, self._held_s = wait_s, held_s
        self._options, self._tls, self._on_message, self._uniform = options, tls, on_message, uniform
        self._opening: asyncio.Task[SmscSession] | None = None
        self._session: SmscSession | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._opened_s = self._not_before_s = 0.0
        self._wait_s, self._why = wait_s, ""
        self._closed = False

    async def session(self) -> SmscSession:
        """The open one, or a new one.

        :raises NoSession: there is none; the text says why.
        """
        if self._session is not None:
            if not self._session.ended.is_set():
                return self._session
            self._ended(self._session)
        if self._closed or asyncio.get_running_loop().time() < self._not_before_s:
            raise NoSession(self._why or "closed")
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Unbind; what waits for an answer gets none any more."""
        self._closed = True
        for task in (self._keeper, self._opening):
            if task is not None:
                task.cancel()
        if self._session is not None:
            await self._session.close()

    async def _open(self) -> SmscSession:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        try:
            self._session = await open_session(self._options, self._tls, self._on_message)
        except (BindRefused, SessionEnded, OSError, TimeoutError) as error:
            self._why = str(error) if isinstance(error, BindRefused) else "no connection"
            self._hold_back()
            raise NoSession(self._why) from error
        self._opened_s = asyncio.get_running_loop().time()
        return self._session

    def _ended(self, session: SmscSession) -> None:
        """Called by whoever notices first."""
        if session is not self._session:
            return
        self._session = None
        if asyncio.get_running_loop().time() - self._opened_s >= self._held_s:
            self._wait_s = self._first_wait_s
        else:
            self._why = "the session ended soon after bind"
            self._hold_back()

    def _hold_back(self) -> None:
        self._not_before_s = asyncio.get_running_loop().time() + self._wait_s * self._uniform(0.6, 1.4)
        self._wait_s = min(2 * self._wait_s, _WAIT_MAX_S)
        _logger.warning("smsc_away", why=self._why)

    async def _keep(self) -> None:
        """Whenever there is no session, or none any more, open one."""
        while not self._closed:
            if (session := self._session) is not None:
                await session.ended.wait()
                self._ended(session)
            await asyncio.sleep(max(self._first_wait_s, self._not_before_s - asyncio.get_running_loop().time()))
            try:
                await self.session()
            except NoSession:
                continue  # it says how long to wait
