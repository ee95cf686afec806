"""A user's inbox: pages, unread count, and reading, which counts from the moment it was answered.

A read goes to the topic `reads` and becomes true in the store a moment later. Until then an overlay holds it: every
gateway follows `reads` and shows rows up to the latest read as read, whatever the store says.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from connectors.gateway import answers
from connectors.gateway.answers import InboxItem, ReadStored
from connectors.gateway.cursor import Cursors
from connectors.gateway.decoding import decode_json
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import invalid, retry_later
from connectors.gateway.records import read_record
from connectors.gateway.writer import SettingWriter
from connectors.inbox.interface import InboxReader, RowPage
from connectors.log.interface import Record
from state.inbox.values import InboxRow
from state.model.admission import AdmissionRules, FieldError
from state.model.content import InAppContent, link_of
from state.model.documents import ReadUpTo
from state.model.errors import StateError, StoreUnavailableError

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
_USERS_MAX = 200_000
_COUNT_MAX = 10_000
"""Rows a user may have (RULES 3.G): the bound of a count under the overlay."""


class _ReadRecord(msgspec.Struct, frozen=True):
    user: str
    up_to: int | None = None


RowText = Callable[[InboxRow], InAppContent]
"""What a row says."""
_read_decoder = msgspec.json.Decoder(_ReadRecord)


class ReadableInbox(NamedTuple):
    """What the calls need besides the gateway's own."""

    reader: InboxReader
    row_text: RowText


class ReadOverlay:
    """User to the latest time read up to, for reads that the store may not hold yet. Any thread."""

    def __init__(self) -> None:
        """Begin empty; the users longest unheard of go when there are too many."""
        self._reads: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, user: str, up_to: int) -> None:
        """A read that was acknowledged."""
        with self._lock:
            self._reads[user] = max(up_to, self._reads.pop(user, up_to))
            if len(self._reads) > _USERS_MAX:
                self._reads.popitem(last=False)

    def on_record(self, record: Record) -> None:
        """A record of `reads`; without a time it is everything up to its own.

        :raises msgspec.MsgspecError: it does not decode.
        """
        read = _read_decoder.decode(record.value)
        self.add(read.user, record.timestamp_ms if read.up_to is None else read.up_to)

    def beyond(self, user: str, applied: int | None) -> int | None:
        """What the user read up to, if the store does not hold it yet; forgotten once it does."""
        with self._lock:
            up_to = self._reads.get(user)
            if up_to is not None and applied is not None and applied >= up_to:
                del self._reads[user]
                return None
            return up_to


class Inbox:
    """`GET /v1/notifications/inbox` and `POST .../inbox/read` of the session's user."""

    def __init__(
        self,
        rules: AdmissionRules,
        writer: SettingWriter,
        reader: InboxReader,
        overlay: ReadOverlay,
        cursors: Cursors,
        *,
        row_text: RowText,
        clock: Callable[[], int],
    ) -> None:
        """Pages come from `reader`; `clock` in milliseconds since 1970 says up to when "all" was read."""
        self._rules, self._writer, self._reader, self._overlay = rules, writer, reader, overlay
        self._cursors, self._row_text, self._clock = cursors, row_text, clock

    async def get(self, request: ApiRequest) -> ApiResponse:
        """A page, newest first, with the unread count of the whole inbox."""
        return json_response(200, await self.page(request))

    async def page(self, request: ApiRequest) -> answers.InboxPage:
        """The page that the query asks for.

        :raises ProblemError: 400: there is no such page; 503: the store cannot be read.
        """
        user = request.caller().name
        query = request.query(("limit", "cursor"))
        before = self._cursors.decode(user, query["cursor"]) if "cursor" in query else None
        limit = _limit(query.get("limit"))
        try:
            page = await asyncio.to_thread(self._reader.page, user, limit, before)
            read_up_to = self._overlay.beyond(user, page.read_up_to)
            unread = page.unread if read_up_to is None else await asyncio.to_thread(self._unread, user, read_up_to)
        except (StateError, StoreUnavailableError) as error:
            raise retry_later(503, "the inbox cannot be read just now", 1000) from error
        return self._page(user, page, unread, read_up_to)

    def _page(self, user: str, page: RowPage, unread: int, read_up_to: int | None) -> answers.InboxPage:
        return answers.InboxPage(
            items=[self._item(row, read_up_to) for row in page.rows],
            unread=unread,
            up_to=max((row.at for row in page.rows), default=None),
            cursor=None if page.next is None else self._cursors.encode(user, page.next),
        )

    def _item(self, row: InboxRow, read_up_to: int | None) -> InboxItem:
        text = self._row_text(row)
        return InboxItem(
            type=row.type,
            object=row.object,
            first_event_id=row.first_event_id,
            count=row.count,
            actors=row.actors,
            at=row.at,
            read=row.read or (read_up_to is not None and row.at <= read_up_to),
            title=text.title,
            body=text.body,
            url=_url(row.payload),
            payload=None if row.payload is None else msgspec.Raw(row.payload),
        )

    def _unread(self, user: str, read_up_to: int) -> int:
        """Unread rows newer than the read: the newest ones, so few pages."""
        count, seen, before = 0, 0, None
        while seen < _COUNT_MAX:
            page = self._reader.page(user, LIMIT_MAX, before)
            newer = [row for row in page.rows if row.at > read_up_to]
            count += sum(not row.read for row in newer)
            seen += len(page.rows)
            before = page.next
            if before is None or len(newer) < len(page.rows):
                break
        return count

    async def read(self, request: ApiRequest) -> ApiResponse:
        """Everything up to the shown position is read, or (without one) everything; acknowledged once it is logged."""
        user = request.caller().name
        raw = await request.body()
        body = decode_json(raw) if raw.strip() else {}
        errors = self._rules.document_errors(body, ReadUpTo)
        if errors:
            raise invalid(errors)
        now_ms = self._clock()
        up_to = None if body.get("up_to") is None else min(body["up_to"], now_ms)  # what comes later is not read
        await self._writer.append([read_record(user, up_to, self._writer.partitions)])
        self._overlay.add(user, now_ms if up_to is None else up_to)
        return json_response(200, ReadStored(up_to))


def _url(payload: bytes | None) -> str | None:
    """A web address in the payload; nothing else may become a link in a page."""
    if payload is None or b'"url"' not in payload:
        return None
    return link_of(msgspec.json.decode(payload))


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    if text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= LIMIT_MAX and len(text) <= 3:
        return int(text)
    raise invalid([FieldError("limit", "is out of range", f"send 1 to {LIMIT_MAX}")], "no such page")
