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
        self, visit: Visit, name: str, written: str | None = None, tried: TypeTried | None = None
    ) -> ApiResponse:
        chosen = await self._desk.one(name, new=True)
        table = chosen.file or {} if chosen.published is None else chosen.published
        text = msgspec.json.format(msgspec.json.encode(table)).decode() if written is None else written
        return answer_page("types.html", visit, types=(), chosen=chosen, table=text, tried=tried)

    async def act(self, visit: Visit) -> ApiResponse:
        """What a form asks for, on what its page showed."""
        form, name = visit.form, visit.form.get("name", "").strip()
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
