"""Row sets against Python's own sets."""

from __future__ import annotations

import random

import numpy as np
import pytest

from state.decide.audience import PACKED_MAX, Audience


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
        again.restore(name, audience.stored(name))
        assert again.rows(name).tolist() == audience.rows(name).tolist()


def test_what_must_be_stored_again() -> None:
    audience = Audience()
    audience.discard("a", 1)
    assert (audience.changed, audience.rows("a").tolist()) == (set(), [])
    assert audience.rows("a").dtype == np.int32
    audience.add("a", 1)
    audience.changed.clear()
    audience.discard("a", 1)
    assert audience.changed == {"a"}


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
    assert audience.unstored("a", 1.0, 0) is None
    audience.mark_stored("a")
    audience.discard("a", 3)
    audience.discard("a", 4)
    audience.add("a", 4)
    assert audience.unstored("a", 1.0, 0) == ({3: False, 4: True} if large else None)
    assert audience.rows("a").tolist() == [row for row in range(size) if row != 3]


def test_changes_are_stored_alone_up_to_their_share_of_the_set() -> None:
    audience = Audience()
    audience.replace("a", np.arange(1024, dtype=np.int64))
    audience.mark_stored("a")
    for row in range(4):
        audience.discard("a", row)
    changes = dict.fromkeys(range(4), False)
    assert [audience.unstored("a", 1 / 16, before) for before in (0, 60, 61)] == [changes, changes, None]
