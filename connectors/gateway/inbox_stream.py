"""`GET /v1/notifications/inbox/stream`: the user's newest page as Server-Sent Events, whenever it changes.

Every event is the whole page as GET gives it, so what a client has is right after the latest event, whatever it missed
before. The event's id is a hash of the page: who comes back with `Last-Event-ID` hears nothing until something differs.
While nothing happens a stream costs a comment every 15 s, with which a page that changed unnoticed is found as well.

Who is concerned is read from topic `inbox`, from the first stream on. The store applies the same record a little later,
so the page is looked at a few times after it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import structlog
import xxhash

from connectors.gateway.answers import InboxPage
from connectors.gateway.http import ApiRequest, StreamResponse
from connectors.gateway.problems import retry_later
from connectors.log.interface import Log, Reader, Record
from connectors.metrics import GATEWAY_STREAMS
from state.model.envelope import schema_of
from state.model.errors import LogError, MalformedRecordError
from state.model.inbox import AddedSlice, decode_at_once
from state.model.topics import INBOX

HEARTBEAT = timedelta(seconds=15)
LIFE = timedelta(minutes=10)
"""Then a stream ends, and the client comes back with the token that it has by then."""
PER_USER_MAX = 8
_LOOKS_S = (0.03, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""When the page is looked at after a record, until it differs: the store has applied it by then."""
_WAIT = timedelta(milliseconds=500)
_BATCH_MAX = 1_000
_RETRY_MS = 3_000
_encode = msgspec.json.Encoder().encode
_logger = structlog.get_logger(__name__)

LoadPage = Callable[[ApiRequest], Awaitable[InboxPage]]


@dataclass(eq=False)
class _OpenPage:
    """One connection; `changed` is set when its user's rows may have."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)


class InboxStreams:
    """All streams of a process. Used by one event loop, but for the thread that follows the topic."""

    def __init__(self, log: Log, load_page: LoadPage, *, streams_max: int) -> None:
        """`load_page` is what GET answers; beyond `streams_max` the process answers 503."""
        self._log, self._load_page, self._streams_max = log, load_page, streams_max
        self._streams: dict[str, set[_OpenPage]] = {}
        self._number = 0
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        GATEWAY_STREAMS.set_function(lambda: self._number)

    async def open(self, request: ApiRequest) -> StreamResponse:
        """A stream for the session's user.

        :raises ProblemError: 400 for a limit that is none; 429: the user has as many as he may; 503: the process has.
        """
        user = request.caller().name
        request.query(("limit",))  # a ticket was taken out of it
        page = await self._load_page(request)
        if len(self._streams.get(user, ())) >= PER_USER_MAX:
            raise retry_later(429, f"a user has at most {PER_USER_MAX} streams at a time", _RETRY_MS)
        if self._number >= self._streams_max or self._ending.is_set():
            raise retry_later(503, "no further stream here just now", _RETRY_MS)
        self._follow()
        return StreamResponse(lambda: self._events(user, request, page), ended=self._ending)

    def end(self) -> None:
        """End all streams, from any thread: the process stops, and clients come back elsewhere."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ending.set)

    def close(self) -> None:
        """End the thread; blocks."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    async def _events(self, user: str, request: ApiRequest, page: InboxPage) -> AsyncGenerator[bytes]:
        stream = _OpenPage()
        self._streams.setdefault(user, set()).add(stream)
        self._number += 1
        try:
            known = request.header(b"last-event-id") or ""
            yield b"retry: %d\n\n" % _RETRY_MS
            async with asyncio.timeout(LIFE.total_seconds()):
                while True:
                    if (name := _name(page)) != known:
                        known = name
                        yield b"id: %s\nevent: inbox\ndata: %s\n\n" % (name.encode(), _encode(page))
                    changed = await _wait(stream.changed)
                    page = await self._look(request, stream, known) if changed else await self._load_page(request)
                    if not changed:
                        yield b":\n\n"
        except TimeoutError:
            return
        finally:
            self._number -= 1
            self._streams[user].discard(stream)
            if not self._streams[user]:
                del self._streams[user]

    async def _look(self, request: ApiRequest, stream: _OpenPage, known: str) -> InboxPage:
        """The page as soon as it differs, or as it is when it no longer will."""
        stream.changed.clear()
        page = None
        for pause_s in _LOOKS_S:
            await asyncio.sleep(pause_s)
            page = await self._load_page(request)
            if _name(page) != known:
                return page
        assert page is not None
        return page

    def _follow(self) -> None:
        """Begin to read the topic, from its end: what was before is in the page already, or found by a heartbeat."""
        if self._thread is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="inbox-streams", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        reader: Reader | None = None
        while not self._stop.is_set():
            try:
                reader = reader or self._reader()
                for record in reader.poll(_BATCH_MAX, _WAIT):
                    self._tell(record)
            except LogError as error:
                _logger.warning("inbox_stream_reader_failed", error=type(error).__name__)
                if reader is not None:
                    reader.close()
                reader = None
                self._stop.wait(1)
        if reader is not None:
            reader.close()

    def _reader(self) -> Reader:
        places = [(INBOX, number) for number in range(self._log.partitions(INBOX))]
        return self._log.reader(self._log.end_offsets(places))

    def _tell(self, record: Record) -> None:
        watched = [*self._streams]
        if not watched:
            return
        try:
            concerned = [*_concerned(record, watched)]
        except MalformedRecordError:
            return  # its own reader sets it aside
        if concerned and self._loop is not None:
            self._loop.call_soon_threadsafe(self._mark, concerned)

    def _mark(self, users: Iterable[str]) -> None:
        for user in users:
            for stream in self._streams.get(user, ()):
                stream.changed.set()


def _concerned(record: Record, watched: Collection[str]) -> Iterable[str]:
    """Whose rows it changes, of those watched; the key of a single operation is its user."""
    schema = schema_of(record.headers)
    if schema.endswith("+json"):
        return {record.key.decode("utf-8", "replace")} & set(watched)
    found = decode_at_once(schema, record.value)
    if isinstance(found, AddedSlice):
        return [user for user in watched if b"\0%s\0" % user.encode() in found.names]
    return {operation.user for operation in found} & set(watched)


async def _wait(changed: asyncio.Event) -> bool:
    """Whether it was set before the next heartbeat."""
    try:
        async with asyncio.timeout(HEARTBEAT.total_seconds()):
            await changed.wait()
    except TimeoutError:
        return False
    return True


def _name(page: InboxPage) -> str:
    return xxhash.xxh3_128_hexdigest(_encode((page.items, page.unread, page.up_to)))
