"""Row sets against Python's own sets, and what each kill switch reaches."""

from __future__ import annotations

import random

import numpy as np
import pytest

from state.audience import PACKED_MAX, Audience
from state.control import KillSwitches
from state.model.event import Event


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
    assert (audience.changed, audience.rows("a").tolist(), audience.rows("a").dtype) == (set(), [], np.int32)
    audience.add("a", 1)
    audience.changed.clear()
    audience.discard("a", 1)
    assert audience.changed == {"a"}


def _event(fan_out: str = "DIRECT") -> Event:
    return Event(event_id="e", type="t", sender_id="s", object="o", fan_out_type=fan_out)


@pytest.mark.parametrize(
    ("scope", "value", "direct", "segment"),
    [
        ("all", None, True, True),
        ("all", "anything", True, True),
        ("sender", "s", True, True),
        ("sender", "x", False, False),
        ("type", "t", True, True),
        ("type", "x", False, False),
        ("campaign", "o", False, True),
        ("campaign", "x", False, False),
        ("channel", "push", False, False),
    ],
)
def test_what_a_switch_stops(scope: str, value: str | None, direct: bool, segment: bool) -> None:
    kills = KillSwitches()
    assert not kills.stops(_event())
    kills.set(scope, value, on=True, place=7)
    assert (kills.stops(_event()), kills.stops(_event("SEGMENT")), kills.version) == (direct, segment, 7)
    assert kills.stops(_event("BROADCAST")) == segment
    assert not kills.stops(_event("FOLLOWERS")) or scope != "campaign"
    assert (kills.channel("push"), kills.channel("email")) == (scope == "channel", False)
    kills.set(scope, value, on=False, place=9)
    assert (kills.active, kills.version, kills.stops(_event("SEGMENT"))) == (set(), 9, False)


def test_two_switches_at_once() -> None:
    kills = KillSwitches()
    kills.set("channel", "push", on=True, place=1)
    kills.set("campaign", "o", on=True, place=2)
    assert kills.stops(_event("SEGMENT"))
    assert not kills.stops(_event())
    assert kills.channel("push")
