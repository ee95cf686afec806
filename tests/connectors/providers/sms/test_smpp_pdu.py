"""PDUs as they are on the wire: against bytes written by hand from the specification, and read back whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.providers.sms.smpp_pdu import (
    BIND_TRANSCEIVER,
    Bind,
    BodyReader,
    Party,
    Pdu,
    PduReader,
    ShortMessage,
    read_bind,
    read_message,
    relative_time,
)
from state.model.errors import MalformedRecordError

BIND = bytes.fromhex("0000001f 00000009 00000000 00000001 6d6500 7077 00 00 34 00 00 00".replace(" ", ""))
SUBMIT = bytes.fromhex(
    "00 0500 436172696c6c6f6e00 0101 313431353535353031303000 40 00 00 00"
    "303030303030303030313330303030 5200 01 00 08 00 08 050003f60201017c 1400 0002 6162".replace(" ", "")
)


def test_a_bind_is_as_the_specification_writes_it() -> None:
    written = Pdu(BIND_TRANSCEIVER, 0, 1, Bind("me", "pw").encode()).encode()
    assert written[4:] == BIND[4:]
    assert int.from_bytes(written[:4]) == len(written)
    assert read_bind(written[16:]) == Bind("me", "pw")


def test_a_message_is_as_the_specification_writes_it() -> None:
    message = ShortMessage(
        Party(5, 0, "Carillon"), Party(1, 1, "14155550100"), bytes.fromhex("050003f60201017c"), esm_class=0x40,
        data_coding=8, validity=relative_time(90), registered_delivery=1, tlvs={0x1400: b"ab"},
    )  # fmt: skip
    assert message.encode() == SUBMIT
    assert read_message(SUBMIT) == message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "000000000001000R"), (59, "000000000059000R"), (3_661, "000000010101000R"), (90_000, "000001010000000R"),
     (10**9, "000028000000000R")],
)  # fmt: skip
def test_how_long_a_message_is_good(seconds: int, text: str) -> None:
    assert relative_time(seconds) == text


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 7))
def test_pdus_are_read_whole_however_the_bytes_come(bodies: list[bytes], step: int) -> None:
    pdus = [Pdu(4, 0, number, body) for number, body in enumerate(bodies, 1)]
    data = b"".join(pdu.encode() for pdu in pdus)
    reader = PduReader()
    assert [pdu for at in range(0, len(data), step) for pdu in reader.feed(data[at : at + step])] == pdus


@pytest.mark.parametrize("length", [0, 15, 65_537, 0xFFFFFFFF])
def test_a_length_that_cannot_be_is_refused(length: int) -> None:
    with pytest.raises(MalformedRecordError, match="command_length"):
        PduReader().feed(length.to_bytes(4) + bytes(12))


@given(st.integers(0, len(SUBMIT) - 1))
def test_a_body_that_is_cut_off_is_refused_or_has_fewer_optional_fields(length: int) -> None:
    try:
        assert read_message(SUBMIT[:length]).tlvs == {}
        assert length == len(SUBMIT) - 6
    except MalformedRecordError:
        assert length != len(SUBMIT) - 6


@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    for read in (read_message, read_bind, lambda data: BodyReader(data).tlvs()):
        try:
            read(body)
        except MalformedRecordError:
            continue
