"""Texts keep what languages, names and flags are made of, and are cut where a person would cut them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.text import clean, clip, shorten
from state.model.gsm import is_gsm, units


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cروم",  # Persian: the non-joiner shapes letters
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
        "\U0001faea",  # newer than Python's own table
        "\U00032000",  # not assigned yet
        "\u06dd",  # end of ayah, a format character that is seen
        "\u200f\u05e9\u05dc\u05d5\u05dd\u200e!",
        "👩🏽\u200d🚀",
        "ส\u200bวัสดี",
        "\uf8ff",
        "one\ntwo",
    ],
)
def test_what_belongs_to_a_text_stays(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\u202eb", "ab"),
        ("a\u2066b\u2069", "ab"),
        ("a\x00\x07b\x7f", "ab"),
        ("a\x1b[31mb", "a[31mb"),
        ("Total:\t5", "Total: 5"),
        ("a\u2028b\u2029c\x85d\re", "a b c d e"),
        ("a\ud800b", "ab"),
        ("\ufeffa", "a"),
    ],
)
def test_what_does_harm_goes_and_no_words_are_glued(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc..."),
        ("ab cdefg", 6, "ab..."),
        ("äbcdefg", 6, "äbc..."),
        ("{{{{", 7, "{{..."),  # two septets each
        ("żbcdefg", 6, "żbcde…"),
        ("👩🏽\u200d🚀👩🏽\u200d🚀👩🏽\u200d🚀", 16, "👩🏽\u200d🚀👩🏽\u200d🚀…"),  # seven units each
        ("🇫🇷🇩🇪🇮🇹", 9, "🇫🇷🇩🇪…"),
        ("abcde\u0301f", 6, "abcd…"),
    ],
)
def test_a_text_is_cut_between_characters_as_people_see_them(text: str, limit: int, cut: str) -> None:
    assert clip(text, limit) == cut


@settings(deadline=None)
@given(st.text(), st.integers(3, 60))
def test_a_cut_text_is_within_its_limit_and_keeps_its_encoding(text: str, limit: int) -> None:
    text = clean(text)
    cut = shorten(text, limit)
    assert units(cut) <= limit
    assert is_gsm(cut) or not is_gsm(text)
    assert cut == text or cut.endswith(("...", "…"))


def test_a_text_message_that_was_cut_has_no_more_parts_than_a_full_one() -> None:
    assert units(clip("a" * 481, 480)) == 480
    assert units(clip("😀" * 480, 480)) == 479
