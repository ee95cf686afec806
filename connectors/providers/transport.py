"""HTTP as the providers' connectors need it: one request, one bounded answer, one deadline.

The interface is small so that a faster client can replace the present one on the hot path. What matters beyond the
answer is one bit: may the server have processed a request that got none?
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import orjson
import wreq
from wreq import Method
from wreq import exceptions as wreq_errors

from connectors.providers.request import Request
from state.model.errors import CarillonError

ANSWER_MAX_BYTES = 65_536
"""A longer answer is cut off: providers' answers are untrusted."""


_HTTP2_IDLE = timedelta(hours=1)
_PING_EVERY = timedelta(minutes=1)
"""So that a connection that died unseen is found before a message waits on it for its whole deadline."""


class TransportError(CarillonError):
    """No answer. `ambiguous`: the server may have processed the request. `why`: what else is known, for people."""

    def __init__(self, cause: str, *, ambiguous: bool, why: str = "") -> None:
        super().__init__(cause)
        self.cause, self.ambiguous, self.why = cause, ambiguous, why

    @property
    def told(self) -> str:
        """For people, who mend it."""
        return f"{self.cause} ({self.why})" if self.why else self.cause


@dataclass(slots=True)
class Response:
    """One answer; header names are lower case, the body is cut at ANSWER_MAX_BYTES. As cheap as a `Delivery`.

    `WreqTransport` gives only those headers that some connector reads.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def document(self) -> dict[str, object]:
        """The body as a JSON object; empty where it is none."""
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return document if isinstance(document, dict) else {}


class Transport(Protocol):
    """Requests to one origin over shared connections."""

    async def request(self, request: Request, deadline: timedelta) -> Response:
        """Send and wait for the whole answer.

        :raises TransportError: no answer within the deadline, or none at all.
        """
        ...

    async def close(self) -> None:
        """Close all connections; requests in progress fail as ambiguous."""
        ...


class WreqTransport:
    """HTTP over `wreq`: one origin, connections kept open, no redirects, no proxy from the environment."""

    def __init__(self, origin: str, *, http2: bool, connect_timeout: timedelta, ca_file: Path | None = None) -> None:
        self._origin = origin.rstrip("/")
        options: dict[str, Any] = {
            "connect_timeout": connect_timeout,
            "no_proxy": True,
            "runtime": wreq.Runtime(workers=1, thread_name="carillon-http"),
        }
        if http2:
            options["http2_only"] = True
            options["pool_idle_timeout"] = _HTTP2_IDLE  # fast opening and closing looks like an attack to APNs
            options["http2_options"] = wreq.Http2Options(
                keep_alive_interval=_PING_EVERY, keep_alive_timeout=connect_timeout, keep_alive_while_idle=True
            )
        else:
            options["http1_only"] = True
        if ca_file is not None:
            options["tls_verify"] = ca_file
        self._client = wreq.Client(**options)
        self._http2, self._closed = http2, False

    async def request(self, request: Request, deadline: timedelta) -> Response:
        """See `Transport.request`."""
        try:
            return await self._exchange(request, deadline)
        except asyncio.CancelledError:
            if not self._closed:
                raise
            raise TransportError("closed before the answer", ambiguous=True) from None
        except (wreq_errors.ConnectionError, wreq_errors.TlsError, wreq_errors.ProxyConnectionError) as error:
            raise TransportError("no connection", ambiguous=False, why=_why(str(error))) from error
        except wreq_errors.BuilderError as error:
            raise TransportError("request cannot be built", ambiguous=False) from error
        except (wreq_errors.TimeoutError, TimeoutError) as error:
            raise TransportError("no answer within the deadline", ambiguous=True) from error
        except _ANSWER_LOST as error:
            if self._was_unread(request, str(error)):
                raise TransportError("not read by the server", ambiguous=False) from error
            raise TransportError("connection lost before the answer", ambiguous=True) from error

    def _was_unread(self, request: Request, account: str) -> bool:
        """Whether the server cannot have processed it, or not without the body that it never got."""
        dropped = self._http2 and not self._closed and request.body and _DROPPED in account
        return bool(dropped or _UNREAD.search(account))

    async def _exchange(self, request: Request, deadline: timedelta) -> Response:
        answer = await self._client.request(
            _METHODS[request.method],
            self._origin + request.path,
            headers=request.headers,
            body=request.body,
            timeout=deadline,
        )
        status, given = answer.status.as_int(), answer.headers
        names = _READ if status != 200 else _READ_OF_TAKEN
        headers = {name: bytes(value).decode("latin-1") for name in names if (value := given.get(name)) is not None}
        if answer.content_length == 0:
            return Response(status, headers)
        async with answer:
            return Response(status, headers, await _bounded(answer))

    async def close(self) -> None:
        """See `Transport.close`."""
        self._closed = True
        self._client.close()


_READ = ("apns-id", "retry-after", "date", "x-amzn-errortype")
"""To convert a header costs as much as to look for four."""
_READ_OF_TAKEN = ("apns-id", "x-amzn-errortype")
"""Of a status that says that it was taken: SES may name an error all the same."""
_METHODS = {"POST": Method.POST, "GET": Method.GET}
_ANSWER_LOST = (
    wreq_errors.ConnectionResetError,
    wreq_errors.BodyError,
    wreq_errors.RequestError,
    wreq_errors.DecodingError,
    wreq_errors.StatusError,
    wreq_errors.RedirectError,
)
_UNREAD = re.compile(r"kind: (GoAway\(.*, [\w()]+|Reset\(StreamId\(\d+\), REFUSED_STREAM), Remote\)")
"""How the library tells what RFC 9113 (6.8, 8.7) promises: a stream behind the last of a GOAWAY, whatever its code, or
refused, was not processed. Of NO_ERROR it sends such requests again by itself, but not for ever. Of a stream up to the
last it says that the connection broke. No URL has a blank, so none is mistaken for this.
"""
_DROPPED = 'User(DispatchGone), "runtime dropped the dispatch task"'
"""What it says of a request over HTTP/2 that waited for a stream, as the connection had as many as it may have, when
the connection ended. Until it has one nothing of its body is handed on. A client that is closed says the same of any.
"""


_WHYS = {
    "CERTIFICATE_VERIFY_FAILED": "the certificate is not trusted: name the file of its authority as ca_file",
    "ConnectionRefused": "nothing listens there",
    "dns error": "the name is not known",
    'reason: "': "it speaks no TLS, or none that is taken",
    "SYSCALL": "it ended the connection in place of TLS",
    "timed out": "it does not answer",
}
"""By what the library's account of a connection that did not open has in it; the first one counts."""


def _why(account: str) -> str:
    return next((why for sign, why in _WHYS.items() if sign in account), "")


async def _bounded(answer: wreq.Response) -> bytes:
    """The body, without reading more than ANSWER_MAX_BYTES of it."""
    if answer.content_length is not None and answer.content_length <= ANSWER_MAX_BYTES:
        return bytes(await answer.bytes())
    collected = bytearray()
    async for frame in answer.stream():
        if isinstance(frame, memoryview):
            collected += frame
        if len(collected) > ANSWER_MAX_BYTES:
            break
    return bytes(collected[:ANSWER_MAX_BYTES])
