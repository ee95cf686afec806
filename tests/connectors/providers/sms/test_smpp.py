"""What an SMSC's answers mean, and what messages to it say: pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.deliveries import REGISTERED, delivery
from hypothesis import given
from hypothesis import strategies as st

from connectors.providers.channel import Failed, Rejected, Result, Sent, Throttled
from connectors.providers.sms.smpp import build_request, of_all_parts, parse_response
from connectors.providers.sms.smpp_options import SmppOptions
from connectors.providers.sms.smpp_pdu import SUBMIT_SM, Party, Pdu, read_message
from state.model.content import SmsContent
from state.model.gsm import sms_parts

OPTIONS = SmppOptions(host="smsc.example", system_id="me", password="pw", sender="+15005550006")  # no secret
NOW_MS = 1_700_000_000_000
TEXT = delivery(SmsContent("Your code is 123456"), address="+14155550100", expires_at=NOW_MS + 61_500)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x00, Sent("0a1f")),
        (0x58, Throttled(None, "status 0x58")),
        (0x14, Throttled(None, "status 0x14")),
        (0x0B, Rejected("status 0xb", token_gone=REGISTERED)),
        (0x08, Failed("status 0x8")),
        (0x45, Failed("status 0x45")),
        (0x0D, Failed("status 0xd")),
        (0x0A, Failed("status 0xa")),
        (0x43, Rejected("status 0x43")),
        (0x65, Rejected("status 0x65")),
        (0x64, Failed("status 0x64")),
        (0x4FF, Failed("status 0x4ff")),
    ],
)
def test_statuses(status: int, expected: Result) -> None:
    assert parse_response(Pdu(SUBMIT_SM, status, 1, b"0a1f\0"), TEXT) == expected


@given(st.integers(0, 0xFFFFFFFF), st.binary(max_size=100))
def test_no_answer_crashes_or_leaks_into_the_result(status: int, body: bytes) -> None:
    result = parse_response(Pdu(SUBMIT_SM, status, 1, body), TEXT)
    assert isinstance(result, Sent | Rejected | Throttled | Failed)
    assert not isinstance(result, Sent) or (status == 0 and 0 < len(result.provider_id) <= 64)


@pytest.mark.parametrize("body", [b"", b"\0", b"a" * 65 + b"\0", b"no end", b"\x07\0"])
def test_a_name_that_is_none_is_replaced_by_ours(body: bytes) -> None:
    assert parse_response(Pdu(SUBMIT_SM, 0, 1, body), TEXT) == Sent(TEXT.provider_id)


def test_a_short_text_is_one_message() -> None:
    (body,) = build_request(TEXT, OPTIONS, now_ms=NOW_MS)
    message = read_message(body)
    assert (message.source, message.destination) == (Party(1, 1, "15005550006"), Party(1, 1, "14155550100"))
    assert (message.text, message.esm_class, message.data_coding) == (b"Your code is 123456", 0, 0)
    assert (message.validity, message.tlvs) == ("000000000101000R", {})
    (tagged,) = build_request(TEXT, replace(OPTIONS, id_tag=0x1400), now_ms=NOW_MS)
    assert read_message(tagged).tlvs == {0x1400: b"pid"}


@pytest.mark.parametrize(("sender", "party"), [("72404", Party(0, 1, "72404")), ("Carillon", Party(5, 0, "Carillon"))])
def test_a_sender_is_a_number_a_short_code_or_a_name(sender: str, party: Party) -> None:
    (body,) = build_request(TEXT, replace(OPTIONS, sender=sender), now_ms=NOW_MS)
    assert read_message(body).source == party


@pytest.mark.parametrize(("text", "coding", "count"), [("a" * 400, 0, 3), ("ż" * 100, 8, 2)])
def test_a_long_text_is_parts_of_one_reference(text: str, coding: int, count: int) -> None:
    long = replace(TEXT, content=SmsContent(text))
    messages = [read_message(body) for body in build_request(long, OPTIONS, now_ms=NOW_MS)]
    heads = [message.text[:6] for message in messages]
    assert {(message.esm_class, message.data_coding) for message in messages} == {(0x40, coding)}
    assert [(*head[:3], *head[4:]) for head in heads] == [(5, 0, 3, count, n + 1) for n in range(count)]
    assert len({head[3] for head in heads}) == 1
    assert tuple(message.text[6:] for message in messages) == sms_parts(text).parts
    assert build_request(long, OPTIONS, now_ms=NOW_MS) == build_request(long, OPTIONS, now_ms=NOW_MS)


LOST, BUSY, NO, DOWN = Failed("x", ambiguous=True), Throttled(None, "t"), Rejected("r"), Failed("y")


@pytest.mark.parametrize(
    ("results", "whole"),
    [
        ([Sent("1"), Sent("2")], Sent("2")), ([Sent("1"), LOST], LOST), ([LOST, DOWN], DOWN), ([LOST, NO], NO),
        ([LOST, BUSY, Sent("3")], BUSY), ([BUSY, NO], NO),
    ],
)  # fmt: skip
def test_a_text_is_taken_when_all_of_its_parts_are(results: list[Result], whole: Result) -> None:
    """What is certainly not whole at the SMSC is no doubt: it may be tried again."""
    assert of_all_parts(results) == whole


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"host": ""}, "host"), ({"security": "none"}, "security"),
        ({"security": "none", "host": "9.9.9.9"}, "security"),
        ({"system_id": ""}, "system_id"), ({"system_id": "a" * 16}, "system_id"), ({"password": "a" * 9}, "password"),
        ({"sender": "a name that is long"}, "sender"), ({"sender": ""}, "sender"), ({"id_tag": 0x1E}, "id_tag"),
        ({"rate_per_s": 0.0}, "rate_per_s"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_options(wrong: dict[str, Any], key: str) -> None:
    assert not [*OPTIONS.faults()]
    assert not [*replace(OPTIONS, security="none", host="10.0.0.7").faults()]
    (fault,) = replace(OPTIONS, **wrong).faults()
    assert fault.startswith(f"providers.smpp.{key}: ")
    assert "pw" not in repr(OPTIONS)
