"""Repeat marks, at their boundaries: what holds until when."""

from __future__ import annotations

from state.sequence.repeats import RepeatEntry, RepeatIndex, RepeatKey


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
    marks.expire(99)
    assert len(marks) == 2
    marks.expire(100)
    assert len(marks) == 1
    assert marks.get(("id", "a"), 0) is None, "whatever time is asked for"
    assert marks.get(("id", "b"), 0) == RepeatEntry("b", 101)
    marks.expire(50)
    assert marks.get(("id", "a"), 0) is None, "time does not fall"


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
    marks.free(("k",), "a")
    assert (marks.get(("k",), 0), len(marks)) == (None, 0)
    marks.free(("k",), "a")
    marks.expire(1_000)
    assert len(marks) == 0


def test_memory_of_marks_without_a_store_is_bounded_by_their_window_and_an_hour() -> None:
    marks, minute = RepeatIndex(), 60_000
    for now in range(0, 10_000 * minute, minute):
        marks.expire(now)
        marks.put(("id", str(now)), RepeatEntry(str(now), now + 10 * minute))
        assert len(marks) <= 10
        assert len(marks._set) <= 70


def test_what_is_not_in_memory_is_asked_of_the_store() -> None:
    stored: dict[RepeatKey, RepeatEntry | None] = {("a",): RepeatEntry("a", 100), ("b",): RepeatEntry("b", 100)}
    marks = RepeatIndex(stored.get)
    marks.put(("b",), RepeatEntry("c", 50))
    marks.put(("d",), RepeatEntry("d", 60))
    marks.free(("a",), "other")
    assert [marks.get((name,), 49) for name in "abd"] == [stored["a",], RepeatEntry("c", 50), RepeatEntry("d", 60)]
    assert marks.get(("b",), 50) is None, "nor does the one that it replaced hold"
    marks.free(("a",), "a")
    assert marks.get(("a",), 0) is None
    taken = marks.take_set()
    assert taken == {("a",): None, ("b",): RepeatEntry("c", 50), ("d",): RepeatEntry("d", 60)}
    stored |= taken
    assert marks.take_set() == {}
    assert [marks.get((name,), 49) for name in "abd"] == [None, RepeatEntry("c", 50), RepeatEntry("d", 60)]
    marks.expire(3_600_000)
    assert marks.get(("d",), 0) is None


def test_without_a_store_marks_stay_when_they_are_taken() -> None:
    marks = RepeatIndex()
    marks.put(("a",), RepeatEntry("a", 100))
    assert marks.take_set() == {("a",): RepeatEntry("a", 100)}
    assert marks.get(("a",), 99) == RepeatEntry("a", 100)


def test_what_only_memory_has_is_swept_once_in_an_hour() -> None:
    marks, hour = RepeatIndex(), 3_600_000
    marks.put(("a",), RepeatEntry("a", hour))
    marks.put(("d",), RepeatEntry("d", 9 * hour))
    marks.expire(hour)
    assert marks._set == {("d",): RepeatEntry("d", 9 * hour)}
    marks.put(("b",), RepeatEntry("b", hour + 1))
    marks.expire(hour + 2)
    assert len(marks._set) == 2
    old: dict[RepeatKey, RepeatEntry] = {("c",): RepeatEntry("old", 9 * hour)}
    stored = RepeatIndex(old.get)
    stored.put(("c",), RepeatEntry("new", hour))
    stored.expire(2 * hour)
    assert stored.get(("c",), 0) is None, "the one that was replaced does not come back"
