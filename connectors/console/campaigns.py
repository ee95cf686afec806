"""The page of campaigns: how far they are, and the acts on them."""

from __future__ import annotations

from typing import Any

from connectors.console.pages import Visit, answer_page, redirect
from connectors.gateway.campaign_answers import campaign_shown
from connectors.gateway.campaigns import CampaignCalls, start_of
from connectors.gateway.http import ApiResponse
from connectors.gateway.problems import ProblemError

CAMPAIGNS = "/console/campaigns"
_VERBS = ("approve", "start", "throttle", "pause", "resume", "cancel")


class CampaignPages:
    """Handlers of marketing's pages."""

    def __init__(self, calls: CampaignCalls) -> None:
        self._calls = calls

    async def campaigns(self, visit: Visit) -> ApiResponse:
        """All, or one with its report."""
        name = visit.query.get("name")
        if name is None:
            found = [campaign_shown(each) for each in await self._calls.found()]
            return answer_page("campaigns.html", visit, campaigns=found, chosen=None, report=None)
        campaign = await self._calls.one(name)
        report = await self._calls.reported(campaign)
        return answer_page("campaigns.html", visit, campaigns=(), chosen=campaign_shown(campaign), report=report)

    async def act(self, visit: Visit) -> ApiResponse:
        """What a form asks for, on what its page showed."""
        name, verb, revision = (visit.form.get(field, "") for field in ("name", "act", "revision"))
        if verb not in _VERBS:
            raise ProblemError(400, "The form does not say what to do.")
        given = _given(verb, visit.form.get("value", "").strip())
        seen = int(revision) if revision.isdigit() and len(revision) < 16 else 0
        await self._calls.act(visit.session.person, name, verb, revision=seen, **given)
        return redirect(f"{CAMPAIGNS}?name={name}")


def _given(verb: str, value: str) -> dict[str, Any]:
    """:raises ProblemError: 400."""
    if verb == "start":
        return start_of({"local": value[:16]} if value else {})
    if verb != "throttle":
        return {}
    if not (value.isascii() and value.isdigit() and 0 < int(value[:9]) <= 100_000):
        raise ProblemError(400, "The throttle is a number from 1 to 100 000.")
    return {"per_second": int(value[:9])}
