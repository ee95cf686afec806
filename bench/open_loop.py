"""A client that keeps its pace whatever the answers are: requests over HTTP at a fixed rate, from a process of its own.

A request is sent when it is due, on a free connection or a new one. With `CONNECTIONS_MAX` of them waiting for their
answers it is not sent at all, as by a client that gives up. `Retry-After` is not obeyed.
"""

import asyncio
import contextlib
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import NamedTuple, Self, cast

import uvloop

CONNECTIONS_MAX = 1_000
_ANSWERED_WITHIN_S = 30.0
_ITEM = b'"status":%d'
STATUSES = (202, 400, 403, 409, 429, 503)


class Request(NamedTuple):
    """What is sent."""

    kind: str
    body: bytes
    events: int = 1
    """More than one: a batch, whose answer has a status for each."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What is offered, where, how fast and for how long."""

    port: int
    key: str
    path: str
    make: Callable[[int], Request]
    """The n-th request; a function of a module."""
    per_s: float
    """Requests."""
    seconds: float
    nice: int = 0
    """By what this client gives way."""


@dataclass(slots=True)
class Answers:
    """What came of it."""

    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind and status; `unsent`, or `unanswered` where a connection broke or no answer came."""
    times: dict[int, tuple[float, float]] = field(default_factory=dict)
    """When the n-th request was due and when its 202 was read, in ms since 1970; of single events only."""


class Offering:
    """A client that is running."""

    def __init__(self, pace: Pace) -> None:
        context = multiprocessing.get_context("spawn")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(pace, sender))
        self._process.start()
        sender.close()

    def answers(self) -> Answers:
        """Wait for its end."""
        found = cast("Answers", self._receiver.recv())
        self._process.join()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.is_alive():
            self._process.terminate()


def _run(pace: Pace, sender: Connection) -> None:
    os.nice(pace.nice)
    sender.send(uvloop.run(_Client(pace).run()))


class _Client:
    """All connections of a process."""

    def __init__(self, pace: Pace) -> None:
        self._pace, self.found = pace, Answers()
        self._head = (
            f"POST {pace.path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {pace.key}\r\n"
            "content-type: application/json\r\ncontent-length: "
        ).encode()
        self.free: list[_Line] = []
        self.open = self.waiting = 0
        self._offered = False
        self._done = asyncio.Event()

    async def run(self) -> Answers:
        loop, begun = asyncio.get_running_loop(), time.time()
        for number in range(round(self._pace.per_s * self._pace.seconds)):
            due = begun + number / self._pace.per_s
            request = self._pace.make(number)
            if (early := due - time.time()) > 0:
                await asyncio.sleep(early)
            elif not number % 20:
                await asyncio.sleep(0)  # answers are read also by a client that is late
            await self._send(loop, number, due, request)
        self._offered = True
        if self.waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), _ANSWERED_WITHIN_S)
        return self.found

    def answered(self) -> None:
        """One more, or it will never be."""
        self.waiting -= 1
        if self._offered and not self.waiting:
            self._done.set()

    async def _send(self, loop: asyncio.AbstractEventLoop, number: int, due: float, request: Request) -> None:
        if not self.free and self.open >= CONNECTIONS_MAX:
            self.found.events[request.kind, "unsent"] += request.events
            return
        if self.free:
            line = self.free.pop()
        else:
            line = _Line(self)
            try:
                await loop.create_connection(lambda: line, "127.0.0.1", self._pace.port)
            except OSError:
                self.found.events[request.kind, "unsent"] += request.events
                return
        line.send(number, due, request, self._head + b"%d\r\n\r\n" % len(request.body) + request.body)


class _Line(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, client: _Client) -> None:
        self._client, self._buffer = client, b""
        self._sent: tuple[int, float, Request] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only
        self._client.open += 1

    def connection_lost(self, _: Exception | None) -> None:
        self._client.open -= 1
        with contextlib.suppress(ValueError):
            self._client.free.remove(self)
        if self._sent is not None:
            request = self._sent[2]
            self._client.found.events[request.kind, "unanswered"] += request.events
            self._end()

    def send(self, number: int, due: float, request: Request, data: bytes) -> None:
        """The next request."""
        self._buffer, self._sent = b"", (number, due, request)
        self._client.waiting += 1
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        assert self._sent is not None
        number, due, request = self._sent
        status, count = int(head[9:12]), self._client.found.events
        if status == 200 and request.events > 1:
            for each in STATUSES:
                count[request.kind, str(each)] += body.count(_ITEM % each)
        else:
            count[request.kind, str(status)] += request.events
            if status == 202:
                self._client.found.times[number] = due * 1000, time.time() * 1000
        self._end()
        self._client.free.append(self)

    def _end(self) -> None:
        self._sent = None
        self._client.answered()
