"""What each kill switch reaches."""

from __future__ import annotations

import pytest

from state.decide.switches import KillSwitches
from state.model.event import Event


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
    assert kills.stops(_event("FOLLOWERS")) == direct
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


def test_what_is_away_is_no_switch_of_another_scope() -> None:
    kills = KillSwitches()
    kills.set("type", "like", on=True, place=1)
    assert kills.away == frozenset()
    kills.set("away", "push/ios", on=True, place=2)
    kills.set("away", None, on=True, place=3)
    assert kills.away == {"push/ios"}
