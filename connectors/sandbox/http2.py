"""What the simulated providers that speak HTTP/2 over TLS share: connections on the `h2` library.

A server judges a request as a whole. What its answers say of messages is in the journal before the first of them goes
out. At first a connection may have as many streams as the server says, and 1000 once an answer trusts it.

`goaway` ends a connection with the request that meets it unread, as APNs does in the midst of many: what came before is
answered, and what comes behind is for another connection.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from connectors.sandbox.journal import Entry, Journal
from connectors.sandbox.listener import SandboxConnection
from connectors.sandbox.misbehaviour import Behaviour

STREAMS_MAX = 1000
GARBLED = b"<html><body>upstream error"
"""What an answer says that means nothing."""
FLOOD = (("x-flood", "a" * 1000),) * 4000
"""Headers of four megabytes, which HTTP/2 packs into a few kilobytes."""
BYTE_EVERY_S = 1.0
ENDLESS_EVERY_S = 0.002
_BODY_MAX_BYTES = 65_536
_GOAWAY = bytes((0, 0, 8, 7, 0, 0, 0, 0, 0))
"""The head of a frame that `h2` would write only at the end of a connection: eight bytes, of type 7, of stream 0."""
_GOES_WITHIN_S = 5.0
"""A connection that said GOAWAY."""


@dataclass(slots=True)
class Answer:
    """What to do about one request."""

    status: int
    content: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    behaviour: Behaviour = field(default_factory=lambda: Behaviour("take"))
    trusts: bool = False
    """The credential was good: the connection may have more streams."""
    to: str = ""
    """Of a message, for the journal; empty: it was none."""
    identity: str = ""
    """The message's own id, for the journal."""
    shown: bytes | None = None
    """What a watcher is shown; None: the body as it came."""

    def garble(self) -> None:
        """Make what is said nothing, a success, or hard to read, where that is asked for."""
        if self.behaviour.kind == "garbled":
            self.content, self.headers = GARBLED, (("content-type", "text/html"),)
        elif self.behaviour.kind == "encoded":
            self.content, self.headers = self.content or GARBLED, (*self.headers, ("content-encoding", "gzip"))
        elif self.behaviour.kind == "flood":
            self.headers += FLOOD
        elif self.behaviour.kind == "inside":
            self.status = 200


class Http2Server(Protocol):
    """What all connections of a server share."""

    journal: Journal
    streams_first: int
    """How many streams a connection may have before it is trusted."""

    def judge(self, headers: dict[str, str], body: bytes) -> Answer:
        """The answer to one request; the pseudo-headers are among the headers."""
        ...


@dataclass(slots=True)
class _Stream:
    """A request as it comes in."""

    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Judged:
    """A request that came in whole, and its answer."""

    stream: int
    body: bytes
    answer: Answer


class _Advertised(Settings):
    """Settings whose stream limit is announced only: `h2` would end the connection over one stream too many."""

    @property
    def max_concurrent_streams(self) -> int:
        return 2**31 - 1

    @max_concurrent_streams.setter
    def max_concurrent_streams(self, value: int) -> None:
        self[SettingCodes.MAX_CONCURRENT_STREAMS] = value


