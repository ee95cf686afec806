"""What receipts say, and whose they are: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.providers.sms import smpp_receipts
from connectors.providers.sms.smpp_pdu import Party, ShortMessage
from connectors.providers.sms.smpp_receipts import IdForm, Receipt, SentMessages, SentText, read_receipt

TEXT = "id:{id} sub:001 dlvrd:001 submit date:2611282100 done date:2611282101 stat:{stat} err:{err} text:id:9 Hello"
TO = SentText("em_1", "ann", "s", at=1)


def message(
    stat: str = "DELIVRD", name: str = "0a1f", err: str = "000", kind: int = 4, tlvs: dict[int, bytes] | None = None
) -> ShortMessage:
    text = TEXT.format(id=name, stat=stat, err=err)
    return ShortMessage(Party(1, 1, "1"), Party(1, 1, "2"), text.encode(), esm_class=kind, tlvs=tlvs or {})


@pytest.mark.parametrize(
    ("stat", "err", "outcome", "reason"),
    [
        ("DELIVRD", "000", "delivered", None), ("UNDELIV", "027", "undelivered", "UNDELIV 027"),
        ("EXPIRED", "000", "undelivered", "EXPIRED"), ("REJECTD", "0c1", "failed", "REJECTD 0c1"),
        ("DELETED", "000", "failed", "DELETED"), ("ACCEPTD", "000", None, None), ("UNKNOWN", "000", None, None),
        ("ENROUTE", "000", None, None), ("UNDELIV", "<script>", "undelivered", "UNDELIV"),
    ],
)  # fmt: skip
def test_states(stat: str, err: str, outcome: str | None, reason: str | None) -> None:
    found = read_receipt(message(stat, err=err))
    assert found is not None
    assert (found.message_id, found.outcome, found.reason) == ("0a1f", outcome, reason)


def test_optional_fields_count_before_the_text() -> None:
    found = read_receipt(message("ACCEPTD", name="77", tlvs={0x1E: b"0a1f\0", 0x427: b"\x02"}))
    assert found == Receipt("0a1f", "delivered")


@pytest.mark.parametrize("kind", [0x00, 0x08, 0x10, 0x20])
def test_what_is_no_receipt_is_none(kind: int) -> None:
    assert read_receipt(message(kind=kind)) is None
    assert read_receipt(ShortMessage(Party(1, 1, "1"), Party(1, 1, "2"), b"stat:DELIVRD", esm_class=4)) is None


@given(st.binary(max_size=80), st.dictionaries(st.sampled_from([0x1E, 0x427]), st.binary(max_size=8)))
def test_no_bytes_crash_it(text: bytes, tlvs: dict[int, bytes]) -> None:
    found = read_receipt(ShortMessage(Party(1, 1, "1"), Party(1, 1, "2"), text, esm_class=4, tlvs=tlvs))
    assert found is None or found.outcome in (None, "delivered", "undelivered", "failed")


@pytest.mark.parametrize(
    ("form", "answered", "said"),
    [("same", "0A1F", "a1f"), ("decimal", "0a1f", "2591"), ("hex", "2591", "0A1F"), ("decimal", "abc-1", "abc-1")],
)
def test_a_message_is_found_by_its_number_in_either_form(form: IdForm, answered: str, said: str) -> None:
    sent = SentMessages(form)
    assert sent.sent(answered, TO) is None
    assert sent.find(Receipt(said, "delivered", by_text=True)) == TO
    assert sent.find(Receipt("another", "delivered")) is None


def test_a_number_of_digits_in_the_optional_field_is_in_the_form_of_the_answer() -> None:
    sent, other = SentMessages("decimal"), TO._replace(user="bob")
    sent.sent("0010", TO)
    sent.sent("000a", other)
    for tlvs, whose in (({0x1E: b"0010\0"}, TO), ({}, other)):
        receipt = read_receipt(message(name="10", tlvs=tlvs))
        assert receipt is not None
        assert sent.find(receipt) == whose


def test_a_receipt_that_comes_before_the_answer_is_given_with_it_once() -> None:
    sent = SentMessages("same")
    sent.expect(Receipt("2", None))
    sent.expect(Receipt("1", "delivered"))
    assert (sent.sent("1", TO), sent.sent("1", TO), sent.sent("2", TO)) == (Receipt("1", "delivered"), None, None)


def test_a_name_that_is_used_again_is_the_later_message_however_they_are_read() -> None:
    sent, later = SentMessages("same"), TO._replace(user="bob", at=2)
    for text in (TO, later, TO):
        sent.sent("1", text)
    assert sent.find(Receipt("1", "delivered")) == later


def test_what_is_remembered_is_bounded() -> None:
    sent, most = SentMessages("same"), smpp_receipts.EARLY_MAX
    for number in range(1, most + 2):
        sent.expect(Receipt(str(number), "delivered"))
    assert (sent.sent("1", TO), sent.sent("2", TO)) == (None, Receipt("2", "delivered"))
    for number in range(smpp_receipts.REMEMBERED_MAX):
        sent.sent(f"m{number}", TO)
    assert (sent.find(Receipt("2", "delivered")), sent.find(Receipt("m0", "delivered"))) == (None, TO)
