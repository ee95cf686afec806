"""The one way to write topic `outcomes`: whoever hears of a notification makes the record here, and appends it."""

from __future__ import annotations

from collections.abc import Callable

from connectors.log.interface import NewRecord
from state.model.keys import key_group, partition_of_group
from state.model.outcome import OUTCOME, Outcome, question_of
from state.model.topics import OUTCOMES


def outcome_record(
    outcome: str,
    *,
    user: str,
    channel: str,
    at: int,
    partitions: Callable[[str], int],
    device: str | None = None,
    emission_id: str | None = None,
    event_id: str | None = None,
    first_event_id: str | None = None,
    provider: str | None = None,
    provider_id: str | None = None,
    reason: str | None = None,
) -> NewRecord:
    """An outcome by its name in `state.model.outcome`: of a delivery, or of the item of an event.

    `at` in ms UTC is when it was heard; `reason` is the provider's code; `partitions` gives a topic's number of them.
    It may be appended any number of times: the first one of a question holds.
    """
    heard = Outcome(
        user=user, event_id=event_id, first_event_id=first_event_id, emission_id=emission_id, channel=channel,
        device=device, outcome=outcome, question=question_of(outcome), reason=reason, provider=provider,
        provider_id=provider_id, at=at,
    )  # fmt: skip
    partition = partition_of_group(key_group(user), partitions(OUTCOMES))
    return NewRecord(OUTCOMES, partition, user.encode(), OUTCOME.encode(heard), OUTCOME.headers)
