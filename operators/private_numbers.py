"""Numbers that a lock screen must not show: of payment cards and of US social security (RULES 3.C). Pure.

A card number has 13 to 19 digits whose Luhn sum is right, in groups between spaces or dashes. It is looked for in every
stretch of whole groups, since another number may stand beside it. It does not begin with 0 or 1: no network of cards
issues such, and times in milliseconds begin so. Up to 15 digits behind a plus are a telephone number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

EXEMPT = frozenset(("otp",))
"""Types whose codes may look like anything."""
_GAP = r"[\s\-\u00ad\u2010-\u2015\u2212\u200b-\u200d\u2060]{1,2}"
_DIGITS = re.compile(rf"\+?\d(?:(?:{_GAP})?\d){{8,}}")
_GROUP = re.compile(r"\d+")
_SECURITY = re.compile(r"(?!000|666|9)(\d{3}) (?!00)(\d\d) (?!0000)\d{4}")
_CARD_MIN, _CARD_MAX, _PHONE_MAX = 13, 19, 15
_SHOWN = 4


def has_private_number(text: str) -> bool:
    """Whether there is such a number in it."""
    return next(_spans(text), None) is not None


def starred(text: str) -> str:
    """The text with a star for each digit of such numbers but the last four."""
    for begin, end in list(_spans(text)):
        digits = [place for place in range(begin, end) if text[place].isdecimal()]
        hidden = set(digits[:-_SHOWN])
        text = "".join("*" if place in hidden else letter for place, letter in enumerate(text))
    return text


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where they are; they may overlap."""
    for run in _DIGITS.finditer(text):
        groups = [(found.start(), found.end()) for found in _GROUP.finditer(text, *run.span())]
        international = run[0].startswith("+")
        for first in range(len(groups)):
            yield from _beginning_at(
                text, groups[first : first + _CARD_MAX], international=international and first == 0
            )


def _beginning_at(text: str, groups: list[tuple[int, int]], *, international: bool) -> Iterator[tuple[int, int]]:
    digits, begin = "", groups[0][0]
    for number, (start, end) in enumerate(groups):
        digits += text[start:end]
        if len(digits) > _CARD_MAX:
            return
        is_phone = international and len(digits) <= _PHONE_MAX
        if (_is_card(digits) and not is_phone) or (number == 2 and _is_security(text, groups[:3])):
            yield begin, end


def _is_card(digits: str) -> bool:
    values = [int(digit) for digit in digits]
    if len(values) < _CARD_MIN or values[0] in (0, 1):
        return False
    doubled = (value * 2 - 9 * (value > 4) for value in values[-2::-2])
    return (sum(values[-1::-2]) + sum(doubled)) % 10 == 0


def _is_security(text: str, groups: list[tuple[int, int]]) -> bool:
    return _SECURITY.fullmatch(" ".join(text[start:end] for start, end in groups)) is not None
