"""A server that speaks APNs' protocol: HTTP/2 over TLS, on the `h2` library.

One stream at a time until a valid provider token was seen on the connection, 1000 then. Checked are path, provider
token (shape, signature, age), topic, push type, payload size. Misbehaviours: `connectors.sandbox`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from connectors.sandbox.journal import Entry, Journal
from connectors.sandbox.misbehaviour import Behaviour, Misbehaviours

STREAMS_MAX = 1000
PAYLOAD_MAX_BYTES = 4096
TOKEN_AGE_MAX_S = 3600
_BODY_MAX_BYTES = 65_536
_PATH = re.compile(r"/3/device/([!-.0-~]{1,1200})")  # one segment, perhaps escaped
_BAD_STATUS_REASON = {
    400: "BadDeviceToken", 403: "InvalidProviderToken", 404: "BadPath", 405: "MethodNotAllowed", 410: "Unregistered",
    413: "PayloadTooLarge", 429: "TooManyRequests", 500: "InternalServerError", 503: "ServiceUnavailable",
}  # fmt: skip


@dataclass(slots=True)
class _Stream:
    """A request as it comes in."""

    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Answer:
    """What to do about one request."""

    stream: int
    to: str
    identity: str
    status: int
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    timestamp: int | None = None
    behaviour: Behaviour = field(default_factory=lambda: Behaviour("take"))
    body: bytes = b""


class ApnsServer:
    """What all connections share: the journal, the misbehaviours' memory and the judgement of provider tokens."""

    def __init__(self, journal: Journal, key: EllipticCurvePublicKey, topic: str) -> None:
        self.journal, self.topic = journal, topic
        self.misbehaviours = Misbehaviours()
        self._key = key
        self._issued_s: dict[str, int] = {}

    async def start(self, port: int, context: ssl.SSLContext) -> asyncio.Server:
        """Listen on 127.0.0.1."""
        context.set_alpn_protocols(["h2"])
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _ApnsConnection(self), "127.0.0.1", port, ssl=context, backlog=256)

    def token_error(self, authorization: str) -> str:
        """Why APNs would refuse the provider token; empty if it would not."""
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token:
            return "MissingProviderToken"
        if token not in self._issued_s:
            issued = self._verify(token)
            if issued is None:
                return "InvalidProviderToken"
            if len(self._issued_s) > 1000:
                self._issued_s.clear()
            self._issued_s[token] = issued
        return "ExpiredProviderToken" if time.time() - self._issued_s[token] > TOKEN_AGE_MAX_S else ""

    def _verify(self, token: str) -> int | None:
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, self._key, algorithms=["ES256"], options={"verify_iat": False})
        except jwt.InvalidTokenError:
            return None
        kid, team, issued = header.get("kid"), claims.get("iss"), claims.get("iat")
        if not (isinstance(kid, str) and len(kid) == 10 and isinstance(team, str) and len(team) == 10):
            return None
        return issued if isinstance(issued, int) else None


class _Advertised(Settings):
    """Settings whose stream limit is announced only: `h2` would end the connection over one stream too many."""

    @property
    def max_concurrent_streams(self) -> int:
        return 2**31 - 1

    @max_concurrent_streams.setter
    def max_concurrent_streams(self, value: int) -> None:
        self[SettingCodes.MAX_CONCURRENT_STREAMS] = value


