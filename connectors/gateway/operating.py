"""`/v1/ops/dead-letters` and `/v1/ops/health`: what the console's *Dead letters* and *Now* show. No content."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

from msgspec import Meta

from connectors.console.figures import FiguresNow
from connectors.gateway.acts import reason_if_any
from connectors.gateway.answers import Approval, Reply
from connectors.gateway.approval_calls import told_approval
from connectors.gateway.bodies import sent_document
from connectors.gateway.calls import OPS
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.letters import Letters
from connectors.gateway.problems import QUERY_INVALID, ProblemError, invalid
from connectors.gateway.routes import Route
from connectors.gateway.support import PAGE_QUERY, page_limit
from connectors.paging import cursor_text
from state.model.admission import AdmissionRules, FieldError
from state.model.audit import PendingAct
from state.model.dead_letter import STAGES, Selection
from state.model.documents import Document, Text


class LetterDecision(Document):
    """What is done about a dead letter."""

    letter: Annotated[Text, Meta(description="Its `id`.")]
    decision: Annotated[Literal["retry", "discard"], Meta(description="retry: it goes back to where it failed.")]
    reason: Annotated[Text | None, Meta(description="Why, for the audit.")] = None


class LetterDecided(Reply):
    """It is done."""

    letter: Text
    decision: Literal["retry", "discard"]


class LetterPage(Reply):
    """What could not be handled, the newest first."""

    letters: Annotated[
        list[dict[str, Any]], Meta(description="As `carillon dead-letters list --json` has them. No content.")
    ]
    cursor: Annotated[str | None, Meta(description="Of the next page; null: this is the last one.")]


class ProviderHealth(Reply):
    """A provider of messages."""

    name: Text
    breaker: Annotated[Text, Meta(description="closed: all goes; reduced, half-open: some; open: none, but probes.")]
    in_flight: Annotated[float, Meta(description="Sends that wait for its answer.")]
    waiting: Annotated[float, Meta(description="Deliveries that wait for their turn.")]


class LaneHealth(Reply):
    """A flow or a lane of one."""

    name: Text
    score: Annotated[float, Meta(description="Load: from 1 on it asks others to wait.")]
    asks: Annotated[Text, Meta(description="What it asks of them now.")]


class HeldHealth(Reply):
    """Something that does not go on yet."""

    name: Text
    number: Annotated[float | None, Meta(description="null: it is not counted.")]
    why: Text


class SystemHealth(Reply):
    """How the whole system is, as its processes said last."""

    providers: list[ProviderHealth]
    lanes: list[LaneHealth]
    waiting: list[HeldHealth]
    archive_behind_s: Annotated[float, Meta(description="What the archive has yet to take, in seconds.")]
    credentials: Annotated[dict[str, float], Meta(description="Those that end soon, in days; below 0: it has ended.")]


class OpsCalls:
    """Handlers."""

    def __init__(self, rules: AdmissionRules, letters: Letters, figures: Callable[[], FiguresNow]) -> None:
        """`figures` may block."""
        self._rules, self._letters, self._figures = rules, letters, figures

    async def letters(self, request: ApiRequest) -> ApiResponse:
        """A page of them; without `all` those about which nothing was decided."""
        given = request.query(("stage", "sender", "all", "limit", "cursor"))
        stage, everything = given.get("stage"), given.get("all", "false")
        if stage not in (None, *STAGES):
            raise invalid([FieldError("stage", "is none", f"name one of {', '.join(STAGES)}")], QUERY_INVALID)
        if everything not in ("true", "false"):
            raise invalid([FieldError("all", "is neither true nor false", "leave it out, or send true")], QUERY_INVALID)
        wanted = Selection((), stage, given.get("sender"), everything=everything == "true")
        limit = page_limit(given)
        page = await self._letters.page(wanted, limit, given.get("cursor"))
        return json_response(200, LetterPage(list(page.found), cursor_text(page.onward)))

    async def decide(self, request: ApiRequest) -> ApiResponse:
        """Give one back or discard it; one of P0 is discarded by two."""
        given = await sent_document(request, self._rules, LetterDecision)
        letter, decision = given["letter"], given["decision"]
        await self._letters.found(letter)
        reason = reason_if_any({"reason": given.get("reason") or ""})
        done = await self._letters.decide(letter, request.caller(), retry=decision == "retry", reason=reason)
        if isinstance(done, PendingAct):
            return json_response(202, told_approval(done, self._letters.now_ms()))
        if done.get("refused"):
            raise ProblemError(409, f"{done['reason']}; nothing was done")
        return json_response(200, LetterDecided(letter, decision))

    async def health(self, _request: ApiRequest) -> ApiResponse:
        """From the metrics of all processes."""
        now = await asyncio.to_thread(self._figures)
        return json_response(200, SystemHealth(
            [ProviderHealth(each.name, each.breaker, each.in_flight, each.waiting) for each in now.providers],
            [LaneHealth(*each) for each in now.places], [HeldHealth(*each) for each in now.waiting],
            now.behind_s, dict(now.expiring),
        ))  # fmt: skip


def operating_calls(calls: OpsCalls) -> list[Route]:
    """For ops, besides the kill switches."""
    return [
        Route(
            "getDeadLetters", "GET", "/v1/ops/dead-letters", OPS, "What could not be handled",
            "The newest first: which record, in which stage, why, and what was decided about it. No content. Where few "
            "match, a page may end before it is full.",
            calls.letters, {200: LetterPage}, (503,),
            query={
                "stage": Annotated[str, Meta(description=f"One of {', '.join(STAGES)}.")],
                "sender": Annotated[str, Meta(description="Whose events.")],
                "all": Annotated[bool, Meta(description="Also those that are retried or discarded.")],
                **PAGE_QUERY,
            },
        ),
        Route(
            "decideDeadLetter", "POST", "/v1/ops/dead-letters", OPS, "Retry or discard a dead letter",
            "It is noted in topic `audit`. 202: to discard one of P0 waits for a second person. 409: it was decided "
            "already, or its record is no longer in the log.",
            calls.decide, {200: LetterDecided, 202: Approval}, (404, 409, 503),
            body={"application/json": LetterDecision},
        ),
        Route(
            "getSystemHealth", "GET", "/v1/ops/health", OPS, "How lanes and providers are",
            "Breakers, load, what waits and why, and which credentials end soon, as all processes said last; some "
            "seconds old.",
            calls.health, {200: SystemHealth},
        ),
    ]  # fmt: skip
