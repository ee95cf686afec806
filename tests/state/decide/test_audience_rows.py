"""Audiences of a key group as they are stored: small ones whole, large ones with what changed since."""

from __future__ import annotations

import random

import numpy as np
import pytest
from helpers.stored_rows import StoredRows

from state.decide.audience import PACKED_MAX, Audience
from state.decide.audience_rows import AudienceRows

NAMES = ["small", "star", "star\0more", "é"]


def loaded(stored: StoredRows) -> tuple[Audience, AudienceRows]:
    audience, rows = Audience(), AudienceRows(b"F", 3)
    rows.load(audience, stored.of(b"F"), stored.of(b"f"))
    return audience, rows


def facts(audience: Audience) -> dict[str, list[int]]:
    return {name: audience.rows(name).tolist() for name in audience.names()}


def change(audience: Audience, choose: random.Random) -> None:
    name = choose.choice(NAMES)
    row = choose.randrange(20 if name == "small" else 6 * PACKED_MAX)
    step = choose.random()
    if step < 0.003:
        audience.replace(name, np.arange(choose.choice([3, 4 * PACKED_MAX]), dtype=np.int64))
    elif step < 0.6:
        audience.add(name, row)
    else:
        audience.discard(name, row)


@pytest.mark.parametrize("seed", range(5))
def test_audiences_load_as_they_were(seed: int) -> None:
    choose = random.Random(seed)
    stored, audience, rows = StoredRows(), Audience(), AudienceRows(b"F", 3)
    for name in NAMES[1:]:
        audience.replace(name, np.arange(0, 6 * PACKED_MAX, 2, dtype=np.int64))
    kinds = set()
    for _ in range(1500):
        change(audience, choose)
        if choose.random() < 0.1:
            rows.collect(audience, stored.put, stored.delete)
            again, rows_again = loaded(stored)
            assert facts(again) == facts(audience)
            kinds |= {key[:1] for key in stored.rows}
            if choose.random() < 0.3:
                audience, rows = again, rows_again
    assert kinds == {b"F", b"f"}, "the test met both forms"


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
