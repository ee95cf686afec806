"""Requests and answers between the server (ASGI) and the handlers: bounded reading, one way to answer.

Why no framework: plain ASGI on uvicorn is about as fast as granian's own protocol (300-byte posts on one core, appended
in groups before the answer: 15 600 and 24 900 against 18 100 and 25 000 a second), runs inside our process and stops as
we say. Starlette would cost a third, and its router could not also be the list of policies that
`connectors.gateway.routes` is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import msgspec

from connectors.gateway.auth import Principal
from connectors.gateway.decoding import decode_json
from connectors.gateway.problems import MEDIA_TYPE, QUERY_INVALID, ProblemError, invalid
from state.model.admission import FieldError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_encoder = msgspec.json.Encoder()
BODY_BYTES_MAX = 256 * 1024
"""The largest body (RULES 1); beyond it 413."""
_PART_DEADLINE_S = 10
"""Who takes longer to read what he was sent is cut off; he comes back to what is true then."""
_SAFETY = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class ApiResponse(NamedTuple):
    """What a handler gives back."""

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = ()
    media_type: str = "application/json"


class StreamResponse(NamedTuple):
    """An answer whose end is not known: parts of an event stream as they come."""

    parts: Callable[[], AsyncGenerator[bytes]]
    ended: asyncio.Event
    """Set when the process stops."""
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()


def json_response(status: int, value: Any, headers: Sequence[tuple[str, str]] = ()) -> ApiResponse:
    """An answer with a JSON body."""
    return ApiResponse(status, _encoder.encode(value), headers)


def problem_response(problem: ProblemError) -> ApiResponse:
    """The problem document."""
    return ApiResponse(problem.status, _encoder.encode(problem.document()), problem.headers, MEDIA_TYPE)


class ApiRequest:
    """One request. Path parameters are decoded; the body is read when it is asked for, and no further than allowed."""

    __slots__ = ("_deadline", "_receive", "_scope", "media_type", "parameters", "principal")

    def __init__(self, scope: Message, receive: Receive, *, body_deadline: timedelta) -> None:
        self._scope, self._receive, self._deadline = scope, receive, body_deadline
        self.parameters: dict[str, str] = {}
        self.principal: Principal | None = None
        self.media_type = ""
        """Of the body, one of those that the call takes."""

    def caller(self) -> Principal:
        """Who asks; routes without credentials have no caller."""
        if self.principal is None:
            raise ProblemError(401, "credentials are needed")
        return self.principal

    def header(self, name: bytes) -> str | None:
        """The first header of this name (lower case), as text; None if there is none or it is not ASCII."""
        for key, value in self._scope["headers"]:
            if key == name:
                text: str | None = value.decode("ascii", "replace")
                return text
        return None

    def client(self) -> str:
        """The address of who is connected: a proxy's where there is one."""
        client = self._scope.get("client")
        return client[0] if client else ""

    def take_query(self, name: str) -> str | None:
        """A query parameter that nothing after this sees any more; None if it is not there.

        :raises ProblemError: 400: it is there several times.
        """
        pairs = self.pairs()
        found = [value for key, value in pairs if key == name]
        if len(found) > 1:
            raise invalid([FieldError("query", "has repeated parameters", f"send {name} once")], QUERY_INVALID)
        self._scope["query_string"] = urlencode([pair for pair in pairs if pair[0] != name]).encode()
        return found[0] if found else None

    @property
    def path(self) -> str:
        """Of the address, decoded."""
        path: str = self._scope["path"]
        return path

    def pairs(self) -> list[tuple[str, str]]:
        """The query parameters as they are.

        :raises ProblemError: 400: there are too many.
        """
        try:
            text = self._scope["query_string"].decode("latin-1")
            return parse_qsl(text, keep_blank_values=True, max_num_fields=20)
        except ValueError as error:
            raise invalid([FieldError("query", "has more than 20 parameters", "send fewer")], QUERY_INVALID) from error

    def query_string(self) -> str:
        """The query as it came."""
        raw: bytes = self._scope["query_string"]
        return raw.decode("latin-1")

    def query(self, allowed: Sequence[str]) -> dict[str, str]:
        """The query parameters; unknown and repeated ones are refused.

        :raises ProblemError: 400.
        """
        pairs = self.pairs()
        found = dict(pairs)
        if len(found) != len(pairs) or not found.keys() <= set(allowed):
            names = " and ".join(allowed) or "none"
            raise invalid(
                [FieldError("query", "has unknown or repeated parameters", f"allowed: {names}")], QUERY_INVALID
            )
        return found

    async def _parts(self) -> list[bytes]:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body = message.get("body", b"")
            if len(body) > BODY_BYTES_MAX:
                raise too_large(BODY_BYTES_MAX)
            return [body]
        return await self._rest(message)

    async def _rest(self, message: Message) -> list[bytes]:
        parts: list[bytes] = []
        total = 0
        try:
            async with asyncio.timeout(self._deadline.total_seconds()):
                while message["type"] == "http.request":
                    parts.append(message.get("body", b""))
                    total += len(parts[-1])
                    if total > BODY_BYTES_MAX:
                        raise too_large(BODY_BYTES_MAX)
                    if not message.get("more_body"):
                        return parts
                    message = await self._receive()
        except TimeoutError as error:
            raise ProblemError(408, "the body did not arrive in time") from error
        raise ProblemError(400, "the connection ended before the body did")

    async def stream(self, take: Callable[[bytes], Awaitable[None]], bytes_max: int) -> None:
        """Hand the body to `take` part by part, without holding it.

        :raises ProblemError: 408, 413 as `body`; 400 if the connection ends before the body does.
        """
        self.refuse_encoded()
        total, more = 0, True
        while more:
            try:
                message = await asyncio.wait_for(self._receive(), self._deadline.total_seconds())
            except TimeoutError as error:
                raise ProblemError(408, "the body did not arrive in time") from error
            if message["type"] != "http.request":
                raise ProblemError(400, "the connection ended before the body did")
            part, more = message.get("body", b""), bool(message.get("more_body"))
            total += len(part)
            if total > bytes_max:
                raise too_large(bytes_max)
            await take(part)

    async def body(self) -> bytes:
        """The whole body.

        :raises ProblemError: 413 if it is too large, 408 if it does not arrive in time, 415 if it is compressed.
        """
        self.refuse_encoded()
        length = self.header(b"content-length")
        if length is not None and length.isdigit() and int(length) > BODY_BYTES_MAX:
            raise too_large(BODY_BYTES_MAX)
        parts = await self._parts()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def refuse_encoded(self) -> None:
        """Compressed bodies are not taken: what they unpack to has no bound.

        :raises ProblemError: 415.
        """
        if self.header(b"content-encoding") not in (None, "identity"):
            raise ProblemError(415, "send the body without content-encoding")

    async def json(self) -> Any:
        """The body as JSON.

        :raises ProblemError: as `body`; 400 if it is no JSON.
        """
        return decode_json(await self.body())


