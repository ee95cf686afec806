"""The way to an SMSC: one session that all share, opened when it is first needed and again whenever it ended.

SMSCs hand receipts to who is bound, so a session that ended, or could not be opened, is opened again though nothing is
to be sent. Who cannot bind tries again after a wait that doubles; whatever is to be sent meanwhile fails at once.
"""

from __future__ import annotations

import asyncio
import ssl

import structlog

from connectors.providers.sms.smpp_options import SmppOptions
from connectors.providers.sms.smpp_session import BindRefused, OnMessage, SessionEnded, SmscSession, open_session
from state.model.errors import CarillonError

_WAIT_S, _WAIT_MAX_S = 0.5, 15.0
_logger = structlog.get_logger(__name__)


class NoSession(CarillonError):  # noqa: N818 - the state of things; nothing was written
    """Why there is none; nothing was written."""


class SmscLink:
    """For one event loop."""

    def __init__(self, options: SmppOptions, tls: ssl.SSLContext | None, on_message: OnMessage) -> None:
        self._options, self._tls, self._on_message = options, tls, on_message
        self._opening: asyncio.Task[SmscSession] | None = None
        self._session: SmscSession | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._not_before_s, self._wait_s, self._why = 0.0, _WAIT_S, ""
        self._closed = False

    async def session(self) -> SmscSession:
        """The open one, or a new one.

        :raises NoSession: there is none; the text says why.
        """
        if self._session is not None and not self._session.ended.is_set():
            return self._session
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
            self._not_before_s = asyncio.get_running_loop().time() + self._wait_s
            self._wait_s = min(2 * self._wait_s, _WAIT_MAX_S)
            _logger.warning("smsc_away", why=self._why)
            raise NoSession(self._why) from error
        self._wait_s = _WAIT_S
        return self._session

    async def _keep(self) -> None:
        """Whenever there is no session, or none any more, open one."""
        while not self._closed:
            if self._session is not None:
                await self._session.ended.wait()
            await asyncio.sleep(max(self._wait_s, self._not_before_s - asyncio.get_running_loop().time()))
            try:
                await self.session()
            except NoSession:
                continue  # it says how long to wait
