"""Numbers that a lock screen must not show: of payment cards and of US social security (RULES 3.C). Pure.

A card number has 13 to 19 digits whose Luhn sum is right, in groups between spaces or dashes. It is looked for in every
stretch of whole groups, since another number may stand beside it. It does not begin with 0 or 1: no network of cards
issues such, and times in milliseconds begin so. Up to 15 digits behind a plus are a telephone number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate

EXEMPT = frozenset(("otp",))
"""Types whose codes may look like anything."""
_GAP = r"[\s\-\u00ad\u2010-\u2015\u2212\u200b-\u200d\u2060]{1,2}"
_DIGITS = re.compile(rf"\+?\d(?:(?:{_GAP})?\d){{8,}}")
DIGITS_MIN = 9
"""A text with fewer has no such number."""
_GROUP = re.compile(r"\d+")
_SECURITY = re.compile(r"(?!000|666|9)(\d{3}) (?!00)(\d\d) (?!0000)\d{4}")
_CARD_MIN, _CARD_MAX, _PHONE_MAX = 13, 19, 15
_SHOWN = 4


def may_have_private_number(values: Iterable[object]) -> bool:
    """A quick look at texts and numbers that counts digits, of which cleaning a text makes no more."""
    return any(isinstance(value, (str, int, float)) and _has_many_digits(str(value)) for value in values)


def _has_many_digits(text: str) -> bool:
    if not text.isascii():  # those of other scripts count, too
        return True
    return count_digits(text.encode()) >= DIGITS_MIN


def count_digits(letters: bytes) -> int:
    """How many of them are ASCII digits."""
    return len(letters) - len(letters.translate(None, b"0123456789"))


def has_private_number(text: str) -> bool:
    """Whether there is such a number in it."""
    return _has_many_digits(text) and next(_spans(text), None) is not None


def starred(text: str) -> str:
    """The text with a star for each digit of such numbers but the last four."""
    while spans := list(_spans(text)):
        hidden = set[int]()
        for begin, end in spans:
            hidden.update([place for place in range(begin, end) if text[place].isdecimal()][:-_SHOWN])
        text = "".join("*" if place in hidden else letter for place, letter in enumerate(text))
    return text


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where they are; they may overlap."""
    for run in _DIGITS.finditer(text):
        groups = [(found.start(), found.end()) for found in _GROUP.finditer(text, *run.span())]
        yield from _cards(text, groups, international=run[0].startswith("+"))
        threes = (groups[first : first + 3] for first in range(len(groups) - 2))
        yield from ((three[0][0], three[2][1]) for three in threes if _is_security(text, three))


def _cards(text: str, groups: list[tuple[int, int]], *, international: bool) -> Iterator[tuple[int, int]]:
    """In time that grows with the text alone, whatever is in it: sums up to each digit say those of every stretch."""
    digits = [int(digit) for start, end in groups for digit in text[start:end]]
    sums = _sums(digits, doubled=0), _sums(digits, doubled=1)
    ends = list(accumulate(end - start for start, end in groups))
    reached = 0
    for first, (start, _) in enumerate(groups):
        begin = ends[first - 1] if first else 0
        if digits[begin] in (0, 1):
            continue
        while reached < len(ends) and ends[reached] - begin < _CARD_MIN:
            reached += 1
        for last in range(reached, len(groups)):
            length = ends[last] - begin
            if length > _CARD_MAX:
                break
            is_phone = international and first == 0 and length <= _PHONE_MAX
            of_last = sums[ends[last] % 2]
            if (of_last[ends[last]] - of_last[begin]) % 10 == 0 and not is_phone:
                yield start, groups[last][1]


def _sums(digits: list[int], *, doubled: int) -> list[int]:
    """Luhn's sums of the first so many digits, if those at even (0) or odd (1) places count twice."""
    values = (digit * 2 - 9 * (digit > 4) if place % 2 == doubled else digit for place, digit in enumerate(digits))
    return list(accumulate(values, initial=0))


def _is_security(text: str, groups: list[tuple[int, int]]) -> bool:
    return _SECURITY.fullmatch(" ".join(text[start:end] for start, end in groups)) is not None
