"""The page of types: what each may do, what a change would have done, and the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from connectors.console import type_form as fields
from connectors.console.pages import Visit, answer_page, link, redirect
from connectors.gateway.acts import reason_of
from connectors.gateway.http import ApiResponse
from connectors.gateway.problems import ProblemError
from connectors.gateway.type_answers import TypeShown, TypeTried
from connectors.gateway.types import TypeDesk
from state.model.admission import FieldError
from state.model.errors import UNDECODABLE

TYPES = "/console/types"
_AS_JSON = " JSON"
"""Behind what a button of the form does, where it is to be done with the table as JSON."""
MEANS = {
    "klass": "how urgent: P0 at once, P1 by each person's settings, P2 in bulk",
    "category": "what a person unsubscribes from",
    "fan_out": "whom it may reach: one person, followers, a segment, everybody",
    "ttl_ms": "how long until it is sent no more",
    "window_ms": "how long several become one; 0: not at all",
    "policy": "all channels, the first that works, or push first",
    "channels": "ways it may come, in order",
    "to_only": "of these, ways that only an event's own address uses",
    "digest": "whether its mail waits for the daily one",
    "mail_wait_ms": "after how long it is mailed if still unread; 0: at once",
    "pinned": "whether its class never changes",
    "mandatory": "whether nobody can switch it off",
    "notify_self": "whether a person hears of what he did himself",
    "absolute_ttl": "whether it lives from its time on, not from its acceptance",
    "critical_push": "whether push is for what the sender calls critical",
    "enabled": "whether it is on where a person has chosen nothing",
    "repeat_window_ms": "how long the same again is a repeat",
    "owners": "senders that may send it; none: all of its class",
    "names": "what people call it, by language, such as pt: Curtidas",
    "schema": "JSON Schema of its payload; empty: any payload",
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
        tried: TypeTried | None = None,
        problem: ProblemError | None = None,
    ) -> ApiResponse:
        chosen, form = await self._desk.one(name, new=True), visit.form
        text = msgspec.json.format(msgspec.json.encode(_before(chosen))).decode()
        errors = dict[str, list[FieldError]]()
        for error in () if problem is None else problem.errors:
            errors.setdefault(error.path.removeprefix("table.").partition(".")[0], []).append(error)
        return answer_page(
            "types.html", visit, status=200 if problem is None else problem.status, types=(), chosen=chosen,
            table=form.get("table", text), given=form if "table" in form else fields.form_of_type(chosen.profile),
            as_json=form.get("act", "").endswith(_AS_JSON), tried=tried, means=MEANS, fields=fields, errors=errors,
            reason=form.get("reason", ""), problem=None if problem is None else problem.document(),
        )  # fmt: skip

    async def act(self, visit: Visit) -> ApiResponse:
        """What a form asks for, on what its page showed; what is wrong is told there, and what was typed stays."""
        name = visit.form.get("name", "").strip()
        try:
            return await self._done(visit, name)
        except ProblemError as problem:
            if problem.status not in (400, 409) or "table" not in visit.form:
                raise
            return await self._one(visit, name, problem=problem)

    async def _done(self, visit: Visit, name: str) -> ApiResponse:
        form, act = visit.form, visit.form.get("act", "")
        match act.removesuffix(_AS_JSON):
            case "try":
                tried = await self._desk.tried(name, await self._table(name, form), visit.session.person)
                return await self._one(visit, name, tried)
            case "publish" | "take back" as wanted:
                table = await self._table(name, form) if wanted == "publish" else None
                version = int(form["version"]) if form.get("version", "").isdecimal() else None
                pending = await self._desk.publish(name, table, visit.session.person, reason_of(form), version)
                return redirect(link(TYPES, name=name) if pending is None else "/console/approvals")
        raise ProblemError(400, "The form does not say what to do.")

    async def _table(self, name: str, form: Mapping[str, str]) -> dict[str, Any]:
        """What is to be published: of the fields, or of the JSON if that was sent.

        :raises ProblemError: 400, 503.
        """
        if form.get("act", "").endswith(_AS_JSON):
            return _decoded(form)
        chosen = await self._desk.one(name, new=True)
        return fields.table_of_form(form, chosen.profile, _before(chosen))


def _before(chosen: TypeShown) -> Mapping[str, Any]:
    """The table that a new one takes the place of."""
    return chosen.file or {} if chosen.published is None else chosen.published


def _decoded(form: Mapping[str, str]) -> dict[str, Any]:
    """:raises ProblemError: 400."""
    try:
        return msgspec.json.decode(form.get("table", ""), type=dict[str, Any])
    except UNDECODABLE as error:
        raise ProblemError(400, f"What it may do must be a JSON object: {error}") from error
