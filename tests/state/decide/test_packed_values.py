"""Packed values against a dictionary."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.decide.packed_values import PackedValues, stretch_of_values
from state.model.arrow_stream import arrow_column

ROWS = st.integers(0, 40)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(ROWS, st.binary(max_size=30)), max_size=120))
def test_values_are_those_of_a_dictionary(stream: list[tuple[int, bytes]]) -> None:
    """Waste goes at once, so that a short stream meets it."""
    packed, plain = PackedValues(none=b"-", kept_waste=16), dict[int, bytes]()
    for row, value in stream:
        packed.put(row, value)
        plain[row] = value
        assert packed.get(row) == value
    assert list(packed.items()) == sorted(plain.items())
    assert [packed.get(row) for row in range(45)] == [plain.get(row) for row in range(45)]
    wanted = np.array([44, 3, 3, *plain, 41], np.int32)
    for rows in (wanted, np.unique(wanted), np.array(sorted(plain, key=packed._starts.__getitem__), np.int32)):
        assert arrow_column(packed.column(rows)).to_pylist() == [plain.get(row, b"-") for row in rows.tolist()]
    assert arrow_column(packed.column(wanted[:0])).to_pylist() == []


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_many_values_are_those_of_a_dictionary(values: list[bytes], dice: random.Random) -> None:
    """In any order, some of them twice, and with rows that have none."""
    packed = PackedValues(none=b"-")
    for row in dice.sample(range(len(values)), len(values)):
        packed.put(row, values[row])
    for ends in (len(values), len(values) + 3):
        rows = [dice.randrange(ends) for _ in range(400)]
        expected = [values[row] if row < len(values) else b"-" for row in rows]
        assert packed.column(np.array(rows, np.intp)).to_pylist() == expected
    packed.put(0, b"nothing holds the buffer any more")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.none() | st.binary(max_size=300), min_size=1, max_size=6), max_size=6))
def test_stretches_of_values_are_taken_over_and_replace_others(parts: list[list[bytes | None]]) -> None:
    packed, plain = PackedValues(none=b"-", kept_waste=16), list[bytes | None]()
    for part in parts:
        packed.extend(len(plain), stretch_of_values(part))
        plain += part
    assert [packed.get(row) for row in range(len(plain) + 3)] == [*plain, None, None, None]
    content, sizes = packed.stretch(range(len(plain)))
    assert (content, sizes.tolist()) == (stretch_of_values(plain)[0], stretch_of_values(plain)[1].tolist())
    assert content == b"".join(map(packed.stored, range(len(plain) + 3)))
    for part in parts:
        packed.replace(0, stretch_of_values(part))
        plain[: len(part)] = [old if new is None else new for old, new in zip(plain, part, strict=False)]
    assert [packed.get(row) for row in range(len(plain))] == plain
