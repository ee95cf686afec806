"""A user's inbox: pages, unread count, and reading, which counts from the moment it was answered.

A read goes to the topic `reads` and becomes true in the store a moment later. Until then an overlay holds it: every
gateway follows `reads` and shows rows up to the latest read as read, whatever the store says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from connectors.gateway import answers
from connectors.gateway.answers import InboxItem, ReadStored, RowsMarked
from connectors.gateway.bodies import sent_document
from connectors.gateway.cursor import Cursors
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import invalid, retry_later
from connectors.gateway.read_overlay import ReadOverlay
from connectors.gateway.records import read_record
from connectors.gateway.writer import SettingWriter
from connectors.inbox.interface import InboxReader, LoggedRead, RowPage
from state.inbox.values import InboxRow
from state.model.admission import AdmissionRules, FieldError
from state.model.content import InAppContent, link_of
from state.model.documents import ArchivedRows, MarkedRows, ReadUpTo
from state.model.errors import StateError, StoreUnavailableError
from state.model.row_status import NamedRow, RowStatus
from state.model.settings import ReadRecord

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
T = TypeVar("T")


RowText = Callable[[InboxRow, str], InAppContent]
"""What a row of a user says."""


class ReadableInbox(NamedTuple):
    """What the calls need besides the gateway's own."""

    reader: InboxReader
    row_text: RowText


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
        query = request.query(("limit", "cursor", "archived"))
        before = self._cursors.decode(user, query["cursor"]) if "cursor" in query else None
        limit, archived = _limit(query.get("limit")), _flag("archived", query.get("archived"))
        said = self._overlay.of(user)
        page = await self._read_store(lambda: self._reader.page(user, limit, before, archived=archived, said=said))
        self._overlay.forget(user, page)
        return self._page(user, page)

    async def _read_store(self, ask: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(ask)
        except (StateError, StoreUnavailableError) as error:
            raise retry_later(503, "the inbox cannot be read just now", 1000) from error

    def _page(self, user: str, page: RowPage) -> answers.InboxPage:
        return answers.InboxPage(
            items=[self._item(row, user) for row in page.rows],
            unread=page.unread,
            up_to=max((row.at for row in page.rows), default=None),
            cursor=None if page.next is None else self._cursors.encode(user, page.next),
        )

    def _item(self, row: InboxRow, user: str) -> InboxItem:
        text = self._row_text(row, user)
        return InboxItem(
            type=row.type,
            object=row.object,
            first_event_id=row.first_event_id,
            count=row.count,
            actors=row.actors,
            at=row.at,
            read=row.read,
            archived=row.archived,
            title=text.title,
            body=text.body,
            url=_url(row.payload),
            payload=None if row.payload is None else msgspec.Raw(row.payload),
        )

    async def read(self, request: ApiRequest) -> ApiResponse:
        """Everything up to the shown position is read, or everything, or some rows; acknowledged once it is logged."""
        user, body = request.caller().name, await sent_document(request, self._rules, ReadUpTo, optional=True)
        up_to = None if body.get("up_to") is None else min(body["up_to"], self._clock())  # what comes later is not read
        if body.get("ids") is None:
            await self._say(ReadRecord(user, up_to))
            return json_response(200, ReadStored(up_to))
        return json_response(200, ReadStored(up_to, await self._set_status(user, "read", body["ids"], up_to)))

    async def unread(self, request: ApiRequest) -> ApiResponse:
        """Some rows are unread again."""
        user, body = request.caller().name, await sent_document(request, self._rules, MarkedRows, optional=True)
        return json_response(200, RowsMarked(await self._set_status(user, "unread", body["ids"])))

    async def archive(self, request: ApiRequest) -> ApiResponse:
        """Some rows are put away, or all that are read."""
        user, body = request.caller().name, await sent_document(request, self._rules, ArchivedRows, optional=True)
        if body.get("ids") is not None:
            return json_response(
                200, RowsMarked(await self._set_status(user, "archived", body["ids"], body.get("up_to")))
            )
        until = min(body["up_to"], self._clock()) if body.get("up_to") is not None else self._clock()
        await self._say(ReadRecord(user, 0, status="archived", until=until))
        return json_response(200, RowsMarked(None))

    async def _set_status(self, user: str, status: RowStatus, ids: list[str], up_to: int | None = None) -> list[str]:
        """Of these rows those that there are, as the user saw them. Gives their ids."""
        found = await self._read_store(lambda: self._reader.named(user, frozenset(ids)))
        rows = tuple(
            NamedRow(row.type, row.first_event_id, row.at, row.object)
            for row in found
            if up_to is None or row.at <= up_to
        )
        if rows:
            await self._say(ReadRecord(user, 0, status=status, rows=rows))
        return [row.event_id for row in rows]

    async def _say(self, record: ReadRecord) -> None:
        """Acknowledged by the log, and honoured by every page from then on."""
        now_ms = self._clock()
        (offset,) = await self._writer.append([read_record(record, self._writer.partitions)])
        self._overlay.add(LoggedRead(offset, now_ms, record))


def _flag(name: str, text: str | None) -> bool:
    if text not in (None, "true", "false"):
        raise invalid([FieldError(name, "is neither true nor false", "send true or false")], "no such page")
    return text == "true"


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
