"""Local numbers against a dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.decide.local_numbers import LocalNumbers

NUMBERS = st.integers(0, 1 << 31 - 1) | st.integers(0, 40)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(NUMBERS, st.lists(NUMBERS, max_size=90)), max_size=60))
def test_numbers_are_those_of_a_dictionary(stream: list[int | list[int]]) -> None:
    """One by one, and many at once."""
    packed, plain = LocalNumbers(), dict[int, int]()
    for step in stream:
        if isinstance(step, int):
            assert packed.find(step) == plain.get(step)
            assert packed.add(step) == plain.setdefault(step, len(plain))
            continue
        new = [number for number in dict.fromkeys(step) if number not in plain]
        packed.extend(np.array(new, np.int32))
        plain |= {number: local for local, number in enumerate(new, len(plain))}
    assert [packed.find(number) for number in plain] == list(plain.values())
    assert [packed[local] for local in range(len(packed))] == list(plain)
    assert packed.part(slice(1, 4)).tolist() == list(plain)[1:4]


def test_neighbours_are_found_in_a_full_table() -> None:
    packed = LocalNumbers()
    packed.extend(np.arange(0, 50_000, 2, dtype=np.int32))
    for number in range(0, 50_000, 7):
        assert packed.find(number) == (None if number % 2 else number // 2)
