"""What follows from one record of the topic `schedule`, worked by hand."""

from __future__ import annotations

from typing import Any

import pytest

from operators.schedule import Reaction, on_cancel, on_event, on_released, settle
from state.model.event import Event, RawEvent, resolve
from state.model.registry import load_registry
from state.model.schedule import Released
from state.schedule.kept import KeptEvents

T = 1_700_000_000_000
REGISTRY = load_registry()


def _event(event_id: str, deliver_at: int | None, **fields: Any) -> Event:
    given = {"type": "like", "actor": "a", "target": "u", "object": "o", "sender_id": "s"} | fields
    return resolve(RawEvent(event_id=event_id, deliver_at=deliver_at, **given), REGISTRY, ingested_at=T)


def _keeping(*events: Event) -> KeptEvents:
    kept = KeptEvents()
    for event in events:
        settle(kept, on_event(kept, event))
    return kept


def _names(kept: KeptEvents) -> list[str]:
    return sorted(event.event_id for event in kept.events())


def test_an_event_for_later_is_kept_once() -> None:
    event = _event("e1", T + 1)
    assert on_event(KeptEvents(), event) == Reaction(kept=event)
    assert on_event(_keeping(event), _event("e1", T + 9)) == Reaction()


@pytest.mark.parametrize("deliver_at", [None, T - 1, T])
def test_what_is_not_for_later_is_not_kept_and_a_retraction_cancels_at_once(deliver_at: int | None) -> None:
    kept = _keeping(_event("e1", T + 5), _event("other", T + 5, object="p"))
    assert on_event(kept, _event("e2", deliver_at)) == Reaction()
    reaction = on_event(kept, _event("r", deliver_at, retracts=True))
    retraction = _event("r", deliver_at, retracts=True)
    assert reaction == Reaction(answers=[Released("e1", "cancelled", "s")], gone=["e1"], retraction=retraction)
    assert _names(kept) == ["e1", "other"], "before it is settled"
    settle(kept, reaction)
    assert _names(kept) == ["other"]


def test_a_retraction_for_later_waits_and_cancels_when_it_is_released() -> None:
    kept = _keeping(_event("e1", T + 5), _event("r", T + 1, retracts=True))
    assert _names(kept) == ["e1", "r"]
    reaction = on_released(kept, Released("r", "released"))
    settle(kept, reaction)
    assert (reaction.answers, _names(kept)) == ([Released("e1", "cancelled", "s")], [])
    assert [(event.event_id, event.ingested_at) for event in reaction.events] == [("r", T + 1)]


def test_a_cancellation_is_answered_whether_it_comes_in_time_or_not() -> None:
    kept = _keeping(_event("e1", T + 5))
    assert on_cancel(kept, "e1") == Reaction(answers=[Released("e1", "cancelled", "s")], gone=["e1"])
    assert on_cancel(kept, "e2") == Reaction(answers=[Released("e2", "released")])


def test_a_release_takes_place_once_and_a_cancellation_of_ours_is_no_release() -> None:
    kept = _keeping(_event("e1", T + 5))
    assert on_released(kept, Released("e1", "cancelled")) == Reaction()
    reaction = on_released(kept, Released("e1", "released"))
    assert [(event.event_id, event.ingested_at, event.deliver_at) for event in reaction.events] == [
        ("e1", T + 5, T + 5)
    ]
    assert reaction.answers == []
    settle(kept, reaction)
    assert on_released(kept, Released("e1", "released")) == Reaction(gone=["e1"])
