"""The page of campaigns: how far they are, and the acts on them."""

from __future__ import annotations

import io
from typing import Any

from msgspec.structs import replace

from connectors.console.pages import Visit, answer_page, link, redirect
from connectors.gateway.campaign_answers import campaign_shown
from connectors.gateway.campaigns import CampaignCalls, form_of_file, stages_of, start_of
from connectors.gateway.http import ApiResponse
from connectors.gateway.problems import ProblemError

CAMPAIGNS = "/console/campaigns"
NEW, AUDIENCE, SLOT, TEST = (f"{CAMPAIGNS}/{what}" for what in ("new", "audience", "slot", "test"))
_VERBS = ("approve", "start", "throttle", "pause", "resume", "cancel", "advance")


class CampaignPages:
    """Handlers of marketing's pages."""

    def __init__(self, calls: CampaignCalls) -> None:
        self._calls = calls

    async def campaigns(self, visit: Visit) -> ApiResponse:
        """All, or one with its report."""
        name = visit.query.get("name")
        if name is None:
            found = [campaign_shown(each) for each in await self._calls.found()]
            types = self._calls.type_names()
            return answer_page("campaigns.html", visit, campaigns=found, chosen=None, report=None, types=types)
        campaign = await self._calls.one(name)
        report = await self._calls.reported(campaign)
        return answer_page("campaigns.html", visit, campaigns=(), chosen=campaign_shown(campaign), report=report)

    async def create(self, visit: Visit) -> ApiResponse:
        """A new one, of what a form says."""
        payload = {field: text for field in ("title", "body") if (text := visit.form.get(field, "").strip())}
        content = {"name": visit.form.get("name", "").strip(), "type": visit.form.get("type", ""), "payload": payload}
        made = await self._calls.make(visit.session.person, content)
        return redirect(link(CAMPAIGNS, name=made.name))

    async def put_audience(self, visit: Visit) -> ApiResponse:
        """The file of its recipients."""
        upload = visit.upload
        form = None if upload is None else form_of_file(upload.file_name)
        if upload is None or form is None:
            raise ProblemError(400, "Choose a file whose name ends in .csv, .ndjson or .parquet.")
        name = visit.form.get("name", "")
        stages, file = stages_of(visit.form.get("stages", "")), io.BytesIO(upload.file)
        await self._calls.store(visit.session.person, name, file, form, _revision(visit), stages)
        return redirect(link(CAMPAIGNS, name=name))

    async def act(self, visit: Visit) -> ApiResponse:
        """What a form asks for, on what its page showed."""
        name, verb = visit.form.get("name", ""), visit.form.get("act", "")
        if verb not in _VERBS:
            raise ProblemError(400, "The form does not say what to do.")
        given = _given(verb, visit.form.get("value", "").strip(), visit.form.get("hold", "").strip())
        await self._calls.act(visit.session.person, name, verb, revision=_revision(visit), **given)
        return redirect(link(CAMPAIGNS, name=name))

    async def test(self, visit: Visit) -> ApiResponse:
        """Send it to the users that a form names."""
        name, users = visit.form.get("name", ""), visit.form.get("users", "").split()
        await self._calls.tested(visit.session.person, name, users, _revision(visit))
        return redirect(link(CAMPAIGNS, name=name))

    async def change_slot(self, visit: Visit) -> ApiResponse:
        """Ask for a dedicated slot, or give it up."""
        name = visit.form.get("name", "")
        text = replace((await self._calls.one(name)).text, slot=visit.form.get("slot") == "on")
        await self._calls.act(visit.session.person, name, "edit", revision=_revision(visit), text=text)
        return redirect(link(CAMPAIGNS, name=name))


def _revision(visit: Visit) -> int:
    """What the person saw; 0, which none has, if the form does not say."""
    revision = visit.form.get("revision", "")
    return int(revision) if revision.isascii() and revision.isdigit() and len(revision) < 16 else 0


def _given(verb: str, value: str, hold: str) -> dict[str, Any]:
    """:raises ProblemError: 400."""
    if verb == "start":
        minutes = {"hold_minutes": _number(hold, 10_080, "The hold")} if hold else {}
        return start_of(minutes | ({"local": value[:16]} if value else {}))
    return {"per_second": _number(value, 100_000, "The throttle")} if verb == "throttle" else {}


def _number(text: str, most: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= most):
        raise ProblemError(400, f"{what} is a number from 1 to {most:,}.".replace(",", "\u202f"))
    return int(text)
