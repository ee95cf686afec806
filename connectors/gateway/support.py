"""`/v1/explain` and `/v1/support`: why somebody got something or did not. Each look needs a reason and is noted."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from connectors.audit import ActQuery, NotedAct
from connectors.gateway import answers
from connectors.gateway.acts import Acts, reason_of
from connectors.gateway.backstage import LedgerSearch, Questions
from connectors.gateway.devices import Devices
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import QUERY_INVALID, ProblemError, invalid
from connectors.paging import ListCursor, cursor_of, cursor_text
from state.model.admission import FieldError

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500
PAGE_QUERY: Final[dict[str, Any]] = {
    "limit": Annotated[int, Meta(ge=1, le=PAGE_MAX, description=f"Absent: {PAGE_DEFAULT}.")],
    "cursor": Annotated[str, Meta(description="Of the page before.")],
}


class Support:
    """Handlers."""

    def __init__(self, questions: Questions, acts: Acts, devices: Devices) -> None:
        self._questions, self._acts, self._devices = questions, acts, devices

    async def explain(self, request: ApiRequest) -> ApiResponse:
        """Every record of an event for a user, each in words."""
        given = request.query(("event", "user", "reason"))
        event, user = _needed(given, "event"), _needed(given, "user")
        about = {"event": event, "user": user}
        await self._acts.note(self._acts.record(request.caller(), "explain", about, reason=reason_of(given)))
        records = await self._questions.ask(lambda backstage: backstage.explain(event, user))
        if not records:
            raise ProblemError(404, "nothing is known of this event for this user: he was none of its recipients")
        return json_response(200, answers.Explanation(event, user, list(records)))

    async def history(self, request: ApiRequest) -> ApiResponse:
        """What was decided for a user and what was delivered to him, the newest first."""
        user, given = request.parameters["user"], request.query(("reason", "limit", "cursor"))
        limit, start = page_limit(given), page_start(given.get("cursor"), 2)
        await self._acts.note(self._acts.record(request.caller(), "history", {"user": user}, reason=reason_of(given)))
        wanted = LedgerSearch(user=user)
        page = await self._questions.ask(lambda backstage: backstage.records(wanted, limit, start))
        return json_response(200, answers.History(user, list(page.found), cursor_text(page.onward)))

    async def user(self, request: ApiRequest) -> ApiResponse:
        """Where he is reached, and which segments he is in."""
        user, reason = request.parameters["user"], reason_of(request.query(("reason",)))
        await self._acts.note(self._acts.record(request.caller(), "history", {"user": user}, reason=reason))
        segments = await self._questions.ask(lambda backstage: backstage.segments(user))
        reached = await self._devices.listed(user)
        return json_response(
            200, answers.KnownUser(endpoints=reached.endpoints, retired=reached.retired, segments=list(segments))
        )

    async def audit(self, request: ApiRequest) -> ApiResponse:
        """Who did what, the newest first."""
        given = request.query(("limit", "cursor", "by", "user"))
        limit = page_limit(given)
        start = page_start(given.get("cursor"), 1)
        wanted = ActQuery(given.get("by"), given.get("user"), next(iter(start), None))
        page = await self._questions.ask(lambda backstage: backstage.acts(wanted, limit))
        acts = [_told(noted) for noted in page.found]
        return json_response(200, answers.AuditPage(acts, cursor_text(page.onward)))


def _told(noted: NotedAct) -> answers.AuditedAct:
    told = msgspec.convert(noted.record, answers.AuditedAct, from_attributes=True)
    return msgspec.structs.replace(told, approval=str(noted.offset)) if told.step == "proposed" else told


def page_start(cursor: str | None, numbers: int) -> ListCursor:
    """Where a page begins, by its cursor of so many numbers.

    :raises ProblemError: 400: no page ended there.
    """
    start = cursor_of(cursor)
    if start is None or len(start) not in (0, numbers):
        raise invalid([FieldError("cursor", "was not given by this call", "begin without a cursor")], QUERY_INVALID)
    return start


def _needed(given: dict[str, str], name: str) -> str:
    if not given.get(name):
        raise invalid([FieldError(name, "is missing", f"name the {name}")], QUERY_INVALID)
    return given[name]


def page_limit(given: dict[str, str]) -> int:
    """How many a page may have, by the query.

    :raises ProblemError: 400.
    """
    text = given.get("limit", str(PAGE_DEFAULT))
    if not text.isascii() or not text.isdigit() or len(text) > 16 or not 0 < int(text) <= PAGE_MAX:
        raise invalid([FieldError("limit", "is out of range", f"send 1 to {PAGE_MAX}")], QUERY_INVALID)
    return int(text)
