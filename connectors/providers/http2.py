"""HTTP/2 to one origin, by `ngh2` (libnghttp2) on the event loop that asks.

Whatever is sent in one turn of the loop goes out in one write, and an answer wakes its request and nothing else: no
thread, and no timer of its own. A connection takes requests until the server says GOAWAY or ends it. Then the next
request opens another one, and what is under way on the old one may still be answered there.

What a server certainly did not read (RFC 9113, 6.8 and 8.7: a stream behind the last of a GOAWAY, or refused) is sent
again on another connection, a few times. What else ends without an answer is ambiguous, unless nothing of its body went
out.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import ngh2

from connectors.providers.request import Request
from connectors.providers.transport import ANSWER_MAX_BYTES, Response, TransportError
from state.model.errors import ConfigurationError

_PING_EVERY = timedelta(minutes=1)
"""So that a connection that died unseen is found before a message waits on it for its whole deadline."""
_TRIES_MAX = 3
"""On so many connections a request is sent that none of them reads."""
_UNREAD, _CANCEL = int(ngh2.ErrorCode.REFUSED_STREAM), int(ngh2.ErrorCode.CANCEL)
_HttpFields = list[tuple[bytes, bytes]]


class Http2Transport:
    """See the module, and `Transport`."""

    def __init__(
        self,
        origin: str,
        *,
        connect_timeout: timedelta,
        ca_file: Path | None = None,
        ping_every: timedelta = _PING_EVERY,
    ) -> None:
        """A ping that is not answered within `connect_timeout` ends the connection.

        :raises ConfigurationError: the certificates cannot be read.
        """
        place = urlsplit(origin)
        self._host, self._port = place.hostname or "", place.port or 443
        self._head = [(b":scheme", b"https"), (b":authority", place.netloc.encode("ascii", "replace"))]
        self._connect_s, self._ping_s = connect_timeout.total_seconds(), ping_every.total_seconds()
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ConfigurationError(f"{ca_file}: holds no certificates that can be read") from error
        self._tls.set_alpn_protocols(["h2"])
        self._current: _Http2Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._all = set[_Http2Connection]()
        self._closed = False

    async def request(self, request: Request, deadline: timedelta) -> Response:
        """See `Transport.request`."""
        due = asyncio.get_running_loop().time() + deadline.total_seconds()
        headers = self._headers(request)
        for _ in range(_TRIES_MAX):
            connection = self._current
            if connection is None or not connection.usable:
                connection = await self._connected(due)
            exchange = connection.send(headers, request.body, due)
            try:
                response = await exchange.answer
            except asyncio.CancelledError:
                connection.forget(exchange)
                raise
            if response is not None:
                return response
        raise TransportError("not read by the server", ambiguous=False)

    async def close(self) -> None:
        """See `Transport.close`."""
        self._closed, self._current = True, None
        if self._opening is not None:
            self._opening.cancel()
        for connection in tuple(self._all):
            connection.close()

    def _headers(self, request: Request) -> _HttpFields:
        text = "".join([request.path, *request.headers.values()])
        if not (text.isascii() and text.isprintable()):  # a line end among them
            raise TransportError("request cannot be built", ambiguous=False)
        return [
            (b":method", request.method.encode()),
            *self._head,
            (b":path", request.path.encode()),
            *[(_name(name), value.encode()) for name, value in request.headers.items()],
        ]

    async def _connected(self, due: float) -> _Http2Connection:
        """A connection that takes requests, opened once for all who wait for it."""
        loop = asyncio.get_running_loop()
        if self._opening is None and not self._closed:
            self._opening = loop.create_task(self._open())
        if self._opening is not None:
            await asyncio.wait([self._opening], timeout=max(0.0, due - loop.time()))
        if self._current is None or not self._current.usable:
            raise TransportError("no connection", ambiguous=False)
        return self._current

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_s):
                _, opened = await loop.create_connection(
                    lambda: _Http2Connection(self._all, self._ping_s, self._connect_s),
                    self._host,
                    self._port,
                    ssl=self._tls,
                )
                await opened.ready
                self._current = opened
        except (OSError, ssl.SSLError, TransportError):  # time that is over is an OSError, too
            return
        finally:
            self._opening = None


@cache
def _name(name: str) -> bytes:
    """Of a header; there are few."""
    return name.encode("ascii")


class _Exchange:
    """A request that is under way; `answer` is None where the server certainly did not read it."""

    __slots__ = ("answer", "body", "due", "headers", "size", "status", "stream")

    def __init__(self, answer: asyncio.Future[Response | None], stream: int, size: int, due: float) -> None:
        self.answer, self.stream, self.size, self.due = answer, stream, size, due
        self.status, self.headers, self.body = 0, dict[str, str](), b""

    def fail(self, cause: str, *, ambiguous: bool) -> None:
        """There will be no answer."""
        if not self.answer.done():
            self.answer.set_exception(TransportError(cause, ambiguous=ambiguous))

    def end(self, response: Response | None) -> None:
        """It is answered, or was not read."""
        if not self.answer.done():
            self.answer.set_result(response)


class _Http2Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, all_of_them: set[_Http2Connection], ping_s: float, patience_s: float) -> None:
        """`ping_s`: how often there is a PING; `patience_s`: how long it may go unanswered."""
        self._all, self._ping_s, self._patience_s = all_of_them, ping_s, patience_s
        self._loop = asyncio.get_running_loop()
        self._http = ngh2.Connection(ngh2.Role.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._exchanges: dict[int, _Exchange] = {}
        self._flushes = self._paused = self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._ping: asyncio.TimerHandle | None = None
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """The server has said how many streams it takes."""

    @property
    def usable(self) -> bool:
        """Whether it takes another request."""
        return not self._over and self._http.can_send_request

    def send(self, headers: _HttpFields, body: bytes, due: float) -> _Exchange:
        """Send a request, to be answered by then.

        :raises TransportError: it cannot be put into HTTP/2.
        """
        try:
            stream = self._http.send_request(headers, end_stream=not body)
            if body:
                self._http.send_data(stream, body, end_stream=True)
        except (ngh2.NGH2Error, ValueError) as error:
            raise TransportError("request cannot be built", ambiguous=False) from error
        exchange = self._exchanges[stream] = _Exchange(self._loop.create_future(), stream, len(body), due)
        if self._timer is None or due < self._timer.when():
            self._look_at(due)
        if not self._flushes:  # once for all of this turn
            self._flushes = True
            self._loop.call_soon(self._flush)
        return exchange

    def forget(self, exchange: _Exchange) -> None:
        """Nobody waits for the answer."""
        if self._exchanges.pop(exchange.stream, None) is not None and not self._over:
            with suppress(ngh2.NGH2Error):
                self._http.reset_stream(exchange.stream, _CANCEL)
            self._flush()

    def close(self) -> None:
        """End it; what is under way is ambiguous."""
        self._lose("closed before the answer")
        if self._transport is not None:
            with suppress(ngh2.NGH2Error):
                self._http.terminate_connection()
                self._transport.write(self._http.data_to_send())
            self._transport.close()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # the fast loop's transports have no common class
        self._all.add(self)
        secured = transport.get_extra_info("ssl_object")
        if secured.selected_alpn_protocol() != "h2":
            self._transport.abort()
            return
        self._http.initiate_connection({ngh2.Setting.ENABLE_PUSH: 0})
        self._flush()
        self._ping = self._loop.call_later(self._ping_s, self._ask)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._all.discard(self)
        self._lose("connection lost before the answer")
        if not self.ready.done():
            self.ready.set_exception(TransportError("no connection", ambiguous=False))
            self.ready.exception()  # perhaps nobody waits for it

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
        except ngh2.NGH2Error:
            self._take_events()
            self._flush()
            self._abort()
            return
        self._take_events()
        self._flush()

    # answers

    def _take_events(self) -> None:
        for event in self._http.events():
            if isinstance(event, ngh2.ResponseReceived):
                self._head(event)
            elif isinstance(event, ngh2.DataReceived):
                self._data(event)
            elif isinstance(event, ngh2.StreamClosed):
                self._stream_closed(event)
            elif isinstance(event, ngh2.SettingsReceived):
                if not self.ready.done():
                    self.ready.set_result(None)
            elif isinstance(event, ngh2.PingAcknowledged):
                self._answered_ping()
            elif isinstance(event, ngh2.ConnectionClosed):
                self._abort()

    def _head(self, event: ngh2.ResponseReceived) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is not None:
            (_, status), *headers = event.headers
            exchange.status = int(status)
            exchange.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}

    def _data(self, event: ngh2.DataReceived) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            return
        exchange.body += event.data
        if len(exchange.body) > ANSWER_MAX_BYTES:
            exchange.end(Response(exchange.status, exchange.headers, exchange.body[:ANSWER_MAX_BYTES]))
            self.forget(exchange)

    def _stream_closed(self, event: ngh2.StreamClosed) -> None:
        exchange = self._exchanges.pop(event.stream_id, None)
        if exchange is None:
            return
        if event.error_code == 0 and exchange.status:
            exchange.end(Response(exchange.status, exchange.headers, exchange.body))
        elif event.error_code == _UNREAD and not exchange.status:
            exchange.end(None)
        elif event.local_error is not None:
            exchange.fail("request cannot be built", ambiguous=False)
        else:
            exchange.fail("connection lost before the answer", ambiguous=True)

    def _lose(self, cause: str) -> None:
        """Every request that is under way ends without an answer."""
        self._over = True
        for timer in (self._timer, self._ping):
            if timer is not None:
                timer.cancel()
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.fail(cause, ambiguous=self._has_gone(exchange))

    def _has_gone(self, exchange: _Exchange) -> bool:
        """Whether something of its body went out; a request without one may be acted on by its head alone."""
        with suppress(ngh2.NGH2Error):
            return not exchange.size or self._http.queued_body_size(exchange.stream) < exchange.size
        return True

    # time

    def _look_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._give_up)

    def _give_up(self) -> None:
        """What is late ends; one timer is enough, as most requests have the same time."""
        self._timer, now = None, self._loop.time()
        late = [exchange for exchange in self._exchanges.values() if exchange.due <= now]
        for exchange in late:
            exchange.fail("no answer within the deadline", ambiguous=self._has_gone(exchange))
            self.forget(exchange)
        if self._exchanges:
            self._look_at(min(exchange.due for exchange in self._exchanges.values()))

    def _ask(self) -> None:
        with suppress(ngh2.NGH2Error):
            self._http.ping()
        self._flush()
        self._ping = self._loop.call_later(self._patience_s, self._abort)

    def _answered_ping(self) -> None:
        if self._ping is not None:
            self._ping.cancel()
        self._ping = self._loop.call_later(self._ping_s, self._ask)

    # bytes

    def _flush(self) -> None:
        self._flushes = False
        if self._paused or self._transport is None or self._over:
            return
        if data := self._http.data_to_send():
            self._transport.write(data)

    def _abort(self) -> None:
        self._over = True
        if self._transport is not None:
            self._transport.abort()