class _ApnsConnection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, server: ApnsServer) -> None:
        self._server = server
        config = H2Configuration(
            client_side=False, header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False, validate_inbound_headers=False, normalize_inbound_headers=False,
        )  # fmt: skip
        self._h2 = H2Connection(config)
        self._streams: dict[int, _Stream] = {}
        self._transport: asyncio.Transport | None = None
        self._trusted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # the fast loop's transports have no common class
        self._h2.local_settings = _Advertised(client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
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
        answers = [answer for event in events if (answer := self._take(event)) is not None]
        if answers:
            self._server.journal.write(
                [Entry(answer.to, answer.identity, answer.status, answer.body) for answer in answers if answer.to]
            )
            for answer in answers:
                self._carry_out(answer)
        self._flush()

    def _take(self, event: Event) -> _Answer | None:
        if isinstance(event, RequestReceived):
            headers: list[Any] = list(event.headers)  # text, as header_encoding says; h2's type allows bytes too
            if self._streams and not self._trusted:
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

    def _judge(self, number: int, stream: _Stream) -> _Answer:
        headers = stream.headers
        match = _PATH.fullmatch(headers.get(":path", ""))
        to = unquote(match.group(1)) if match else ""
        identity = headers.get("apns-id") or str(uuid.uuid4())
        answer = _Answer(number, to, identity, 200, body=bytes(stream.body))
        refusal = self._refusal(headers, to, answer.body)
        if refusal is not None:
            answer.status, answer.reason = refusal
            return answer
        self._behave(answer)
        return answer

    def _refusal(self, headers: dict[str, str], to: str, body: bytes) -> tuple[int, str] | None:
        """What APNs checks before it looks at the device."""
        if headers.get(":method") != "POST":
            return 405, "MethodNotAllowed"
        if error := self._server.token_error(headers.get("authorization", "")):
            return 403, error
        self._trust()
        if not to:
            return (400, "MissingDeviceToken") if headers.get(":path") == "/3/device/" else (404, "BadPath")
        if headers.get("apns-topic") != self._server.topic:
            return 400, "BadTopic" if "apns-topic" in headers else "MissingTopic"
        if headers.get("apns-push-type") != "alert":
            return 400, "InvalidPushType"
        if not headers.get("apns-expiration", "0").isdigit():
            return 400, "BadExpirationDate"
        if len(headers.get("apns-collapse-id", "")) > 64:
            return 400, "BadCollapseId"
        return _payload_refusal(body)

    def _behave(self, answer: _Answer) -> None:
        """What the token asks for."""
        behaviour = self._server.misbehaviours.of(answer.to)
        answer.behaviour = behaviour
        if behaviour.kind == "gone":
            answer.status, answer.reason, answer.timestamp = 410, "Unregistered", time.time_ns() // 1_000_000
        elif behaviour.kind == "bad":
            answer.status, answer.reason = 400, "BadDeviceToken"
        elif behaviour.kind == "refuse":
            answer.status = behaviour.status
            answer.reason = _BAD_STATUS_REASON.get(behaviour.status, "Unknown")
            if behaviour.status == 429:
                answer.headers = (("retry-after", "1"),)

    def _trust(self) -> None:
        """A valid provider token was seen: more streams may be opened."""
        if not self._trusted:
            self._trusted = True
            self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX})

    def _carry_out(self, answer: _Answer) -> None:
        kind = answer.behaviour.kind
        if kind == "hang":
            return
        if kind in ("rst", "drop"):
            self._h2.reset_stream(answer.stream, ErrorCodes.INTERNAL_ERROR)
        elif answer.behaviour.delay_ms:
            asyncio.get_running_loop().call_later(answer.behaviour.delay_ms / 1000, self._answer_late, answer)
        else:
            self._answer(answer)

    def _answer_late(self, answer: _Answer) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._answer(answer)
            self._flush()

    def _answer(self, answer: _Answer) -> None:
        headers = [(":status", str(answer.status)), ("apns-id", answer.identity), *answer.headers]
        body = b""
        if answer.reason:
            content: dict[str, Any] = {"reason": answer.reason}
            if answer.timestamp is not None:
                content["timestamp"] = answer.timestamp
            body = orjson.dumps(content)
        try:
            self._h2.send_headers(answer.stream, headers, end_stream=not body)
            if body:
                self._h2.send_data(answer.stream, body, end_stream=True)
        except ProtocolError:
            return  # the client has given this stream up

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _payload_refusal(body: bytes) -> tuple[int, str] | None:
    if not body:
        return 400, "PayloadEmpty"
    if len(body) > PAYLOAD_MAX_BYTES:
        return 413, "PayloadTooLarge"
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 400, "PayloadEmpty"
    return None if isinstance(payload, dict) and "aps" in payload else (400, "PayloadEmpty")
