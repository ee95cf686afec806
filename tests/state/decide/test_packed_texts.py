"""Packed texts against a dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.decide.packed_texts import PackedTexts, encoded, stretch_of
from state.model.arrow_stream import arrow_column
from state.model.keys import user_hash

NAMES = st.text(st.sampled_from("ab\0é\U0001f514\ud800"), max_size=3)


def alike(content: bytes) -> int:
    """A hash that many texts share."""
    return len(content) % 2 << 63


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(NAMES, st.lists(NAMES, max_size=60)), max_size=60), st.booleans())
def test_texts_have_the_numbers_of_a_dictionary(stream: list[str | list[str]], collide: bool) -> None:
    """One by one, and many at once; also where hashes are alike."""
    packed, plain = PackedTexts(alike) if collide else PackedTexts(), dict[str, int]()
    for step in stream:
        if isinstance(step, str):
            assert packed.find(step) == plain.get(step)
            assert packed.add(step) == plain.setdefault(step, len(plain))
            continue
        new = [name for name in dict.fromkeys(step) if name not in plain]
        packed.extend(stretch_of(new, np.array([packed._digest(encoded(name)) for name in new], np.uint64)))
        plain |= {name: number for number, name in enumerate(new, len(plain))}
    assert (list(packed), len(packed)) == (list(plain), len(plain))
    assert [packed.find(name) for name in plain] == list(plain.values())
    assert packed.find("absent") is None
    chosen = np.arange(len(plain), dtype=np.int32)[::-2]
    taken, names = packed.take(chosen), list(plain)[::-2]
    assert taken.content == b"".join(map(encoded, names))
    assert taken.lengths.tolist() == [len(encoded(name)) for name in names]
    if "\ud800" not in "".join(plain):
        assert packed.array().to_pylist() == list(plain)
        assert arrow_column(packed.column(chosen)).to_pylist() == names
        many = np.resize(chosen, 1_200 if names else 0)
        assert arrow_column(packed.column(many)).to_pylist() == [packed[number] for number in many.tolist()]
    if not collide:
        assert packed.hash[: len(packed)].tolist() == [user_hash(name) for name in plain]


LONGER = st.text(st.sampled_from("ab\0é\ud800"), max_size=25)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(LONGER, max_size=60, unique=True), max_size=8), st.booleans())
def test_many_at_once_have_the_numbers_of_each(stream: list[list[str]], collide: bool) -> None:
    """Some of them known, some of them new; also where hashes are alike."""
    packed, plain = PackedTexts(alike) if collide else PackedTexts(), dict[str, int]()
    for names in stream:
        hashes = np.array([packed._digest(encoded(name)) for name in names], np.uint64)
        for name, number in zip(names, packed.add_all(stretch_of(names, hashes)).tolist(), strict=True):
            assert plain.setdefault(name, number) == number
    assert sorted(plain.values()) == list(range(len(packed)))
    assert {packed[number]: number for number in range(len(packed))} == plain
    assert all(packed.find(name) == number for name, number in plain.items())


def test_a_text_is_found_without_building_the_table_again() -> None:
    packed = PackedTexts()
    for number in range(400):
        packed.add(str(number))
        packed.find("0")
        built = packed._slots
        packed.find("absent")
        assert packed._slots is built
