"""Requests to addresses that strangers gave us (webhooks, chats, browsers), which reach nothing of ours (SSRF).

The one way out for such URLs (tests/tidy holds the tree to it). For each connection the host is resolved once, every
answer must be public or allowed by `EgressOptions`, and the connection is opened to a checked address: what DNS says a
moment later cannot move it. TLS is verified against the host of the URL. No redirect is followed, no proxy of the
environment is used, no answer is decompressed; what is longer than ANSWER_MAX_BYTES is cut off. A request ends at its
deadline, whatever the other side does.

HTTP/1.1, one exchange at a time on a connection. One that is idle is kept for `IDLE_MAX`, shorter than servers keep
theirs, since a request on a connection that the server is closing would be ambiguous; none for longer than `AGE_MAX`,
so that a name is resolved again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, cast

import httptools

from connectors.providers.options import EgressOptions
from connectors.providers.request import Request
from connectors.providers.transport import ANSWER_MAX_BYTES, Response, TransportError
from connectors.providers.trust import client_tls
from state.model.errors import ConfigurationError
from state.model.web_address import WebAddress, is_public, literal

HEADERS_MAX_BYTES = 65_536
IDLE_MAX = timedelta(seconds=4)
"""Common servers close after five."""
AGE_MAX = timedelta(minutes=1)
_TRIED_MAX = 4
"""Addresses of a host that are tried for one connection."""
_RESOLVED_MAX = 32
"""Names that are asked for at once."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives all IP addresses of a host."""
_Origin = tuple[str, str, int]


class RefusedError(TransportError):
    """The rules of egress forbid the address; nothing was sent."""

    def __init__(self) -> None:
        super().__init__("address not allowed", ambiguous=False)


class Resolver:
    """Gives all addresses that the machine's resolver knows.

    In threads of its own: the loop's few are also those of our providers, and a stranger's name may get no answer.
    """

    def __init__(self, lookup: Callable[..., Sequence[tuple[Any, ...]]] = socket.getaddrinfo) -> None:
        """`lookup` blocks."""
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_RESOLVED_MAX, thread_name_prefix="resolve")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        asked = partial(self._lookup, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, asked)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class EgressRules:
    """What may be reached; see `EgressOptions`."""

    def __init__(self, options: EgressOptions) -> None:
        """:raises ConfigurationError: an option is none."""
        if faults := list(options.faults()):
            raise ConfigurationError("; ".join(faults))
        self._schemes = ("https", "http") if options.plain_http else ("https",)
        self._ports = options.ports
        self._allowed = [ip_network(text) for text in options.private_networks]
        self._refused = [ip_network(text) for text in options.refused_networks]

    def takes(self, url: WebAddress) -> bool:
        """Whether scheme and port are allowed."""
        return url.scheme in self._schemes and url.port in self._ports

    def reaches(self, address: str) -> bool:
        """Whether a connection to this IP address is allowed."""
        found = ip_address(address)
        if any(found in network for network in self._refused):
            return False
        return is_public(found) or any(found in network for network in self._allowed)


class Egress:
    """Sends requests by the rules; for use on one event loop."""

    def __init__(self, options: EgressOptions, *, resolve: Resolve | None = None) -> None:
        """:raises ConfigurationError: an option is none, or the certificates cannot be read."""
        self._rules, self._resolve = EgressRules(options), resolve or Resolver()
        self._connect_s = options.connect_timeout.total_seconds()
        self._tls = client_tls(options.ca_file, "egress.ca_file")
        self._idle: dict[_Origin, list[_EgressConnection]] = {}
        self._all: set[_EgressConnection] = set()
        self._closed = False

    async def request(self, url: WebAddress, request: Request, deadline: timedelta) -> Response:
        """Send to the host of `url`, with the request's own path, and wait for the whole answer, until the deadline.

        :raises RefusedError: the rules forbid it.
        :raises TransportError: no answer within the deadline, or none at all.
        """
        head, connection = _head(url, request), None
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                connection = await self._connection(url)
                response = await connection.exchange(head + request.body)
        except TimeoutError:
            if connection is None or (told := connection.told) is None:
                raise TransportError("no answer within the deadline", ambiguous=connection is not None) from None
            return told
        finally:
            if connection is not None:
                self._release(url, connection)
        return response

    async def close(self) -> None:
        """Close all connections; requests in progress fail as ambiguous."""
        self._closed = True
        for connection in list(self._all):
            connection.close()

    async def _connection(self, url: WebAddress) -> _EgressConnection:
        if not self._rules.takes(url):
            raise RefusedError
        idle = self._idle.get(url[:3], [])
        while idle:
            connection = idle.pop()
            if connection.take():
                return connection
        return await self._new(url)

    async def _new(self, url: WebAddress) -> _EgressConnection:
        """A connection to the first address of the host that answers."""
        why = ""
        for address in (await self._checked(url))[:_TRIED_MAX]:
            try:
                async with asyncio.timeout(self._connect_s):
                    connection = await self._open(url, address)
            except OSError as error:  # TLS that is not good and time that is over are such, too
                why = str(error)
                continue
            if self._closed:
                connection.close()
                break
            return connection
        raise TransportError("no connection", ambiguous=False, why=why)

    async def _checked(self, url: WebAddress) -> Sequence[str]:
        """The addresses of the host, all of them allowed: one that is not condemns the others."""
        try:
            found = [url.host] if literal(url.host) else await self._resolve(url.host, url.port)
        except (OSError, UnicodeError):
            raise TransportError("no such host", ambiguous=False) from None
        if not all(map(self._rules.reaches, found)):
            raise RefusedError
        return found

    async def _open(self, url: WebAddress, address: str) -> _EgressConnection:
        secured = url.scheme == "https"
        _, opened = await asyncio.get_running_loop().create_connection(
            lambda: _EgressConnection(self._all),
            address,
            url.port,
            ssl=self._tls if secured else None,
            server_hostname=url.host if secured else None,
        )
        return opened

    def _release(self, url: WebAddress, connection: _EgressConnection) -> None:
        """Keep it for the next request if it can be used again."""
        if self._closed or not connection.rest():
            connection.close()
            return
        idle = self._idle.setdefault(url[:3], [])
        idle.append(connection)
        if len(idle) == 1:
            self._expire_later(url[:3])

    def _expire_later(self, origin: _Origin) -> None:
        asyncio.get_running_loop().call_later(IDLE_MAX.total_seconds(), self._expire, origin)

    def _expire(self, origin: _Origin) -> None:
        """Drop what has been idle for too long, so that an origin of long ago takes no memory."""
        left = [connection for connection in self._idle.pop(origin, []) if not connection.expire()]
        if left:
            self._idle[origin] = left
            self._expire_later(origin)


