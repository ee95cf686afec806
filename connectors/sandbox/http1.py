"""What the simulated providers that speak HTTP/1.1 share: connections on httptools, plain or over TLS.

A server judges a request as a whole. What its answer says of a message is in the journal before it goes out.
"""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Protocol

import httptools

from connectors.sandbox.http2 import BYTE_EVERY_S, ENDLESS_EVERY_S, Answer
from connectors.sandbox.journal import Entry, Journal
from connectors.sandbox.listener import SandboxConnection

_BODY_MAX_BYTES, _CHUNK_BYTES = 2_000_000, 65_536


class Http1Server(Protocol):
    """What all connections of a server share."""

    @property
    def journal(self) -> Journal | None:
        """None: no answer is one to a message."""
        ...

    def judge(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """The answer to one request; header names are lower case, and `:method` is one of them."""
        ...


class Http1Connection(SandboxConnection):
    """One connection of a client; answers keep it open."""

    def __init__(self, server: Http1Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._begin()

    def _begin(self) -> None:
        self._url, self._body, self._headers = b"", bytearray(), dict[str, str]()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        if len(self._body) <= _BODY_MAX_BYTES:
            self._body += body

    def on_message_complete(self) -> None:
        body = bytes(self._body)
        headers = {**self._headers, ":method": self._parser.get_method().decode("latin-1")}
        answer = self._server.judge(self._url.decode("latin-1"), headers, body)
        answer.garble()
        if answer.to and self._server.journal is not None:
            self._server.journal.write([Entry(answer.to, answer.identity, answer.status, body, answer.shown)])
        if answer.behaviour.kind in ("drop", "rst"):
            self.abort()
        elif answer.behaviour.kind in ("stall", "trickle"):
            self._write_part(self._bytes_of(answer), whole=answer.behaviour.kind == "trickle")
        elif answer.behaviour.kind == "endless":
            self._write(f"HTTP/1.1 {answer.status} {_reason(answer.status)}\r\nconnection: close\r\n\r\n".encode())
            self._go_on()
        elif answer.behaviour.delay_ms:
            asyncio.get_running_loop().call_later(answer.behaviour.delay_ms / 1000, self._answer, answer)
        elif answer.behaviour.kind != "hang":
            self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        self._write(self._bytes_of(answer))

    def _bytes_of(self, answer: Answer) -> bytes:
        lines = [f"HTTP/1.1 {answer.status} {_reason(answer.status)}", f"content-length: {len(answer.content)}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        return "\r\n".join([*lines, "", ""]).encode() + answer.content

    def _go_on(self) -> None:
        """A body without end, as fast as the client reads, until it has had enough."""
        if self._transport is None or self._transport.is_closing():
            return
        if not self._transport.get_write_buffer_size():
            self._write(bytes(_CHUNK_BYTES))
        asyncio.get_running_loop().call_later(ENDLESS_EVERY_S, self._go_on)

    def _write_part(self, data: bytes, *, whole: bool) -> None:
        """Half of it, or all of it by and by."""
        if not whole:
            self._write(data[: len(data) // 2])
        elif data:
            self._write(data[:1])
            asyncio.get_running_loop().call_later(BYTE_EVERY_S, partial(self._write_part, data[1:], whole=True))


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
