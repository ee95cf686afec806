"""Where a simulated provider listens: a port of 127.0.0.1 that it keeps, also while it is away."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from connectors.sandbox.misbehaviour import Misbehaviours

HOST = "127.0.0.1"
_AGAIN_S = 0.02


class SandboxConnection(asyncio.Protocol):
    """One connection of a client."""

    _transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # the fast loop's transports have no common class

    def abort(self) -> None:
        """Break off at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class Listener:
    """One provider's. `open`, `obey` after each change of the misbehaviours, `close`."""

    def __init__(
        self, protocol: Callable[[], Any], misbehaviours: Misbehaviours, context: ssl.SSLContext | None = None
    ) -> None:
        """`protocol` makes a connection, whose `abort` breaks it off at once; `context` for TLS."""
        self._protocol, self.misbehaviours, self._context = protocol, misbehaviours, context
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._server: asyncio.Server | None = None
        self._coming: asyncio.Task[None] | None = None
        self._place: asyncio.Server | None = None
        """Bound to the port, and never listens: so nobody else gets it."""
        self._port = 0

    async def open(self, port: int) -> int:
        """Listen there or, where that port is taken or 0, anywhere; gives the port."""
        try:
            await self._take(port)
        except OSError:
            await self._take(0)
        return self._port

    async def _take(self, port: int) -> None:
        self._place = await self._serve(port, listens=False)
        self._port = self._place.sockets[0].getsockname()[1]
        try:
            self._server = await self._serve(self._port)
        except OSError:
            self._place.close()
            raise

    async def _serve(self, port: int, *, listens: bool = True) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            self._connect, HOST, port, ssl=self._context, backlog=256, reuse_address=True, start_serving=listens
        )

    def obey(self) -> None:
        """Be away or there, as the misbehaviours say: away at once, there within moments."""
        if self.misbehaviours.meets("away"):
            self._leave()
        elif self._server is None and (self._coming is None or self._coming.done()):
            self._coming = asyncio.get_running_loop().create_task(self._come_back())

    def _leave(self) -> None:
        """Nobody can connect, and who was connected is cut off. The port stays taken."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.abort()

    async def _come_back(self) -> None:
        while self._server is None:
            try:
                self._server = await self._serve(self._port)
            except OSError:
                await asyncio.sleep(_AGAIN_S)  # the loop has not closed the former server yet
        self.obey()  # it may have been sent away again meanwhile

    def close(self) -> None:
        """Listen no more; who is connected stays until the process ends."""
        for server in (self._server, self._place):
            if server is not None:
                server.close()

    def _connect(self) -> Any:
        connection = self._protocol()
        self._connections.add(connection)
        return connection


def tls_context(server: Path, expired: Path, misbehaviours: Misbehaviours, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """Of a provider whose certificate has ended for the connections that meet this; `alpn`: what it speaks."""
    usual, ended = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    for context, file in ((usual, server), (ended, expired)):
        context.load_cert_chain(file)
        if alpn:
            context.set_alpn_protocols(alpn)
    numbers = itertools.count()

    def choose(handshake: ssl.SSLObject | ssl.SSLSocket, _name: str, _context: ssl.SSLContext) -> None:
        if misbehaviours.meets("certificate", str(next(numbers))):
            handshake.context = ended

    usual.sni_callback = choose
    return usual
