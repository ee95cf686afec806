"""`/v1/explain` and `/v1/support`: why somebody got something or did not. Each look needs a reason and is noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import msgspec

from connectors.audit import ActQuery, NotedAct
from connectors.gateway import answers
from connectors.gateway.acts import Acts, reason_of
from connectors.gateway.backstage import Backstage, LedgerSearch, Questions, Shown
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import ProblemError, invalid
from state.model.admission import FieldError

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500


class Support:
    """Handlers."""

    def __init__(self, questions: Questions, acts: Acts) -> None:
        self._questions, self._acts = questions, acts

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
        limit, place = whole_number(given, "limit", PAGE_DEFAULT, PAGE_MAX), PageStart.of(given.get("cursor"))
        await self._acts.note(self._acts.record(request.caller(), "history", {"user": user}, reason=reason_of(given)))
        wanted = LedgerSearch(user=user)
        found, behind = await self._questions.ask(lambda backstage: page_of(backstage, wanted, place, limit))
        return json_response(200, answers.History(user, list(found), behind))

    async def audit(self, request: ApiRequest) -> ApiResponse:
        """Who did what, the newest first."""
        given = request.query(("limit", "cursor", "by", "user"))
        limit = whole_number(given, "limit", PAGE_DEFAULT, PAGE_MAX)
        before = whole_number(given, "cursor", 0, 2**53) if "cursor" in given else None
        wanted = ActQuery(given.get("by"), given.get("user"), before)
        acts = await self._questions.ask(lambda backstage: backstage.acts(wanted, limit))
        cursor = str(acts[-1].offset) if len(acts) == limit and acts[-1].offset else None
        return json_response(200, answers.AuditPage([_told(noted) for noted in acts], cursor))


def _told(noted: NotedAct) -> answers.AuditedAct:
    told = msgspec.convert(noted.record, answers.AuditedAct, from_attributes=True)
    return msgspec.structs.replace(told, approval=str(noted.offset)) if told.step == "proposed" else told


class PageStart(NamedTuple):
    """Where a page of records begins: below a time, of which so many were shown already."""

    to_ms: int | None = None
    shown: int = 0

    @classmethod
    def of(cls, cursor: str | None) -> PageStart:
        """:raises ProblemError: 400: no page ended there."""
        if cursor is None:
            return cls()
        time, _, shown = cursor.partition("-")
        if not all(part.isascii() and part.isdigit() and len(part) < 16 for part in (time, shown)):
            raise invalid([FieldError("cursor", "was not given by this call", "begin without a cursor")])
        return cls(int(time), int(shown))


def page_of(
    backstage: Backstage, wanted: LedgerSearch, place: PageStart, limit: int
) -> tuple[Sequence[Shown], str | None]:
    """Records from a place on, and the cursor of those behind them."""
    given = backstage.records(replace(wanted, to_ms=place.to_ms), limit + place.shown)
    found = given[place.shown :]
    if len(found) < limit:
        return found, None
    last = time_of(found[-1])
    return found, f"{last + 1}-{sum(time_of(record) == last for record in given)}"


def time_of(record: Shown) -> int:
    """When a record of the ledger was written."""
    at = record.get("decided_at") or record.get("at")
    return at if isinstance(at, int) else 0


def _needed(given: dict[str, str], name: str) -> str:
    if not given.get(name):
        raise invalid([FieldError(name, "is missing", f"name the {name}")])
    return given[name]


def whole_number(given: dict[str, str], name: str, default: int, most: int) -> int:
    """A number of a query.

    :raises ProblemError: 400.
    """
    text = given.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 16 or not 0 < int(text) <= most:
        raise invalid([FieldError(name, "is no number that is allowed here", f"1 to {most}")])
    return int(text)