def too_large(bytes_max: int) -> ProblemError:
    """413."""
    return ProblemError(413, f"the body is larger than {bytes_max} bytes", headers=(("connection", "close"),))


async def send_response(send: Send, answer: ApiResponse, *, head_only: bool = False) -> None:
    """Send it, with the headers that every answer bears."""
    own = _own(answer)
    named = {name for name, _ in own}
    headers = [*(header for header in _SAFETY if header[0] not in named), *own] if own else list(_SAFETY)
    if answer.status not in (204, 304):  # these have no body
        headers.append((b"content-type", answer.media_type.encode()))
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head_only else answer.body})


def _own(answer: ApiResponse | StreamResponse) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in answer.headers]


async def send_stream(send: Send, receive: Receive, answer: StreamResponse) -> None:
    """Send parts until they end, the client is gone or reads too slowly, or the process stops."""
    headers = [*_SAFETY, (b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"), *_own(answer)]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    ends = [asyncio.ensure_future(_gone(receive)), asyncio.ensure_future(answer.ended.wait())]
    sending = asyncio.ensure_future(_send_parts(send, answer))
    try:
        await asyncio.wait([sending, *ends], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, *ends):
            task.cancel()
        await asyncio.gather(sending, *ends, return_exceptions=True)
    await send({"type": "http.response.body", "body": b""})


async def _send_parts(send: Send, answer: StreamResponse) -> None:
    async with aclosing(answer.parts()) as parts:
        async for part in parts:
            async with asyncio.timeout(_PART_DEADLINE_S):
                await send({"type": "http.response.body", "body": part, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
