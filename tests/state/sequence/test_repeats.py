"""Repeat marks, at their boundaries: what holds until when."""

from __future__ import annotations

from state.sequence.repeats import RepeatEntry, RepeatIndex


def test_a_mark_holds_up_to_its_end_and_not_at_it() -> None:
    marks = RepeatIndex()
    marks.put(("id", "e"), RepeatEntry("e", 100))
    assert marks.get(("id", "e"), 99) == RepeatEntry("e", 100)
    assert marks.get(("id", "e"), 100) is None
    assert marks.get(("id", "other"), 0) is None


def test_expiry_drops_what_no_longer_holds_and_nothing_else() -> None:
    marks = RepeatIndex()
    marks.put(("id", "a"), RepeatEntry("a", 100))
    marks.put(("id", "b"), RepeatEntry("b", 101))
    marks.changed.clear()
    marks.expire(99)
    assert (len(marks), marks.changed) == (2, set())
    marks.expire(100)
    assert (len(marks), marks.changed) == (1, {("id", "a")})
    assert marks.stored(("id", "a")) is None
    assert marks.stored(("id", "b")) == RepeatEntry("b", 101)


def test_a_mark_that_was_set_anew_outlives_its_first_expiry() -> None:
    marks = RepeatIndex()
    marks.put(("k",), RepeatEntry("a", 100))
    marks.put(("k",), RepeatEntry("b", 200))
    marks.expire(150)
    assert marks.get(("k",), 150) == RepeatEntry("b", 200)
    marks.expire(200)
    assert len(marks) == 0


def test_expiry_of_a_freed_mark_and_of_one_set_again_is_harmless() -> None:
    marks = RepeatIndex()
    marks.put(("k",), RepeatEntry("a", 100))
    marks.free(("k",), "b")
    assert marks.get(("k",), 0) == RepeatEntry("a", 100)
    marks.changed.clear()
    marks.free(("k",), "a")
    assert (marks.get(("k",), 0), marks.changed) == (None, {("k",)})
    marks.free(("k",), "a")
    marks.expire(1_000)
    assert len(marks) == 0


def test_memory_of_marks_is_bounded_by_their_window() -> None:
    marks = RepeatIndex()
    for now in range(10_000):
        marks.expire(now)
        marks.put(("id", str(now)), RepeatEntry(str(now), now + 10))
    assert len(marks) == 10
    assert len(marks._expiries) == 10
