"""Card and social security numbers in texts for lock screens: pure."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.private_numbers import has_private_number, starred


def with_check_digit(digits: str) -> str:
    """The plain way, from right to left."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value if value < 10 else value - 9
    return digits + str(-total % 10)


cards = st.from_regex(r"[2-9][0-9]{11,17}", fullmatch=True).map(with_check_digit)
gaps = st.sampled_from([" ", "-", "\u00a0", "\u2011", "\u2013", "\n", "\u200b", "- "])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("4111111111111111", "************1111"),
        ("pay with 4111 1111 1111 1111 now", "pay with **** **** **** 1111 now"),
        ("3782-822463-10005", "****-******-*0005"),
        ("4222222222222", "*********2222"),
        ("on 2026 4111 1111 1111 1111 for 12", "on 2026 **** **** **** 1111 for 12"),
        ("\uff14\uff11\uff11\uff11 1111 1111 1111", "**** **** **** 1111"),
        ("SSN 123-45-6789.", "SSN ***-**-6789."),
        ("123 45 6789", "*** ** 6789"),
    ],
)
def test_what_is_hidden(text: str, shown: str) -> None:
    assert has_private_number(text)
    assert starred(text) == shown
    assert not has_private_number(shown)


@pytest.mark.parametrize(
    "text",
    [
        "", "Ada liked your photo", "4111 1111 1111 1112", "code 123456", "call +4915112345678", "+1 415 555 2671",
        "1700000000004", "0000000000000000", "41111111111111111111", "2026-11-29", "000-12-3456", "666-12-3456",
        "900-12-3456", "123-00-6789", "123-45-0000", "1234-5-6789", "123456789", "room 411, 1111, 1111, 1111 1111",
    ],
)  # fmt: skip
def test_what_is_left_as_it_is(text: str) -> None:
    assert not has_private_number(text)
    assert starred(text) == text


def test_a_plus_hides_no_card() -> None:
    assert starred("+4111 1111 1111 1111") == "+**** **** **** 1111"


@given(cards, st.data())
def test_every_card_is_found_however_it_is_grouped_and_whatever_is_beside_it(card: str, data: st.DataObject) -> None:
    ends = sorted(data.draw(st.sets(st.integers(1, len(card) - 1), max_size=5)))
    groups = [card[begin:end] for begin, end in zip([0, *ends], [*ends, len(card)], strict=True)]
    grouped = "".join(group + data.draw(gaps) for group in groups[:-1]) + groups[-1]
    beside = st.sampled_from(["", "x ", "1 ", "2026 ", "no. "])
    text = data.draw(beside) + grouped + data.draw(beside)[::-1]
    assert has_private_number(text)
    assert not has_private_number(starred(text))
    assert len(starred(text)) == len(text)


@given(st.text("0123456789 -+*ab", max_size=60))
def test_what_is_masked_once_is_masked(text: str) -> None:
    once = starred(text)
    assert starred(once) == once
    assert re.sub(r"[0-9*]", "", once) == re.sub(r"[0-9*]", "", text)
