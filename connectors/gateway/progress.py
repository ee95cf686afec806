"""`GET /v1/notifications/{event_id}`: how far an event is, as the ledger says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from connectors.admission.interface import AdmissionStore, Known
from connectors.gateway.answers import EventProgress, FanOutProgress, RolloutProgress
from connectors.gateway.auth import Principal
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import ProblemError, retry_later
from state.model.errors import StoreUnavailableError
from state.model.ledger import EventCounts

_WAITING = ("HELD", "AGGREGATING")
_AUDIENCES: Mapping[str, str] = {
    "DIRECT": "the target",
    "FOLLOWERS": "who followed the actor at its place in the log",
    "SEGMENT": "the members of the segment as last defined before its place in the log",
    "BROADCAST": "everyone whom a preference or an address has named; not users known only as followers or members",
}


ProgressReader = Callable[[str], EventCounts]
"""Counts what became of an event (the ledger); may block on the disk."""
EventFinder = Callable[[str, Principal], Awaitable[Known]]
"""What is remembered of an event of this sender; raises as `find`."""
RolloutReader = Callable[[Known], Awaitable[RolloutProgress | None]]
"""How far the stages of an event are; None: it has none. 503 where the log does not answer."""


class ProgressCalls:
    """Answers for the events that a sender posted."""

    def __init__(
        self, find: EventFinder, reader: ProgressReader | None, rollout: RolloutReader, *, clock: Callable[[], int]
    ) -> None:
        """Without a reader nothing is counted."""
        self._find, self._reader, self._rollout, self._clock = find, reader, rollout, clock

    async def get(self, request: ApiRequest) -> ApiResponse:
        """How far an event of this sender is, while its event_id is remembered."""
        event_id, now_ms = request.parameters["event_id"], self._clock()
        known = await self._find(event_id, request.caller())
        counts = await asyncio.to_thread(self._reader, event_id) if self._reader else EventCounts()
        rollout = await self._rollout(known)
        state = state_of(known, counts, now_ms)
        has_more = counts.outcomes and rollout is not None and rollout.state in ("running", "paused")
        return json_response(
            200,
            EventProgress(
                event_id=known.event_id,
                state="waiting" if has_more else state,
                deliver_at=known.kept_until_ms or None,
                audience=_AUDIENCES.get(known.fan_out_type),
                recipients=sum(counts.outcomes.values()),
                outcomes=dict(counts.outcomes),
                deliveries=dict(counts.deliveries),
                heard=dict(counts.heard),
                segments=counts.segments,
                cost=counts.cost,
                fan_out=None if counts.planned is None else FanOutProgress(counts.planned, counts.groups),
                rollout=rollout,
            ),
        )


State = Literal["pending", "kept", "accepted", "waiting", "decided", "delivered", "failed"]


def state_of(known: Known, counts: EventCounts, now_ms: int) -> State:
    """The furthest that is true of the whole event."""
    if not counts.outcomes:
        if known.kept_until_ms > now_ms:
            return "kept"
        return "accepted" if known.committed else "pending"
    if any(name in counts.outcomes for name in _WAITING):
        return "waiting"
    expected = counts.handed_out + counts.deliveries.get("FELL_BACK", 0)
    if not expected or sum(counts.deliveries.values()) < expected:
        return "decided"
    return "delivered" if counts.deliveries.get("DELIVERED") else "failed"


async def find(store: AdmissionStore, event_id: str, caller: Principal, now_ms: int) -> Known:
    """What the store knows of an event of this sender.

    :raises ProblemError: 404 if it is not known or another's; 503 if the store is down.
    """
    return of_sender(await remembered(store, event_id, now_ms), caller)


async def remembered(store: AdmissionStore, event_id: str, now_ms: int) -> Known | None:
    """What the store knows of an event, whosever it is.

    :raises ProblemError: 503.
    """
    try:
        return await store.known(event_id, now_ms)
    except StoreUnavailableError as error:
        raise retry_later(503, "the admission store does not answer; ask again", 1000) from error


def of_sender(known: Known | None, caller: Principal) -> Known:
    """The same, if it is this sender's.

    :raises ProblemError: 404.
    """
    if known is None or known.sender_id != caller.name:
        raise ProblemError(404, "no such event of this sender is remembered")
    return known
