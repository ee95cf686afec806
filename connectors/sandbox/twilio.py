"""A server that speaks Twilio's message interface: HTTP/1.1 on httptools.

`POST /2010-04-01/Accounts/{sid}/Messages.json` with basic auth and a form; 201 with a sid. The journal's `id` is the
`key` in the query of StatusCallback. Numbers choose the answer: Twilio's own test numbers (+15005550001 and so on), and
`+1999SSSM...`: HTTP status SSS, the first M times (0: always); status 000 hangs, 001 breaks off after taking it.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from base64 import b64encode
from typing import cast
from urllib.parse import parse_qs, urlsplit

import httptools
import orjson

from connectors.sandbox.journal import Entry, Journal
from connectors.sandbox.misbehaviour import Behaviour, Misbehaviours

_BODY_MAX_BYTES = 65_536
_PATH = re.compile(r"/2010-04-01/Accounts/([A-Za-z0-9]+)(/Messages)?\.json")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_CHOSEN = re.compile(r"\+1999([0-9]{3})([0-9])")
_TEST_NUMBERS = {
    "+15005550001": 21211, "+15005550002": 21612, "+15005550003": 21408, "+15005550004": 21610, "+15005550009": 21614,
}  # fmt: skip
_REASONS = {201: "Created", 200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many"}


class TwilioServer:
    """What all connections share."""

    def __init__(self, journal: Journal, account_sid: str, auth_token: str) -> None:
        self.journal = journal
        self.account_sid = account_sid
        self.authorization = "Basic " + b64encode(f"{account_sid}:{auth_token}".encode()).decode()
        self.misbehaviours = Misbehaviours()

    async def start(self, port: int) -> asyncio.Server:
        """Listen on 127.0.0.1."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _TwilioConnection(self), "127.0.0.1", port, backlog=256)

    def behaviour(self, number: str) -> Behaviour:
        """What the number asks for."""
        chosen = _CHOSEN.match(number)
        if chosen is None:
            return Behaviour("take")
        status, times = chosen.group(1), int(chosen.group(2))
        if status == "000":
            return Behaviour("hang")
        if status == "001":
            return Behaviour("drop")
        return self.misbehaviours.refusal(number, int(status), times)


class _TwilioConnection(asyncio.Protocol):
    """One connection of a client; answers keep it open."""

    def __init__(self, server: TwilioServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._begin()

    def _begin(self) -> None:
        self._url, self._body, self._headers = b"", bytearray(), dict[str, str]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # the fast loop's transports have no common class

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._close()

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
        status, content = self._handle()
        if status:
            self._answer(status, content)

    def _handle(self) -> tuple[int, dict[str, object]]:
        """Status and body of the answer; status 0: none."""
        path = _PATH.fullmatch(self._url.decode("latin-1"))
        if path is None or path.group(1) != self._server.account_sid:
            return 404, _error(404, 20404)
        if self._headers.get("authorization") != self._server.authorization:
            return 401, _error(401, 20003)
        if not path.group(2):
            return 200, {"sid": self._server.account_sid, "status": "active"}
        return self._message()

    def _message(self) -> tuple[int, dict[str, object]]:
        form = {name: values[0] for name, values in parse_qs(self._body.decode("utf-8", "replace")).items()}
        to, text = form.get("To", ""), form.get("Body", "")
        behaviour = self._server.behaviour(to)
        status, content = _judge(to, text, form, behaviour)
        key = parse_qs(urlsplit(form.get("StatusCallback", "")).query).get("key", [""])[0]
        self._server.journal.write([Entry(to, key, status, bytes(self._body))])
        if behaviour.kind == "drop":
            self._close()
        return (0, {}) if behaviour.kind in ("hang", "drop") else (status, content)

    def _answer(self, status: int, content: dict[str, object]) -> None:
        body = orjson.dumps(content)
        retry = b"retry-after: 1\r\n" if status == 429 else b""
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n" % (
            status, _REASONS.get(status, "Status").encode(), retry, len(body),
        )  # fmt: skip
        if self._transport is not None:
            self._transport.write(head + body)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _judge(to: str, text: str, form: dict[str, str], behaviour: Behaviour) -> tuple[int, dict[str, object]]:
    if behaviour.kind == "refuse":
        return behaviour.status, _error(behaviour.status, 20429 if behaviour.status == 429 else 20500)
    if code := _TEST_NUMBERS.get(to):
        return 400, _error(400, code)
    if not _NUMBER.fullmatch(to):
        return 400, _error(400, 21211)
    if not form.get("From"):
        return 400, _error(400, 21603)
    if not text or len(text) > 1600:
        return 400, _error(400, 21602 if not text else 21617)
    return 201, {"sid": f"SM{uuid.uuid4().hex}", "status": "queued", "num_segments": "1", "error_code": None}


def _error(status: int, code: int) -> dict[str, object]:
    return {"code": code, "message": f"error {code}", "status": status, "more_info": ""}
