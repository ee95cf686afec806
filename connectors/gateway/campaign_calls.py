"""The calls about campaigns."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from connectors.gateway import campaign_answers as answers
from connectors.gateway.campaigns import CampaignCalls
from connectors.gateway.routes import Handler, Route
from connectors.gateway.schemas import AUDIENCE_BODIES
from state.model.campaign_documents import (
    TEST_USERS_MAX,
    CampaignApproval,
    CampaignContent,
    CampaignStart,
    CampaignTest,
    CampaignThrottle,
    CampaignTurn,
    NewCampaign,
)
from state.model.documents import Document
from state.schedule.campaigns import TESTS_A_DAY

MARKETING = frozenset(("marketing", "admin"))
_ONE = "/v1/campaigns/{name}"
_JSON = "application/json"


def campaign_calls(calls: CampaignCalls) -> list[Route]:
    """For marketing: prepare, have approved, release, look."""
    return [
        Route(
            "listCampaigns", "GET", "/v1/campaigns", MARKETING, "Campaigns", "All, the newest first.",
            calls.all, {200: answers.Campaigns}, (503,),
        ),
        Route(
            "createCampaign", "POST", "/v1/campaigns", MARKETING, "Prepare a campaign",
            "It is a draft and has no audience yet. Its name is the `object` of its events.",
            calls.create, {201: answers.CampaignShown}, (409, 503), body={_JSON: NewCampaign},
        ),
        Route(
            "getCampaign", "GET", _ONE, MARKETING, "A campaign", "Its state, and how far it is.",
            calls.get, {200: answers.CampaignShown}, (404, 503),
        ),
        _step("editCampaign", "PUT", _ONE, "Change what it sends", "Approvals are void.", calls.edit, CampaignContent),
        Route(
            "putCampaignAudience", "PUT", f"{_ONE}/audience", MARKETING, "Name its recipients",
            "A file with a column `user` and perhaps `timezone`, in place of the one before. Rows that cannot be used "
            "are left out and told. Approvals are void. Its parts are as large as its throttle lets go in a second.",
            calls.put_audience, {200: answers.CampaignShown}, (404, 409, 503), body=AUDIENCE_BODIES,
            query={"stages": Annotated[str, Meta(description="Percents, `1,10,100`: it goes in stages, by a hash.")]},
        ),
        Route(
            "getCampaignBadRows", "GET", f"{_ONE}/bad-rows", MARKETING, "Rows that were left out",
            "One JSON object a line: the row's place in the file, and what is wrong. At most 10 000.",
            calls.bad_rows, {200: None}, (404, 503),
        ),
        _step(
            "approveCampaign", "POST", f"{_ONE}/approve", "Approve it",
            "By another person than who changed it last; above 100 000 recipients by two.", calls.approve,
            CampaignApproval,
        ),
        _step(
            "startCampaign", "POST", f"{_ONE}/schedule", "Let it go",
            "At once, at a time, or at a time of day in each recipient's zone.", calls.start, CampaignStart,
        ),
        Route(
            "testCampaign", "POST", f"{_ONE}/test", MARKETING, "Send it for trying",
            f"To at most {TEST_USERS_MAX} users, as it is, also before it is approved; {TESTS_A_DAY} a day by one "
            "person. Opt-outs, quiet hours and caps hold as for any notification. It is in no report.",
            calls.test, {200: answers.CampaignTested}, (404, 409, 503), body={_JSON: CampaignTest},
        ),
        _step("throttleCampaign", "POST", f"{_ONE}/throttle", "Say how fast it goes", "Also while it runs.",
              calls.throttle, CampaignThrottle),
        _step("advanceCampaign", "POST", f"{_ONE}/advance", "Let the next stage go",
              "Of a campaign that goes in stages; at once, whatever is left of the one before.", calls.advance),
        _step("pauseCampaign", "POST", f"{_ONE}/pause", "Stop it for now",
              "Nothing is released that was not ordered before this in the log.", calls.pause),
        _step("resumeCampaign", "POST", f"{_ONE}/resume", "Let it go on", "From where it was paused.", calls.resume),
        _step("cancelCampaign", "POST", f"{_ONE}/cancel", "End it", "Nothing more is ever released.", calls.cancel),
        Route(
            "getCampaignReport", "GET", f"{_ONE}/report", MARKETING, "What became of it",
            f"Recipients by outcome and reason, deliveries by outcome. No number below {answers.LEAST}.",
            calls.report, {200: answers.CampaignReport}, (404, 503),
        ),
    ]  # fmt: skip


def _step(
    operation: str,
    method: str,
    path: str,
    summary: str,
    description: str,
    handler: Handler,
    body: type[Document] = CampaignTurn,
) -> Route:
    return Route(
        operation, method, path, MARKETING, summary, description, handler, {200: answers.CampaignShown},
        (404, 409, 503), body={_JSON: body}, body_required=body is not CampaignTurn,
    )  # fmt: skip
