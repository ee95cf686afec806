"""Events kept for later, as the owner of the topic `schedule` sees them (RULES 1; DECISIONS, Who owns what).

The topic's order decides. When an event's time has come, the owner appends a `released` record, which releases it. A
cancel or a retraction before that record cancels it. So a crash at any point changes nothing: what is read again leads
to the same, and `sequence` drops a release that comes twice, by its event_id.

A reaction is worked out first, and takes effect when all its records are encoded: a record that fails leaves no trace.
"""

import msgspec

from state.model.event import Event
from state.model.schedule import Released
from state.schedule.kept import KeptEvents


class Reaction(msgspec.Struct):
    """What follows from one record: events to release now, answers for the topic, and what `settle` changes."""

    events: list[Event] = []
    answers: list[Released] = []
    kept: Event | None = None
    """To be kept from here on."""
    gone: list[str] = []
    """Not kept any more, if they were."""
    retraction: Event | None = None
    """Takes place here."""


def settle(kept: KeptEvents, reaction: Reaction) -> None:
    """The record took place."""
    for event_id in reaction.gone:
        kept.remove(event_id)
    if reaction.kept is not None:
        kept.keep(reaction.kept)


def on_event(kept: KeptEvents, event: Event) -> Reaction:
    """Keep an event; a retraction that is not for later cancels what it matches."""
    if event.event_id in kept:
        return Reaction()
    if event.deliver_at is not None and event.deliver_at > event.ingested_at:
        return Reaction(kept=event)
    return _cancel_matching(kept, event) if event.retracts else Reaction()


def on_cancel(kept: KeptEvents, event_id: str) -> Reaction:
    """Answer `cancelled`, or `released` if it is not kept (any more). Only its sender may cancel an event."""
    found = kept.get(event_id)
    if found is not None:
        return Reaction(answers=[Released(event_id, "cancelled", found[1].sender_id or None)], gone=[event_id])
    return Reaction(answers=[Released(event_id, "released")])


def on_released(kept: KeptEvents, released: Released) -> Reaction:
    """The release takes place here; of an event that was cancelled before, nothing is left to release."""
    if released.how != "released":
        return Reaction()
    found = kept.get(released.event_id)
    if found is None:
        return Reaction(gone=[released.event_id])
    event = found[1]
    reaction = _cancel_matching(kept, event) if event.retracts else Reaction()
    assert event.deliver_at is not None
    reaction.events.append(msgspec.structs.replace(event, ingested_at=event.deliver_at))
    reaction.gone.append(event.event_id)
    return reaction


def _cancel_matching(kept: KeptEvents, retraction: Event) -> Reaction:
    ids = kept.cancelled_by(retraction)
    answers = [Released(event_id, "cancelled", retraction.sender_id or None) for event_id in ids]
    return Reaction(answers=answers, gone=ids, retraction=retraction)
