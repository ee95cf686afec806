"""The page of types: what each may do, what a change would have done, and the change itself."""

from __future__ import annotations

from typing import Any

import msgspec

from connectors.console.pages import Visit, answer_page, link, redirect
from connectors.gateway.acts import reason_of
from connectors.gateway.http import ApiResponse
from connectors.gateway.problems import ProblemError
from connectors.gateway.type_answers import TypeTried
from connectors.gateway.types import TypeDesk
from state.model.errors import UNDECODABLE

TYPES = "/console/types"
MEANS = {
    "klass": "how urgent: P0 at once, P1 by each person's settings, P2 in bulk",
    "category": "what a person unsubscribes from",
    "fan_out": "whom it may reach: one person, followers, a segment, everybody",
    "ttl_ms": "milliseconds after which it is sent no more",
    "window_ms": "milliseconds in which several become one; 0: none",
    "policy": "all channels, the first that works, or push first",
    "channels": "ways it may come, in order",
    "to_only": "of these, ways that only an event's own address uses",
    "digest": "whether its mail waits for the daily one",
    "mail_wait_ms": "milliseconds after which it is mailed if still unread; 0: at once",
    "pinned": "whether its class never changes",
    "mandatory": "whether nobody can switch it off",
    "notify_self": "whether a person hears of what he did himself",
    "absolute_ttl": "whether it lives from its time on, not from its acceptance",
    "critical_push": "whether push is for what the sender calls critical",
    "enabled": "whether it is on where a person has chosen nothing",
    "repeat_window_ms": "milliseconds in which the same again is a repeat",
    "owners": "senders that may send it; none: all of its class",
    "names": "what people call it, by language",
    "schema": "JSON Schema of its payload",
}
"""What each key of a table says, for people."""


class TypePages:
    """Handlers."""

    def __init__(self, desk: TypeDesk) -> None:
        self._desk = desk

    async def types(self, visit: Visit) -> ApiResponse:
        """All, or one."""
        name = visit.query.get("name")
        if name is None:
            types = await self._desk.shown()
            return answer_page("types.html", visit, types=types, chosen=None)
        return await self._one(visit, name)

    async def _one(
        self,
        visit: Visit,
        name: str,
        written: str | None = None,
        tried: TypeTried | None = None,
        problem: ProblemError | None = None,
    ) -> ApiResponse:
        chosen = await self._desk.one(name, new=True)
        table = chosen.file or {} if chosen.published is None else chosen.published
        text = msgspec.json.format(msgspec.json.encode(table)).decode() if written is None else written
        return answer_page(
            "types.html", visit, status=200 if problem is None else problem.status, types=(), chosen=chosen, table=text,
            tried=tried, means=MEANS, reason=visit.form.get("reason", ""),
            problem=None if problem is None else problem.document(),
        )  # fmt: skip

    async def act(self, visit: Visit) -> ApiResponse:
        """What a form asks for, on what its page showed; what is wrong is told there, and what was typed stays."""
        name = visit.form.get("name", "").strip()
        try:
            return await self._done(visit, name)
        except ProblemError as problem:
            if problem.status not in (400, 409) or "table" not in visit.form:
                raise
            return await self._one(visit, name, visit.form["table"], problem=problem)

    async def _done(self, visit: Visit, name: str) -> ApiResponse:
        form = visit.form
        match form.get("act"):
            case "try":
                return await self._one(
                    visit, name, form.get("table"), await self._desk.tried(name, _table(form), visit.session.person)
                )
            case "publish" | "take back" as act:
                table = _table(form) if act == "publish" else None
                version = int(form["version"]) if form.get("version", "").isdecimal() else None
                pending = await self._desk.publish(name, table, visit.session.person, reason_of(form), version)
                return redirect(link(TYPES, name=name) if pending is None else "/console/approvals")
        raise ProblemError(400, "The form does not say what to do.")


def _table(form: Any) -> dict[str, Any]:
    """:raises ProblemError: 400."""
    try:
        return msgspec.json.decode(form.get("table", ""), type=dict[str, Any])
    except UNDECODABLE as error:
        raise ProblemError(400, f"What it may do must be a JSON object: {error}") from error