class Http2Connection(SandboxConnection):
    """One connection of a client."""

    def __init__(self, server: Http2Server) -> None:
        self._server = server
        config = H2Configuration(
            client_side=False, header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False, validate_inbound_headers=False, normalize_inbound_headers=False,
        )  # fmt: skip
        self._h2 = H2Connection(config)
        self._streams: dict[int, _Stream] = {}
        self._streams_max = server.streams_first
        self._last_read: int | None = None
        """The last stream that is read, once GOAWAY was said."""
        self._judged_last = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        first = {SettingCodes.MAX_CONCURRENT_STREAMS: self._streams_max}
        self._h2.local_settings = _Advertised(client=False, initial_values=first)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(2**30)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            self._flush()
            self._close()
            return
        judged = [found for event in events if (found := self._take(event)) is not None]
        judged = [one for one in judged if not self._turns_away(one)]
        for one in judged:
            one.answer.garble()
        if judged:
            self._server.journal.write(
                [
                    Entry(one.answer.to, one.answer.identity, one.answer.status, one.body)
                    for one in judged
                    if one.answer.to
                ]
            )
            for one in judged:
                self._carry_out(one.stream, one.answer)
        self._flush()

    def _take(self, event: Event) -> _Judged | None:
        if isinstance(event, RequestReceived):
            headers: list[Any] = list(event.headers)  # text, as header_encoding says; h2's type allows bytes too
            if self._last_read is not None:
                return None  # behind the GOAWAY: the client sends it on another connection
            if len(self._streams) >= self._streams_max:
                self._h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)  # opened before it saw our settings
            else:
                self._streams[event.stream_id] = _Stream(dict(headers))
        elif isinstance(event, DataReceived):
            stream = self._streams.get(event.stream_id)
            if stream is not None and len(stream.body) <= _BODY_MAX_BYTES:
                stream.body += event.data
        elif isinstance(event, StreamEnded):
            stream = self._streams.pop(event.stream_id, None)
            return None if stream is None else self._judge(event.stream_id, stream)
        elif isinstance(event, StreamReset):
            self._streams.pop(event.stream_id, None)
        elif isinstance(event, ConnectionTerminated):
            self._close()
        return None

    def _judge(self, number: int, stream: _Stream) -> _Judged:
        body = bytes(stream.body)
        answer = self._server.judge(stream.headers, body)
        if answer.trusts and self._streams_max < STREAMS_MAX:
            self._streams_max = STREAMS_MAX
            self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX})
        return _Judged(number, body, answer)

    def _turns_away(self, one: _Judged) -> bool:
        """Whether it is not read any more, because it meets a GOAWAY or comes behind one.

        A client may end a later stream first. Then what meets the GOAWAY lies before a stream that was read, and is
        refused by itself.
        """
        if self._last_read is None and one.answer.behaviour.kind == "goaway" and self._transport is not None:
            self._last_read = max(self._judged_last, one.stream - 2)
            if one.stream < self._last_read:
                self._h2.reset_stream(one.stream, ErrorCodes.REFUSED_STREAM)
            self._flush()
            self._transport.write(_GOAWAY + self._last_read.to_bytes(4, "big") + bytes(4))
            asyncio.get_running_loop().call_later(_GOES_WITHIN_S, self._close)
            return True
        self._judged_last = max(self._judged_last, one.stream)
        return self._last_read is not None and one.stream > self._last_read

    def _carry_out(self, stream: int, answer: Answer) -> None:
        kind = answer.behaviour.kind
        if kind == "hang":
            return
        if kind in ("stall", "trickle", "endless"):
            self._begin_answer(stream, answer)
        elif kind in ("rst", "drop"):
            self._h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
        elif answer.behaviour.delay_ms:
            asyncio.get_running_loop().call_later(answer.behaviour.delay_ms / 1000, self._answer_late, stream, answer)
        else:
            self._answer(stream, answer)

    def _answer_late(self, stream: int, answer: Answer) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._answer(stream, answer)
            self._flush()

    def _answer(self, stream: int, answer: Answer) -> None:
        try:
            self._h2.send_headers(
                stream, [(":status", str(answer.status)), *answer.headers], end_stream=not answer.content
            )
            if answer.content:
                self._h2.send_data(stream, answer.content, end_stream=True)
        except ProtocolError:
            return  # the client has given this stream up

    def _begin_answer(self, stream: int, answer: Answer) -> None:
        """The head, and of the body (an empty one is some blanks) half or a byte at a time; or one without end."""
        content = answer.content or b" " * 20
        try:
            self._h2.send_headers(stream, [(":status", str(answer.status)), *answer.headers])
            if answer.behaviour.kind == "stall":
                self._h2.send_data(stream, content[: len(content) // 2])
            elif answer.behaviour.kind == "endless":
                self._go_on(stream)
            else:
                self._trickle(stream, content)
        except ProtocolError:
            return  # the client has given this stream up

    def _go_on(self, stream: int) -> None:
        """As fast as the client reads, until it has had enough."""
        if self._transport is None or self._transport.is_closing():
            return
        try:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            self._h2.send_data(stream, bytes(max(0, room)))
        except ProtocolError:
            return  # the client has given this stream up
        self._flush()
        asyncio.get_running_loop().call_later(ENDLESS_EVERY_S, self._go_on, stream)

    def _trickle(self, stream: int, content: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        try:
            self._h2.send_data(stream, content[:1], end_stream=len(content) == 1)
        except ProtocolError:
            return  # the client has given this stream up
        self._flush()
        if len(content) > 1:
            asyncio.get_running_loop().call_later(BYTE_EVERY_S, self._trickle, stream, content[1:])

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
