"""Audiences of a key group as they are stored: small ones whole, large ones with what changed since."""

from __future__ import annotations

import random

import numpy as np
import pytest
from helpers.stored_rows import StoredRows

from state.decide.audience import PACKED_MAX, Audience
from state.decide.audience_rows import BESIDE_MAX, BLOCK_SETS, AudienceRows
from state.disk.packing import pack, u32
from state.model.errors import StateDamagedError

NAMES = ["small", "star", "star\0more", "é"]


def loaded(
    stored: StoredRows, block_sets: int = BLOCK_SETS, beside_max: int = BESIDE_MAX
) -> tuple[Audience, AudienceRows]:
    audience, rows = Audience(), AudienceRows(b"F", 3, block_sets=block_sets, beside_max=beside_max)
    rows.load(audience, stored.of)
    return audience, rows


def facts(audience: Audience) -> dict[str, list[int]]:
    return {name: audience.rows(name).tolist() for name in audience.names()}


def change(audience: Audience, choose: random.Random) -> None:
    name = choose.choice([*NAMES, *[f"n{choose.randrange(len(audience) + 9)}"] * 5])
    row = choose.randrange(6 * PACKED_MAX if name in NAMES[1:] else 20)
    step = choose.random()
    if step < 0.003:
        audience.replace(name, np.arange(choose.choice([3, 4 * PACKED_MAX]), dtype=np.int64))
    elif step < 0.6:
        audience.add(name, row)
    else:
        audience.discard(name, row)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("block_sets", "beside_max"), [(BLOCK_SETS, BESIDE_MAX), (16, 3)])
def test_audiences_load_as_they_were(seed: int, block_sets: int, beside_max: int) -> None:
    """Also in blocks of so few sets that there are many."""
    choose, stored = random.Random(seed), StoredRows()
    audience, rows = loaded(stored, block_sets, beside_max)
    for name in NAMES[1:]:
        audience.replace(name, np.arange(0, 6 * PACKED_MAX, 2, dtype=np.int64))
    kinds = set()
    for _ in range(1500):
        change(audience, choose)
        if choose.random() < 0.1:
            rows.collect(audience, stored.put, stored.delete)
            again, rows_again = loaded(stored, block_sets, beside_max)
            assert facts(again) == facts(audience)
            kinds |= {key[:1] for key in stored.rows}
            small = [key for key, value in stored.rows.items() if key[:1] == b"F" and len(value) < 4 * PACKED_MAX]
            assert len(small) <= beside_max + len(NAMES), "no more wait outside of the blocks"
            if choose.random() < 0.3:
                audience, rows = again, rows_again
    assert kinds == {b"F", b"f", b"A", b"a"}, "the test met all forms"


def test_sets_in_a_row_each_become_blocks() -> None:
    """As releases without blocks kept them: loaded, and written in blocks, large ones as they are."""
    audience, stored = Audience(), StoredRows()
    for number in range(2 * BLOCK_SETS + 100):
        size = PACKED_MAX + 1 if number % 500 == 3 else number % 4
        audience.replace(f"name {number} é", np.arange(size, dtype=np.int64))
        stored.put(f"F\3name {number} é".encode(), pack(audience.stored(number)))
    again, rows = loaded(stored)
    assert facts(again) == facts(audience)
    large = [row for row in stored.of(b"F") if len(row[1]) > 4 * PACKED_MAX]
    rows.collect(again, stored.put, stored.delete)
    assert (len(stored.of(b"A")), stored.of(b"F"), rows.has_blocks) == (3, large, True)
    assert facts(loaded(stored)[0]) == facts(audience)
    written = dict(stored.rows)
    loaded(stored)[1].collect(loaded(stored)[0], stored.put, stored.delete)
    assert stored.rows == written, "once"


def test_a_set_beside_no_block_is_damage() -> None:
    stored = StoredRows()
    stored.put(b"a\3" + u32(7), pack(b""))
    with pytest.raises(StateDamagedError, match="no block has number 7"):
        loaded(stored)


def test_one_who_comes_rewrites_no_block_until_many_did() -> None:
    stored, audience, rows = StoredRows(), Audience(), AudienceRows(b"F", 3)
    for number in range(BLOCK_SETS):
        audience.add(f"name {number}", 7)
    rows.collect(audience, stored.put, stored.delete)
    block, stored.written = stored.written, 0
    for number in range(BESIDE_MAX):
        audience.add(f"name {number}", 8)
        rows.collect(audience, stored.put, stored.delete)
    assert (len(stored.rows), stored.written < block / 10) == (1 + BESIDE_MAX, True)
    audience.add("name 900", 8)
    rows.collect(audience, stored.put, stored.delete)
    assert len(stored.rows) == 1
    assert facts(loaded(stored)[0]) == facts(audience)


def test_one_who_comes_costs_no_star_and_changes_are_folded() -> None:
    stored, audience, rows = StoredRows(), Audience(), AudienceRows(b"F", 3)
    audience.replace("star", np.arange(10_000, dtype=np.int64))
    rows.collect(audience, stored.put, stored.delete)
    whole, stored.written = stored.written, 0
    audience.add("star", 20_000)
    rows.collect(audience, stored.put, stored.delete)
    assert (len(stored.rows), stored.written < whole / 1_000) == (2, True)
    for row in range(30_000, 30_700):
        audience.add("star", row)
    rows.collect(audience, stored.put, stored.delete)
    assert len(stored.rows) == 1, "folded"
    assert facts(loaded(stored)[0]) == facts(audience)
