"""A simulated provider that speaks HTTP/2 with whoever agrees to it at the begin of TLS, and HTTP/1.1 with others."""

from __future__ import annotations

import asyncio

from connectors.sandbox.http1 import Http1Connection
from connectors.sandbox.http2 import Answer, Http2Connection, Http2Server
from connectors.sandbox.journal import Journal

ALPN = ("h2", "http/1.1")


class _OverHttp1:
    """See `connectors.sandbox.http1.Http1Server`: one that expects the path among the headers."""

    def __init__(self, server: Http2Server) -> None:
        self._server = server

    @property
    def journal(self) -> Journal:
        return self._server.journal

    def judge(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        return self._server.judge({**headers, ":path": target}, body)


class HttpConnection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, server: Http2Server) -> None:
        self._server = server
        self._spoken: Http1Connection | Http2Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        agreed = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        is_http2 = agreed == ALPN[0]
        self._spoken = Http2Connection(self._server) if is_http2 else Http1Connection(_OverHttp1(self._server))
        self._spoken.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._spoken is not None:
            self._spoken.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._spoken is not None:
            self._spoken.connection_lost(exc)

    def abort(self) -> None:
        """Break off at once, whatever is under way."""
        if self._spoken is not None:
            self._spoken.abort()
