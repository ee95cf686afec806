"""Row sets against Python's own sets."""

from __future__ import annotations

import random
from array import array

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.decide.audience import PACKED_MAX, Audience, SmallSets
from state.decide.packed_texts import PackedTexts


@pytest.mark.parametrize(("seed", "rows_max"), [(seed, 12) for seed in range(6)] + [(6, 3000), (7, 900)])
def test_rows_are_those_of_a_set(seed: int, rows_max: int) -> None:
    """A few rows, and so many that a set is no longer kept packed."""
    choose = random.Random(seed)
    audience, naive = Audience(), dict[str, set[int]]()
    for name in "ab" if rows_max > PACKED_MAX else "":
        naive[name] = set(range(0, rows_max, 2))
        for row in naive[name]:
            audience.add(name, row)
    for _ in range(400):
        name, row = choose.choice("abc"), choose.randrange(rows_max)
        step = choose.random()
        if step < 0.5:
            audience.add(name, row)
            naive.setdefault(name, set()).add(row)
        elif step < 0.9:
            audience.discard(name, row)
            naive.get(name, set()).discard(row)
        elif step < 0.95:
            rows = [choose.randrange(rows_max) for _ in range(choose.choice([5, PACKED_MAX + 50]))]
            audience.replace(name, np.array(rows, np.int64))
            naive[name] = set(rows)
        if choose.random() < 0.4:
            for each in "abc":
                assert audience.rows(each).tolist() == sorted(naive.get(each, ()))
    assert set(audience.names()) == set(naive)
    again = Audience()
    for name in audience.names():
        again.restore(name, audience.stored(audience.number(name)))
        assert again.rows(name).tolist() == audience.rows(name).tolist()


def test_what_must_be_stored_again() -> None:
    audience = Audience()
    audience.discard("a", 1)
    assert (audience.changed, audience.rows("a").tolist()) == (set(), [])
    assert audience.rows("a").dtype == np.int32
    audience.add("a", 1)
    audience.changed.clear()
    audience.discard("a", 1)
    assert audience.changed == {0}


@pytest.mark.parametrize(("size", "large"), [(PACKED_MAX, False), (PACKED_MAX + 1, True)])
@pytest.mark.parametrize("grown", [True, False])
def test_only_a_large_set_gathers_what_is_to_be_stored(size: int, large: bool, grown: bool) -> None:
    """However it came to its size; as a whole the first time."""
    audience = Audience()
    if grown:
        for row in range(size):
            audience.add("a", row)
    else:
        audience.replace("a", np.arange(size, dtype=np.int64))
    assert audience.unstored(0, 1.0, 0) is None
    audience.mark_stored(0)
    audience.discard("a", 3)
    audience.discard("a", 4)
    audience.add("a", 4)
    assert audience.unstored(0, 1.0, 0) == ({3: False, 4: True} if large else None)
    assert audience.rows("a").tolist() == [row for row in range(size) if row != 3]


def test_changes_are_stored_alone_up_to_their_share_of_the_set() -> None:
    audience = Audience()
    audience.replace("a", np.arange(1024, dtype=np.int64))
    audience.mark_stored(0)
    for row in range(4):
        audience.discard("a", row)
    changes = dict.fromkeys(range(4), False)
    assert [audience.unstored(0, 1 / 16, before) for before in (0, 60, 61)] == [changes, changes, None]


def sizes(sets: list[list[int]]) -> npt.NDArray[np.int32]:
    return np.array([*map(len, sets)], np.int32)


ROWS = st.sets(st.integers(0, 40), max_size=9)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), ROWS), max_size=120), st.lists(ROWS, max_size=9))
def test_small_sets_are_those_of_a_list(stream: list[tuple[int, set[int]]], filled: list[set[int]]) -> None:
    """Some of them filled in at once; waste goes at once, so that a short stream meets it."""
    packed, plain = SmallSets(kept_waste=8), [sorted(rows) for rows in filled] + [list[int]()] * 6
    packed.fill(np.array([row for rows in plain for row in rows], np.int32), sizes(plain[: len(filled)]))
    for _ in range(6):
        packed.append()
    for number, rows in stream:
        plain[number] = sorted(rows)
        packed.put(number, array("i", plain[number]))
        assert packed.rows(number).tolist() == plain[number]
    assert [packed.rows(number).tolist() for number in range(len(plain))] == plain
    some, counts = packed.stretch(slice(2, 5))
    assert (some.tolist(), counts.tolist()) == ([row for each in plain[2:5] for row in each], [*map(len, plain[2:5])])


def test_audiences_share_names_and_nothing_else() -> None:
    texts = PackedTexts()
    one, other = Audience(texts), Audience(texts)
    for row, name in enumerate(["a", "b", "c"]):
        one.add(name, row)
    other.add("c", 7)
    assert (other.names(), other.rows("c").tolist(), other.rows("a").tolist()) == (["c"], [7], [])
    third = Audience(texts)
    third.fill(one.stretch(slice(0, 3)))
    assert (third.names(), third.rows("c").tolist(), list(texts)) == (["a", "b", "c"], [2], ["a", "b", "c"])


def test_a_filled_audience_has_the_same_sets_but_large_ones() -> None:
    audience, again = Audience(), Audience()
    for name, size in (("none", 0), ("one", 1), ("few", 5), ("star", PACKED_MAX + 1), ("é", 2)):
        audience.replace(name, np.arange(size, dtype=np.int64))
    again.fill(audience.stretch(slice(0, len(audience))))
    assert again.names() == audience.names()
    for number, name in enumerate(audience.names()):
        assert (again.name(number), again.number(name), audience.is_large(number)) == (name, number, name == "star")
        before = [] if name == "star" else audience.rows(name).tolist()
        assert again.rows(name).tolist() == before
        again.add(name, 9_000)
        assert again.rows(name).tolist() == [*before, 9_000]
