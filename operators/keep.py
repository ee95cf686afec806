"""Acceptance in log order: repeats, events kept for later, cancellation and release (RULES 1)."""

import msgspec

from operators.dedup import forget, original_of, remember
from state.model.event import Event
from state.model.registry import Registry
from state.schedule.kept import KeptEvents
from state.sequence.repeats import RepeatMarks


class Acceptance:
    """Marks and kept events; `accept` and `release` are called in log order with times that never fall."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.marks = RepeatMarks()
        self.kept = KeptEvents()


def accept(state: Acceptance, event: Event, now: int) -> Event | None:
    """The event to decide now; None if it is a repeat or is kept for later."""
    state.marks.expire(now)
    if original_of(state.marks, event, now) is not None:
        return None
    remember(state.marks, state.registry, event, now)
    if event.deliver_at is not None and event.deliver_at > now:
        state.kept.keep(event)
        return None
    if event.retracts:
        cancel_matching(state, event)
    return event


def cancel(state: Acceptance, event_id: str) -> bool:
    """Cancel a kept event; False if it is not kept (any more)."""
    event = state.kept.remove(event_id)
    if event is None:
        return False
    forget(state.marks, event)
    return True


def cancel_matching(state: Acceptance, retraction: Event) -> None:
    """A retraction cancels the kept events of its sender, type, actor, target, object and segment."""
    for event_id in state.kept.cancelled_by(retraction):
        cancel(state, event_id)


def release(state: Acceptance, now: int) -> Event | None:
    """The next kept event due at or before `now`, with `ingested_at` its release; a retraction cancels first."""
    event = state.kept.pop_due(now)
    if event is None:
        return None
    if event.retracts:
        cancel_matching(state, event)
    assert event.deliver_at is not None
    return msgspec.structs.replace(event, ingested_at=event.deliver_at)
