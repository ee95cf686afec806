"""What the dispatcher makes of a task: the message for the connector, the records of topic `attempts` and of the
ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from msgspec import UNSET

from connectors.providers.channel import Channel, Delivery, Failed, Rejected, Result, Sent, Throttled
from flows.steps.sending.task import Planned, SendTask
from operators.attempts import DELIVERED, UNKNOWN
from state.model.content import Content
from state.model.dead_letter import KILLED, Kind, error_text
from state.model.delivery import Attempt, ToDeliver
from state.model.ledger import DeliveryRecord
from state.model.settings import GoneRecord

TEMPLATE = "template"
"""Reason of a delivery whose template does not render."""
RAISED = "raised: "
"""What begins the reason of a delivery whose making raised an error."""


SENT, REJECTED = "sent", "rejected"
"""The result of a try whose message or address the provider refuses."""


def raised_reason(error: Exception) -> str:
    """The reason, with the class of the error and the place in our code."""
    return f"{RAISED}{error_text(error)}"


def kind_of(reason: str | None) -> Kind:
    """What a dead letter of a delivery that ended for this reason says."""
    if reason == KILLED:
        return "killed"
    return "raised" if reason is not None and (reason == TEMPLATE or reason.startswith(RAISED)) else "failed"


def delivery_record(task: SendTask) -> DeliveryRecord:
    """The terminal record for the ledger; a function of the emission and of `attempts` alone."""
    emission, history = task.emission, task.history
    return DeliveryRecord(
        emission_id=emission.emission_id,
        user=emission.user,
        channel=task.channel,
        device=task.device.id,
        outcome=history.outcome or "",
        reason=history.reason,
        at=history.ended_at,
        first_event_id=emission.first_event_id,
        type=emission.type,
        provider=history.provider,
        provider_id=history.provider_id,
        fell_back_to=history.fell_back_to,
        attempts=history.made,
        segments=UNSET if history.segments is None else history.segments,
        cost=UNSET if history.cost is None else history.cost,
        variant=UNSET if history.variant is None else history.variant,
    )


def verdict_of(task: SendTask) -> GoneRecord | None:
    """The provider's word that the address is dead, if it gave it."""
    if task.history.gone_at is None:
        return None
    return GoneRecord(user=task.emission.user, channel=task.channel, id=task.device.id, gone_at=task.history.gone_at)


def intent_record(task: SendTask, channel: Channel, now: int) -> Attempt:
    """That the next try of a task is about to go out there."""
    return Attempt(
        state="intent", key=task.key, attempt=task.history.attempts + 1, provider=channel.name,
        provider_id=channel.provider_id(task.key), at=now, variant=task.variant,
    )  # fmt: skip


def answer_record(task: SendTask, result: Result, planned: Planned, now: int) -> Attempt:
    """An answer as it is stored, with the time of the next try, if there is one."""
    segments, cost = task.charge or (None, None)
    if isinstance(result, Sent):
        return Attempt(
            state="answer", key=task.key, attempt=task.history.attempts, result=SENT, provider_id=result.provider_id,
            at=now, segments=segments, cost=cost,
        )  # fmt: skip
    return Attempt(
        state="answer",
        key=task.key,
        attempt=task.history.attempts,
        result=stored_name(result),
        detail=why(result),
        retry_at=planned.retry_at,
        moved_to=planned.moved_to,
        gone_at=_gone_at(task, result, now) if planned.retry_at is None else None,
        at=now,
    )


def _gone_at(task: SendTask, result: Result, now: int) -> int | None:
    """As of when the address is dead: not of a time to come, whatever the provider calls its time."""
    if not isinstance(result, Rejected) or result.token_gone is None:
        return None
    return min(result.token_gone, max(now, task.device.registered_at))


def closed_record(task: SendTask, planned: Planned, now: int) -> Attempt | None:
    """The record of an end; none for DELIVERED, which the answer tells."""
    if planned.outcome in (None, "DELIVERED"):
        return None
    return Attempt(
        state="closed",
        key=task.key,
        outcome=planned.outcome,
        reason=planned.reason,
        fell_back_to=planned.fell_back_to,
        at=now,
    )


def answered_records(task: SendTask, answer: Attempt, planned: Planned) -> list[Attempt]:
    """An answer and the end that it brings about, in the order in which they are stored.

    UNKNOWN comes before its answer: the answer alone would read as a message that was not taken, and be sent again. Any
    other end follows its answer: sending again does no harm there, and the answer may have to tell of a dead address.
    """
    closed = None if planned.outcome == DELIVERED else closed_record(task, planned, answer.at)
    if closed is None:
        return [answer]
    return [closed, answer] if planned.outcome == UNKNOWN else [answer, closed]


def delivery_of(task: SendTask, content: Content, may_go: Callable[[], bool]) -> Delivery:
    """One try, as the connector takes it."""
    emission, device = task.emission, task.device
    return Delivery(
        key=task.key,
        attempt=task.history.attempts,
        provider_id=task.history.provider_id or "",
        user=emission.user,
        channel=task.channel,
        device=device.id,
        platform=device.platform,
        address=device.address or "",
        registered_at=device.registered_at,
        content=content,
        priority=emission.priority,
        expires_at=emission.valid_until,
        collapse=collapse_key(emission),
        first_event_id=emission.first_event_id,
        may_go=may_go,
    )


def collapse_key(emission: ToDeliver) -> str:
    """Notifications with the same key replace each other on the screen: "A and 3 others" replaces "A".

    What is urgent, or of no object, replaces nothing.
    """
    if emission.priority == "P0" or emission.object is None:
        return emission.emission_id
    return sha256(f"{emission.user}\0{emission.type}\0{emission.object}".encode()).hexdigest()[:40]


def why(result: Result) -> str | None:
    """What the provider said, where it did not take the message."""
    if isinstance(result, Sent):
        return None
    return result.cause if isinstance(result, Failed) else result.reason


def stored_name(result: Result) -> str:
    """The result's name in `attempts`."""
    return _NAMES[type(result)]


_NAMES = {Sent: SENT, Rejected: REJECTED, Throttled: "throttled", Failed: "failed"}


def result_name(result: Result) -> str:
    """The result's name in metrics."""
    return "ambiguous" if isinstance(result, Failed) and result.ambiguous else stored_name(result)
