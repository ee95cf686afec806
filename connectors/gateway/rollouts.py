"""Events that go in stages: what becomes of their stages is said by their senders.

They may take longer than the admission store remembers an event_id. So where it does not know one, the topic is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connectors.admission.interface import AdmissionStore, Known
from connectors.campaigns import CampaignDesk
from connectors.gateway.answers import Accepted, Cancelled, RolloutProgress
from connectors.gateway.auth import Principal
from connectors.gateway.bodies import sent_document
from connectors.gateway.campaigns import actor_of
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.notifications import Kept
from connectors.gateway.problems import ProblemError
from connectors.gateway.progress import of_sender, remembered
from connectors.gateway.writer import on_log
from state.model.admission import AdmissionRules, Admitted
from state.model.campaign import RolloutVerb
from state.model.campaign_documents import RolloutTurn
from state.model.durations import DAY_MS
from state.model.errors import StoreUnavailableError
from state.model.event import Event
from state.schedule.rollouts import Rollout


class BegunRollouts:
    """Those that are not forgotten, and with them what the store remembers of events."""

    def __init__(self, store: AdmissionStore, desk: CampaignDesk, clock: Callable[[], int]) -> None:
        """All stay the caller's; `clock` in milliseconds since 1970."""
        self._store, self._desk, self._clock = store, desk, clock

    async def find(self, event_id: str, caller: Principal) -> Known:
        """What is remembered of an event of this sender.

        :raises ProblemError: 404 if nothing is or it is another's; 503.
        """
        known = await remembered(self._store, event_id, self._clock())
        if known is None or known.sender_id != caller.name:
            known = _known(await self._begun(event_id))
        return of_sender(known, caller)

    async def of(self, known: Known) -> Rollout | None:
        """That of an event, if it goes in stages.

        :raises ProblemError: 503.
        """
        rollout = None if known.fan_out_type == "DIRECT" else await self._begun(known.event_id)
        is_same = rollout is not None and rollout.event.sender_id == known.sender_id  # not of a later event of that id
        return rollout if is_same else None

    async def progress(self, known: Known) -> RolloutProgress | None:
        """How far the stages of an event are; None: it has none. Raises as `of`."""
        rollout = await self.of(known)
        return None if rollout is None else rollout_shown(rollout)

    async def repeat(self, admitted: Admitted) -> Accepted | ProblemError | None:
        """The answer where one that goes in stages has the event_id and the store does not know that; it holds until a
        day after that one is over. None: the store is to say.
        """
        event_id = admitted.event.event_id
        try:
            rollout = await self._begun(event_id)
            if rollout is None or await self._is_known(event_id):
                return None
        except ProblemError as problem:
            return problem
        since = rollout.changed_at if rollout.is_over else self._clock()
        return Accepted(200, event_id, repeat_of=event_id, reason="event_id", until=since + DAY_MS)

    async def _begun(self, event_id: str) -> Rollout | None:
        return await on_log(lambda: self._desk.rollout(event_id))

    async def _is_known(self, event_id: str) -> bool:
        try:
            return await self._store.known(event_id, self._clock()) is not None
        except StoreUnavailableError:
            return False


def _known(rollout: Rollout | None) -> Known | None:
    if rollout is None:
        return None
    event = rollout.event
    return Known(event.event_id, event.sender_id, True, _kept_until(event), event.fan_out_type)


def _kept_until(event: Event) -> int:
    return event.deliver_at if event.deliver_at is not None and event.deliver_at > event.ingested_at else 0


class RolloutCalls:
    """Pauses, resumes, advances and cancels what a sender posted."""

    def __init__(self, rollouts: BegunRollouts, desk: CampaignDesk, kept: Kept, rules: AdmissionRules) -> None:
        """All stay the caller's."""
        self._rollouts, self._desk, self._kept, self._rules = rollouts, desk, kept, rules

    async def turn(self, request: ApiRequest) -> ApiResponse:
        """Do what the body says; 409 with the reason why it does not count."""
        rollout, body = await self._of(request), await sent_document(request, self._rules, RolloutTurn)
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
        return await self._rollouts.of(await self._rollouts.find(request.parameters["event_id"], request.caller()))

    async def _act(self, request: ApiRequest, rollout: Rollout, verb: RolloutVerb) -> Rollout:
        actor, event_id = actor_of(request.caller()), rollout.event.event_id
        return await on_log(lambda: self._desk.turn(actor, event_id, verb))


def rollout_shown(rollout: Rollout) -> RolloutProgress:
    """As the API tells it."""
    state: Any = "done" if rollout.is_done else rollout.state
    return RolloutProgress(state, rollout.plan.stages, rollout.stage + 1, rollout.percent, rollout.next_at())
