"""A text message is measured as it is paid, and cut where phones join it again.

Reads ../shared/data (skipped only where that folder is absent).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.model.gsm import GSM_BASIC, GSM_EXTENDED, PARTS_MAX, is_gsm, sms_parts, units

VECTORS = Path(__file__).resolve().parents[4] / "shared/data/vectors"


@pytest.mark.skipif(not VECTORS.exists(), reason="../shared/data is absent")
def test_lengths_and_parts_are_those_of_a_provider_s_own_calculator() -> None:
    charset = json.loads((VECTORS / "gsm_charset.json").read_text())
    assert {ord(c) for c in GSM_BASIC + GSM_EXTENDED} == set(charset["gsm7"])
    assert {ord(c) for c in GSM_EXTENDED} == set(charset["two_septets"])
    for case in json.loads((VECTORS / "gsm_segments.json").read_text()):
        if "\r" not in case["text"]:
            assert is_gsm(case["text"]) == (case["encoding"] == "GSM-7"), case["name"]
            assert units(case["text"]) * (7 if is_gsm(case["text"]) else 16) == case["messageSize"], case["name"]
            assert len(sms_parts(case["text"]).parts) == case["segments"], case["name"]


@pytest.mark.parametrize(
    ("text", "coded"),
    [("@aé_", b"\x00a\x05\x11"), ("Æ É", b"\x1c \x1f"), ("€[", b"\x1be\x1b<"), ("żb", b"\x01\x7c\x00b"), ("", b"")],
)
def test_characters_have_their_codes(text: str, coded: bytes) -> None:
    assert sms_parts(text).parts == (coded,)


def test_neither_an_escape_nor_a_pair_is_torn() -> None:
    first, second = sms_parts("a" * 152 + "{" * 10).parts
    assert (len(first), second[:2]) == (152, b"\x1b(")
    first, second = sms_parts("ż" * 66 + "😀" * 3).parts
    assert (len(first), len(second)) == (132, 12)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_the_parts_are_the_text(text: str) -> None:
    found = sms_parts(text)
    room = 153 if found.gsm else 134
    assert len(found.parts) == 1 or all(len(part) <= room for part in found.parts)
    if not found.gsm:
        assert b"".join(found.parts).decode("utf-16-be") == text


def test_more_parts_than_can_be_counted_are_refused() -> None:
    assert len(sms_parts("a" * 153 * PARTS_MAX).parts) == PARTS_MAX
    with pytest.raises(ValueError, match="256 parts"):
        sms_parts("a" * (153 * PARTS_MAX + 1))
