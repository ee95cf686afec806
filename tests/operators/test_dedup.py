"""Windows of repeats and kept events at their boundaries (RULES 1), worked by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from operators.dedup import EVENT_ID_WINDOW_MS, entries_of_latest, forget, original_of, remember
from operators.simulation import Acceptance
from state.model.event import Event, RawEvent, RolloutPart, resolve
from state.model.registry import load_registry
from state.sequence.repeats import RepeatIndex

HOUR = 3_600_000
DAY = 24 * HOUR
T = 1_700_000_000_000
REGISTRY = load_registry({"share": {"repeat_window_ms": 5_000}})


def _event(event_id: str, type_name: str = "like", **fields: Any) -> Event:
    given = {"actor": "a", "target": "u", "object": "o", "sender_id": "s"} | fields
    return resolve(RawEvent(event_id=event_id, type=type_name, **given), REGISTRY, ingested_at=T)


def _repeats(first: Event, second: Event, after_ms: int) -> bool:
    marks = RepeatIndex()
    remember(marks, REGISTRY, first, T)
    return original_of(marks, second, T + after_ms) == first.event_id


@pytest.mark.parametrize(
    ("first", "second", "window"),
    [
        (_event("e"), _event("e", "mention", object="other", sender_id="another"), DAY),
        (_event("e1"), _event("e2"), HOUR),
        (_event("e1", idempotency_key="k"), _event("e2", "mention", idempotency_key="k"), HOUR),
        (_event("e1", "share"), _event("e2", "share"), 5_000),
        (_event("e1", "share", idempotency_key="k"), _event("e2", "share", idempotency_key="k"), 5_000),
        (_event("e1", deliver_at=T + DAY), _event("e2", deliver_at=T + DAY), DAY + HOUR),
        (_event("e", deliver_at=T + DAY), _event("e"), 2 * DAY),
        (_event("e1", "otp", idempotency_key="k"), _event("e2", "otp", idempotency_key="k"), HOUR),
    ],
)
def test_a_window_begins_with_the_acceptance_and_its_end_is_excluded(first: Event, second: Event, window: int) -> None:
    assert _repeats(first, second, 0)
    assert _repeats(first, second, window - 1)
    assert not _repeats(first, second, window)


@pytest.mark.parametrize(
    "other",
    [
        _event("e2", actor="b"),
        _event("e2", target="v"),
        _event("e2", object=None),
        _event("e2", segment="s"),
        _event("e2", sender_id="t"),
        _event("e2", payload={}),
        _event("e2", ttl_ms=5),
        _event("e2", retracts=True),
        _event("e2", parent_event_id="p"),
        _event("e2", priority="P2"),
        _event("e2", deliver_at=T - 1),
        _event("e2", idempotency_key="k"),
        _event("e2", "follow"),
    ],
)
def test_what_differs_is_no_repeat(other: Event) -> None:
    assert not _repeats(_event("e1"), other, 1)


def test_keys_are_scoped_by_sender_and_keyless_p0_is_never_compared() -> None:
    assert not _repeats(_event("e1", idempotency_key="k"), _event("e2", idempotency_key="k", sender_id="t"), 1)
    assert not _repeats(_event("e1", "otp"), _event("e2", "otp"), 1)
    assert not _repeats(_event("e1", idempotency_key="k"), _event("e2"), 1), "a keyed event is no latest keyless one"


def test_parts_of_one_event_are_no_repeats_of_each_other_and_each_counts_once() -> None:
    first, second = (
        msgspec.structs.replace(_event("e1", idempotency_key="k"), part=RolloutPart(f"e1.{n}", n, n + 1))
        for n in range(2)
    )
    assert not _repeats(first, second, 1)
    assert _repeats(first, first, 1)


def test_only_the_latest_of_a_kind_is_compared() -> None:
    marks = RepeatIndex()
    for number, retracts in enumerate([False, True, False]):
        event = _event(f"e{number}", retracts=retracts)
        assert original_of(marks, event, T + number) is None
        remember(marks, REGISTRY, event, T + number)
    assert original_of(marks, _event("e4"), T + 4) == "e2"


def test_what_is_read_a_second_time_is_the_latest_of_its_kind_as_of_its_first_time() -> None:
    marks = RepeatIndex()
    remember(marks, REGISTRY, _event("e1"), T)
    remember(marks, REGISTRY, _event("e2", retracts=True), T + 1)
    marks.put_all(entries_of_latest(marks, REGISTRY, _event("e1"), T + 2))
    assert original_of(marks, _event("e3"), T + HOUR - 1) == "e1"
    assert original_of(marks, _event("e3"), T + HOUR) is None, "its window began at T"
    marks.put_all(entries_of_latest(marks, REGISTRY, _event("forgotten"), T + 2))
    assert original_of(marks, _event("e3"), T + HOUR + 1) == "forgotten"
    assert original_of(marks, _event("e3"), T + HOUR + 2) is None
    assert original_of(marks, _event("forgotten", "mention"), T + 2) is None, "its id stays as it was"


def test_a_repeat_does_not_prolong_the_window() -> None:
    state = Acceptance(REGISTRY)
    assert state.accept(_event("e1"), T) is not None
    assert state.accept(_event("e2"), T + HOUR - 1) is None
    assert state.accept(_event("e3"), T + HOUR) is not None
    assert state.accept(_event("e2"), T + HOUR + 1) is None, "a repeat of e3; its own id left no trace"
    assert state.accept(_event("e1"), T + DAY - 1) is None
    assert state.accept(_event("e1"), T + DAY) is not None


def test_a_cancelled_event_frees_its_key_and_id_and_the_one_before_does_not_come_back() -> None:
    state = Acceptance(REGISTRY)
    assert state.accept(_event("e1"), T) is not None
    assert state.accept(_event("e2", deliver_at=T + DAY), T + 1) is None
    for _ in range(2):
        state.cancel("e2")
    assert len(state.kept) == 0
    assert state.accept(_event("e2"), T + 2) is not None, "neither its id nor e1 is in the way"


def test_forgetting_leaves_what_a_later_event_set() -> None:
    marks = RepeatIndex()
    kept, later = _event("e1", deliver_at=T + DAY), _event("e2")
    remember(marks, REGISTRY, kept, T)
    remember(marks, REGISTRY, later, T + 1)
    forget(marks, kept)
    assert original_of(marks, _event("e3"), T + 2) == "e2"
    assert original_of(marks, _event("e1", "mention"), T + 2) is None


def test_a_release_comes_at_its_time_as_if_it_came_in_then() -> None:
    state = Acceptance(REGISTRY)
    assert state.accept(_event("e1", deliver_at=T + 1), T) is None
    assert state.release(T) is None
    released = state.release(T + 1)
    assert released is not None
    assert (released.event_id, released.ingested_at, released.deliver_at) == ("e1", T + 1, T + 1)
    assert state.release(T + 1) is None


def test_a_kept_retraction_cancels_what_is_kept_when_it_is_released() -> None:
    state = Acceptance(REGISTRY)
    state.accept(_event("e1", deliver_at=T + 10), T)
    state.accept(_event("r", deliver_at=T + 5, retracts=True), T)
    state.accept(_event("other", deliver_at=T + 10, object="p"), T)
    assert len(state.kept) == 3
    released = state.release(T + 5)
    assert released is not None
    assert released.event_id == "r"
    assert [event.event_id for event in state.kept.events()] == ["other"]


def test_the_id_window_is_a_day() -> None:
    assert EVENT_ID_WINDOW_MS == DAY
