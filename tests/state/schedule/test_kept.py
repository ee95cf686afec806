"""Kept events: in which order they come out, and what takes them back."""

from __future__ import annotations

import random
from typing import Any

from state.model.event import Event
from state.schedule.kept import KeptEvents


def _event(name: str, due: int, **fields: Any) -> Event:
    return Event(event_id=name, type="reminder", target="u", deliver_at=due, **fields)


def test_kept_events_come_out_by_time_then_by_acceptance() -> None:
    choose = random.Random(5)
    kept, expected = KeptEvents(), []
    for number in range(200):
        due = choose.randrange(20)
        kept.keep(_event(f"e{number}", due))
        expected.append((due, number))
    removed = set(choose.sample(range(200), 60))
    for number in sorted(removed):
        found = kept.remove(f"e{number}")
        assert found is not None
        assert found.event_id == f"e{number}"
    order = [f"e{number}" for _, number in sorted(expected) if number not in removed]
    assert [event.event_id for event in kept.events()] == [f"e{n}" for n in range(200) if n not in removed]
    assert [event.event_id for event in kept.due(19)] == order
    came = []
    for now in range(20):
        due_now = [event.event_id for event in kept.due(now)]
        assert kept.first_due(now - 1) is None
        while (event := kept.first_due(now)) is not None:
            kept.remove(event.event_id)
            came.append(event.event_id)
            assert event.event_id == due_now.pop(0)
        assert due_now == []
    assert (came, len(kept), kept.first_due(1 << 40), kept._by_key) == (order, 0, None, {})


def test_due_means_at_or_before() -> None:
    kept = KeptEvents()
    kept.keep(_event("e", 100))
    assert (kept.first_due(99), kept.due(99)) == (None, [])
    assert [event.event_id for event in kept.due(100)] == ["e"]
    kept.changed.clear()
    assert kept.remove("other") is None
    assert kept.changed == set()
    assert kept.first_due(100) == kept.remove("e")
    assert ("e" in kept, kept.changed) == (False, {"e"})


def test_an_event_kept_again_comes_at_its_new_time() -> None:
    kept = KeptEvents()
    kept.keep(_event("e", 100))
    kept.remove("e")
    kept.keep(_event("e", 300))
    assert kept.first_due(299) is None
    assert kept.first_due(300) is not None


def test_a_retraction_finds_its_kind_and_with_a_parent_only_that_one() -> None:
    kept = KeptEvents()
    for name, actor in (("e1", "a"), ("e2", "a"), ("e3", "b")):
        kept.keep(_event(name, 10, actor=actor))
    retraction = _event("r", 5, actor="a")
    assert kept.cancelled_by(retraction) == ["e1", "e2"]
    assert kept.cancelled_by(_event("r", 5, actor="a", parent_event_id="e2")) == ["e2"]
    assert kept.cancelled_by(_event("r", 5, actor="a", parent_event_id="e3")) == []
    assert kept.cancelled_by(_event("e1", 5, actor="a")) == ["e2"]
