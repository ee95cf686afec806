"""What clients and servers of SMPP 3.4 write to each other: PDUs as bytes. Pure.

A PDU is four numbers of 32 bits, big-endian: command_length (of all of it), command_id, command_status and
sequence_number. Then come the fields of its command in a fixed order, texts of them ending with a zero byte, then
optional ones: tag and length of 16 bits each, and the value. A PDU that answers has the highest bit of command_id set
and the number of what it answers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from state.model.errors import MalformedRecordError

GENERIC_NACK, BIND_RECEIVER, BIND_TRANSMITTER, SUBMIT_SM, DELIVER_SM = 0x80000000, 0x1, 0x2, 0x4, 0x5
UNBIND, BIND_TRANSCEIVER, ENQUIRE_LINK = 0x6, 0x9, 0x15
ANSWER = 0x80000000
"""The bit of command_id that an answer has."""
VERSION = 0x34
OK, LATER = 0x0, 0x08
"""ESME_ROK; ESME_RSYSERR, after which the SMSC says it again."""
UDH, RECEIPT = 0x40, 0x04
"""Bits of esm_class: the text begins with a header; it is a receipt."""
GSM_CODING, UCS2_CODING = 0x00, 0x08
RECEIPTED_MESSAGE_ID, MESSAGE_STATE, MESSAGE_PAYLOAD = 0x1E, 0x427, 0x424
PDU_MAX_BYTES = 65_536
_HEAD = struct.Struct(">IIII")
_TLV = struct.Struct(">HH")


@dataclass(frozen=True, slots=True)
class Pdu:
    """One of them; `body` is what follows its head."""

    command: int
    status: int
    sequence: int
    body: bytes = b""

    def encode(self) -> bytes:
        """As it is written."""
        return _HEAD.pack(_HEAD.size + len(self.body), self.command, self.status, self.sequence) + self.body


class PduReader:
    """Takes bytes as they come and gives whole PDUs."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Pdu]:
        """Those that are whole by now.

        :raises MalformedRecordError: these bytes are no PDU, and what follows them cannot be told apart any more.
        """
        self._data += data
        found = []
        while len(self._data) >= _HEAD.size:
            length, command, status, sequence = _HEAD.unpack_from(self._data)
            if not _HEAD.size <= length <= PDU_MAX_BYTES:
                raise MalformedRecordError(f"smpp: command_length {length}")
            if len(self._data) < length:
                break
            found.append(Pdu(command, status, sequence, bytes(self._data[_HEAD.size : length])))
            del self._data[:length]
        return found


@dataclass(frozen=True, slots=True)
class Party:
    """Who sends or receives: a number or a name, and of which kind it is."""

    ton: int
    npi: int
    address: str


@dataclass(frozen=True, slots=True)
class ShortMessage:
    """The body of submit_sm and deliver_sm."""

    source: Party
    destination: Party
    text: bytes
    """With its header, where `esm_class` says so."""
    esm_class: int = 0
    data_coding: int = GSM_CODING
    validity: str = ""
    """How long it is worth being delivered, as `relative_time` gives it; empty: as the SMSC thinks."""
    registered_delivery: int = 0
    tlvs: Mapping[int, bytes] = field(default_factory=dict)
    """Optional fields, by tag."""

    def encode(self) -> bytes:
        """As it follows the head."""
        head = c_text("") + _party(self.source) + _party(self.destination) + bytes((self.esm_class, 0, 0))
        middle = c_text("") + c_text(self.validity) + bytes((self.registered_delivery, 0, self.data_coding, 0))
        return head + middle + bytes((len(self.text),)) + self.text + tlvs_encoded(self.tlvs)


def read_message(body: bytes) -> ShortMessage:
    """:raises MalformedRecordError: it is cut off, or longer than its fields."""
    fields = BodyReader(body)
    fields.text()  # service_type
    source, destination = fields.party(), fields.party()
    esm_class, _, _ = fields.take(3)
    fields.text()  # schedule_delivery_time
    validity = fields.text()
    registered, _, coding, _, length = fields.take(5)
    text = fields.take(length)
    tlvs = fields.tlvs()
    text = text or tlvs.get(MESSAGE_PAYLOAD, b"")
    return ShortMessage(source, destination, text, esm_class, coding, validity, registered, tlvs)


@dataclass(frozen=True, slots=True)
class Bind:
    """The body of a bind."""

    system_id: str
    password: str
    system_type: str = ""
    version: int = VERSION

    def encode(self) -> bytes:
        """As it follows the head; for numbers of any kind."""
        texts = c_text(self.system_id) + c_text(self.password) + c_text(self.system_type)
        return texts + bytes((self.version, 0, 0)) + c_text("")


def read_bind(body: bytes) -> Bind:
    """:raises MalformedRecordError: it is cut off."""
    fields = BodyReader(body)
    return Bind(fields.text(), fields.text(), fields.text(), fields.take(1)[0])


class BodyReader:
    """Reads a body from its beginning."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def take(self, count: int) -> bytes:
        """:raises MalformedRecordError: there are fewer."""
        found = self._body[self._at : self._at + count]
        if len(found) < count:
            raise MalformedRecordError("smpp: a body is cut off")
        self._at += count
        return found

    def text(self) -> str:
        """Up to the next zero byte.

        :raises MalformedRecordError: there is none.
        """
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise MalformedRecordError("smpp: a text without an end")
        found = self._body[self._at : end].decode("latin-1")
        self._at = end + 1
        return found

    def party(self) -> Party:
        """:raises MalformedRecordError: it is cut off."""
        ton, npi = self.take(2)
        return Party(ton, npi, self.text())

    def tlvs(self) -> Mapping[int, bytes]:
        """All that is left; of one tag the last one counts.

        :raises MalformedRecordError: it is cut off.
        """
        return dict(self._tlvs())

    def _tlvs(self) -> Iterator[tuple[int, bytes]]:
        while self._at < len(self._body):
            tag, length = _TLV.unpack(self.take(_TLV.size))
            yield tag, self.take(length)


def c_text(text: str) -> bytes:
    """A text and its zero byte. What is not in Latin-1 or has a zero byte is a ValueError."""
    if "\0" in text:
        raise ValueError("a text with a zero byte")
    return text.encode("latin-1") + b"\0"


def _party(party: Party) -> bytes:
    return bytes((party.ton, party.npi)) + c_text(party.address)


def tlvs_encoded(tlvs: Mapping[int, bytes]) -> bytes:
    """Optional fields as they are written."""
    return b"".join(_TLV.pack(tag, len(value)) + value for tag, value in tlvs.items())


def relative_time(seconds: int) -> str:
    """So long from now on, as SMPP writes it: years, months, days, hours, minutes, seconds. At most 28 days."""
    seconds = min(max(seconds, 1), 28 * 86_400)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"0000{day:02}{hour:02}{minute:02}{second:02}000R"
