"""Events that go in stages: what becomes of their stages is said by their senders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connectors.admission.interface import AdmissionStore, Known
from connectors.campaigns import CampaignDesk
from connectors.gateway.answers import Cancelled, RolloutProgress
from connectors.gateway.campaigns import actor_of
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.notifications import Kept
from connectors.gateway.problems import ProblemError, invalid
from connectors.gateway.progress import find
from connectors.gateway.writer import on_log
from state.model.admission import AdmissionRules
from state.model.campaign import rollout_name
from state.model.campaign_documents import RolloutTurn
from state.schedule.rollouts import Rollout


class RolloutCalls:
    """Pauses, resumes, advances and cancels what a sender posted."""

    def __init__(
        self, store: AdmissionStore, desk: CampaignDesk, kept: Kept, rules: AdmissionRules, clock: Callable[[], int]
    ) -> None:
        """All stay the caller's; `clock` in milliseconds since 1970."""
        self._store, self._desk, self._kept, self._rules, self._clock = store, desk, kept, rules, clock

    async def turn(self, request: ApiRequest) -> ApiResponse:
        """Do what the body says; 409 with the reason why it does not count."""
        rollout, body = await self._of(request), await request.json()
        errors = self._rules.document_errors(body, RolloutTurn)
        if errors:
            raise invalid(errors)
        if rollout is None:
            raise ProblemError(409, "the event goes in no stages", event_id=request.parameters["event_id"])
        return json_response(200, rollout_shown(await self._act(request, rollout, body["verb"])))

    async def cancel(self, request: ApiRequest) -> ApiResponse:
        """Nothing more of it goes; of any other event, that it is not released."""
        rollout = await self._of(request)
        if rollout is None:
            return await self._kept.cancel(request)
        await self._act(request, rollout, "cancel")
        return json_response(200, Cancelled(event_id=rollout.event.event_id))

    async def _of(self, request: ApiRequest) -> Rollout | None:
        event_id = request.parameters["event_id"]
        return await rollout_of(self._desk, await find(self._store, event_id, request.caller(), self._clock()))

    async def _act(self, request: ApiRequest, rollout: Rollout, verb: str) -> Rollout:
        actor = actor_of(request.caller())
        changed: Any = await on_log(lambda: self._desk.act(actor, rollout_name(rollout.event.event_id), verb))
        return changed  # type: ignore[no-any-return] # a campaign of this name is one


async def rollout_of(desk: CampaignDesk, known: Known) -> Rollout | None:
    """That of an event, if it goes in stages.

    :raises ProblemError: 503.
    """
    return None if known.fan_out_type == "DIRECT" else await on_log(lambda: desk.rollout(known.event_id))


async def rollout_progress(desk: CampaignDesk, known: Known) -> RolloutProgress | None:
    """How far the stages of an event are; None: it has none.

    :raises ProblemError: 503.
    """
    rollout = await rollout_of(desk, known)
    return None if rollout is None else rollout_shown(rollout)


def rollout_shown(rollout: Rollout) -> RolloutProgress:
    """As the API tells it."""
    state: Any = "done" if rollout.is_done else rollout.state
    return RolloutProgress(state, rollout.plan.stages, rollout.stage + 1, rollout.percent, rollout.next_at())