class _EgressConnection(asyncio.Protocol):
    """One connection. What comes while no exchange is under way ends it."""

    def __init__(self, all_of_them: set[_EgressConnection]) -> None:
        self._all, self._loop = all_of_them, asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._reusable, self._born, self._rested = False, self._loop.time(), 0.0
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body, self._seen, self._has_headers = dict[str, str](), bytearray(), 0, False

    def take(self) -> bool:
        """Use it for one more exchange; false: it cannot be."""
        usable = self._reusable and not self._is_old()
        if not usable:
            self.close()
        self._reusable = False
        return usable

    def rest(self) -> bool:
        """After an exchange: whether it can be kept."""
        self._rested = self._loop.time()
        return self._reusable

    def expire(self) -> bool:
        """Close it if it has been idle for too long; true: it is closed."""
        if self._reusable and not self._is_old():
            return False
        self.close()
        return True

    def _is_old(self) -> bool:
        now = self._loop.time()
        return now - self._rested >= IDLE_MAX.total_seconds() or now - self._born >= AGE_MAX.total_seconds()

    async def exchange(self, data: bytes) -> Response:
        """Send the bytes of a request and wait for the answer.

        :raises TransportError: the connection ended without one.
        """
        self._begin()
        self._answer = self._loop.create_future()
        if self._transport is None or self._transport.is_closing():
            raise TransportError("connection lost before the request", ambiguous=False)
        self._transport.write(data)
        return await self._answer

    def close(self) -> None:
        """End it at once."""
        self._reusable = False
        if self._transport is not None:
            self._transport.abort()

    @property
    def told(self) -> Response | None:
        """What came of the answer; None: its headers did not."""
        if not self._has_headers:
            return None
        return Response(self._parser.get_status_code(), self._headers, bytes(self._body))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # the fast loop's transports have no common class
        self._all.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._all.discard(self)
        self._reusable = False
        self._end()

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()
            return
        self._seen += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._end()
            self.close()
            return
        if self._seen > HEADERS_MAX_BYTES + ANSWER_MAX_BYTES:
            self._end()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._has_headers = self._parser.get_status_code() >= 200  # what comes before is not the answer

    def on_body(self, body: bytes) -> None:
        self._body += body[: ANSWER_MAX_BYTES - len(self._body)]

    def on_message_complete(self) -> None:
        if not self._has_headers:
            self._headers = {}
            return
        self._reusable = bool(self._parser.should_keep_alive())
        self._end()

    def _end(self) -> None:
        """Give what there is: an answer whose headers came is one, however its body ended."""
        if self._answer is None or self._answer.done():
            return
        if (told := self.told) is not None:
            self._answer.set_result(told)
        else:
            self._answer.set_exception(TransportError("connection lost before the answer", ambiguous=True))


def _head(url: WebAddress, request: Request) -> bytes:
    """The lines before the body.

    :raises TransportError: a line would become several.
    """
    headers = {"host": url.authority, "user-agent": "Carillon", "accept-encoding": "identity", **request.headers}
    headers["content-length"] = str(len(request.body))
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise TransportError("request cannot be built", ambiguous=False)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
