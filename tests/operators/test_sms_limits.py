"""Where text messages may go and how many in an hour: by the time that is given, with a bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.sms_limits import OTHER, Destination, SmsGuard, SmsRules
from state.model.durations import HOUR_MS

T0 = 1_700_000_000_000


def guard(destinations: Mapping[str, Destination] = {}, others: Destination = Destination(), **rules: Any) -> SmsGuard:  # noqa: B008  # never changed
    return SmsGuard(SmsRules(destinations=destinations, others=others, **rules))


@pytest.mark.parametrize(
    ("number", "name", "price"),
    [("+4915112345", "+4915", 0.08), ("+4930123456", "+49", 0.07), ("+14155550100", OTHER, 0.5), ("+4", OTHER, 0.5)],
)
def test_the_longest_beginning_counts(number: str, name: str, price: float) -> None:
    found = guard({"+49": Destination(price=0.07), "+4915": Destination(price=0.08)}, Destination(price=0.5))
    assert (found.destination(number), found.price(number)) == (name, price)


def test_a_shut_destination_gets_nothing_and_counts_for_no_limit() -> None:
    found = guard(
        {"+49": Destination(), "+491": Destination(allowed=False)}, Destination(allowed=False), sender_per_h=1
    )
    assert found.refusal("+49151123", "shop", "otp", T0) == "sms_destination"
    assert found.refusal("+14155550100", "shop", "otp", T0) == "sms_destination"
    assert found.refusal("+4930123456", "shop", "otp", T0) is None


@pytest.mark.parametrize(
    ("rules", "same", "another"),
    [
        (
            {"destinations": {"+49": Destination(per_h=2)}}, ("+4930999999", "web", "reset"),
            ("+14155550100", "shop", "otp"),
        ),
        ({"others": Destination(per_h=2)}, ("+33612345678", "web", "reset"), None),
        ({"block_per_h": 2}, ("+4930123999", "web", "reset"), ("+4930124000", "shop", "otp")),
        ({"sender_per_h": 2}, ("+33612345678", "shop", "otp"), ("+4930123456", "shop", "reset")),
    ],
)  # fmt: skip
def test_a_limit_is_of_the_hour_that_its_first_message_begins(
    rules: dict[str, Any], same: tuple[str, str, str], another: tuple[str, str, str] | None
) -> None:
    found = guard(**rules)
    assert [found.refusal("+4930123456", "shop", "otp", T0 + at) for at in (0, HOUR_MS - 2)] == [None, None]
    assert found.refusal(*same, T0 + HOUR_MS - 1) == "sms_limit"
    if another is not None:
        assert found.refusal(*another, T0 + HOUR_MS - 1) is None
    assert found.refusal(*same, T0 + HOUR_MS) is None


def test_what_one_limit_refuses_counts_for_no_other() -> None:
    found = guard(block_per_h=1, sender_per_h=2)
    numbers = ["+4930123456", "+4930123457", "+4930123458", "+4930999999", "+4930888888"]
    answers = [found.refusal(number, "shop", "otp", T0) for number in numbers]
    assert answers == [None, "sms_limit", "sms_limit", None, "sms_limit"]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2 * HOUR_MS)), max_size=80), st.integers(1, 4))
def test_no_hour_of_a_block_has_more_than_its_limit_and_the_memory_is_bounded(
    asked: list[tuple[int, int]], most: int
) -> None:
    found, taken = guard(block_per_h=most, hours_max=10), dict[int, list[int]]()
    began: dict[int, int] = {}
    for block, at in sorted(asked, key=lambda each: each[1]):
        if found.refusal(f"+4930{block:04}123", "shop", "otp", T0 + at) is None:
            taken.setdefault(block, []).append(at)
        began.setdefault(block, at)
    assert len(found._hours) <= 10  # that it is bounded is what is tested
    if len(began) <= 10:
        for times in taken.values():
            assert all(sum(first <= at < first + HOUR_MS for at in times) <= 2 * most for first in times)
            assert len(times) <= most * (2 + (max(times) - min(times)) // HOUR_MS)


def test_what_is_refused_pushes_out_nothing_that_counts() -> None:
    """Numbers of other blocks each: the hour of their destination stays, however many they are."""
    limits = guard({"+44": Destination(per_h=100)}, block_per_h=2, hours_max=1_000)
    sent = sum(
        limits.refusal(f"+44{number:010}", "s", "t", number // 100) is None for number in range(0, 5_000_000, 1_000)
    )
    assert sent == 100
