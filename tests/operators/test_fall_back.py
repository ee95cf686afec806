"""Falling back to the next channel: pure."""

from __future__ import annotations

from itertools import permutations

from operators.fall_back import DEAD, FailedEnd, end_of_failed
from state.model.delivery import ChannelAddresses, DeviceAddress

PHONE = DeviceAddress("p", None, "+1", 0)


REST = (ChannelAddresses("push", ()), ChannelAddresses("sms", (PHONE,)), ChannelAddresses("email", (PHONE,)))


def end(others: list[str | None], *, killed: str = "", now: int = 5, policy: str = "first") -> FailedEnd:
    usable = lambda entry: entry.channel != killed  # noqa: E731 - shorter than a function
    return end_of_failed(others, REST, policy=policy, now=now, valid_until=5, usable=usable)


def test_the_next_channel_with_an_address_and_no_kill_switch() -> None:
    assert end([]) == ("FELL_BACK", "sms", 2)
    assert end(["DEAD_LETTER"]) == ("FELL_BACK", "sms", 2)
    assert end([], killed="sms") == ("FELL_BACK", "email", 3)
    assert end([], policy="push_first") == ("FELL_BACK", "sms", 2)


def test_no_fall_back_when_another_device_was_reached_may_have_been_or_is_tried() -> None:
    for outcomes in permutations(["DELIVERED", "DEAD_LETTER"]):
        assert end(list(outcomes)) == DEAD
    assert end(["UNKNOWN"]) == DEAD
    assert end([None]) == DEAD


def test_no_fall_back_after_the_ttl_nor_with_policy_all() -> None:
    assert end([], now=6) == DEAD
    assert end([], policy="all") == DEAD
