"""An SMSC: a server that speaks SMPP 3.4 over TLS.

The journal's `id` is what the optional field `ID_TAG` holds, `body_sha256` is over the text of each part as it came,
`status` one of the numbers below, 200 for a message that was taken and 401 for one of nobody who is bound. Numbers
choose the answer: those that are no telephone number, `+15005550001` (invalid), and `+1999SSSM...` as at
`connectors.sandbox.twilio`. The statuses that steering and numbers ask for stand for those of SMPP:

| asked for | answered |
|---|---|
| `429` | 0x58, throttled |
| `503` | 0x14, the queue is full |
| `500` | 0x08, system error |
| `502` | 0x45, the submit failed |
| `400` | 0x43, invalid esm_class |
| any other | 0xff, unknown error |
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import cast

from connectors.providers.sms.smpp_pdu import (
    ANSWER,
    BIND_RECEIVER,
    BIND_TRANSCEIVER,
    BIND_TRANSMITTER,
    ENQUIRE_LINK,
    GENERIC_NACK,
    OK,
    SUBMIT_SM,
    UCS2_CODING,
    UDH,
    UNBIND,
    Pdu,
    PduReader,
    ShortMessage,
    c_text,
    read_bind,
    read_message,
)
from connectors.sandbox.http2 import BYTE_EVERY_S, GARBLED
from connectors.sandbox.journal import Entry, Journal
from connectors.sandbox.misbehaviour import OF_TLS, Behaviour, Misbehaviours
from state.model.errors import MalformedRecordError
from state.model.gsm import GSM_BASIC

ID_TAG = 0x1400
NAME = "sandbox"
_INVALID = "+15005550001"
_CHOSEN = re.compile(r"\+1999([0-9]{3})([0-9])")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_BAD_COMMAND, _NOT_BOUND, _BAD_PASSWORD, _BAD_ADDRESS, _UNKNOWN = 0x03, 0x04, 0x0E, 0x0B, 0xFF
_OF_STATUS = {429: 0x58, 503: 0x14, 500: 0x08, 502: 0x45, 400: 0x43}
_BINDS = (BIND_RECEIVER, BIND_TRANSMITTER, BIND_TRANSCEIVER)


class Smsc:
    """What all connections share."""

    def __init__(self, journal: Journal, system_id: str, password: str) -> None:
        self.journal = journal
        self.system_id, self.password = system_id, password
        self.misbehaviours = Misbehaviours(OF_TLS)
        self._numbers = iter(range(1, 1 << 62))

    def next_id(self) -> str:
        """The name of a message that was taken."""
        return f"{next(self._numbers):010x}"

    def behaviour(self, number: str) -> Behaviour:
        """What the number asks for."""
        chosen = _CHOSEN.match(number)
        if number == _INVALID or not _NUMBER.fullmatch(number):
            return Behaviour("bad")
        if chosen is None:
            return self.misbehaviours.of("", number)
        status, times = chosen.group(1), int(chosen.group(2))
        if status in ("000", "001"):
            return Behaviour("hang" if status == "000" else "drop")
        return self.misbehaviours.refusal(number, int(status), times)


class SmscConnection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, smsc: Smsc) -> None:
        self._smsc, self._reader, self._bound = smsc, PduReader(), False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # the fast loop's transports have no common class

    def data_received(self, data: bytes) -> None:
        try:
            for pdu in self._reader.feed(data):
                self._handle(pdu)
        except MalformedRecordError:
            self.abort()

    def abort(self) -> None:
        """Break off at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def _handle(self, pdu: Pdu) -> None:
        if pdu.command in _BINDS:
            self._bind(pdu)
        elif pdu.command == SUBMIT_SM:
            self._submit(pdu)
        elif pdu.command in (ENQUIRE_LINK, UNBIND):
            self._write(_answer(pdu))
            if pdu.command == UNBIND and self._transport is not None:
                self._transport.close()
        elif not pdu.command & ANSWER:
            self._write(Pdu(GENERIC_NACK, _BAD_COMMAND, pdu.sequence).encode())

    def _bind(self, pdu: Pdu) -> None:
        bind = read_bind(pdu.body)
        self._bound = (bind.system_id, bind.password) == (self._smsc.system_id, self._smsc.password)
        self._write(_answer(pdu, OK if self._bound else _BAD_PASSWORD, c_text(NAME)))

    def _submit(self, pdu: Pdu) -> None:
        message = read_message(pdu.body)
        to = f"+{message.destination.address}"
        behaviour = self._smsc.behaviour(to) if self._bound else Behaviour("credential")
        journaled, status = _judged(behaviour)
        identity = message.tlvs.get(ID_TAG, b"").decode("latin-1")
        self._smsc.journal.write([Entry(to, identity, journaled, message.text, shown_text(message).encode())])
        body = c_text(self._smsc.next_id()) if status == OK else b""
        self._reply(_answer(pdu, status, body), behaviour)

    def _reply(self, answer: bytes, behaviour: Behaviour) -> None:
        if behaviour.kind in ("drop", "rst"):
            self.abort()
        elif behaviour.kind == "stall":
            self._write(answer[: len(answer) // 2])
        elif behaviour.kind == "trickle":
            self._trickle(iter(answer))
        elif behaviour.kind == "garbled":
            self._write(GARBLED)
        elif behaviour.delay_ms:
            asyncio.get_running_loop().call_later(behaviour.delay_ms / 1000, self._write, answer)
        elif behaviour.kind != "hang":
            self._write(answer)

    def _trickle(self, left: Iterator[int]) -> None:
        if (byte := next(left, None)) is not None:
            self._write(bytes((byte,)))
            asyncio.get_running_loop().call_later(BYTE_EVERY_S, self._trickle, left)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _answer(pdu: Pdu, status: int = OK, body: bytes = b"") -> bytes:
    return Pdu(pdu.command | ANSWER, status, pdu.sequence, body).encode()


def _judged(behaviour: Behaviour) -> tuple[int, int]:
    """For the journal, and of SMPP."""
    if behaviour.kind == "refuse":
        return behaviour.status, _OF_STATUS.get(behaviour.status, _UNKNOWN)
    if behaviour.kind == "credential":
        return 401, _NOT_BOUND
    if behaviour.kind in ("gone", "bad"):
        return 404, _BAD_ADDRESS
    return 200, OK


def shown_text(message: ShortMessage) -> str:
    """What a phone shows of a part, but for characters of the extension table, which are shown by their code."""
    text = message.text[message.text[0] + 1 :] if message.esm_class & UDH and message.text else message.text
    if message.data_coding == UCS2_CODING:
        return text.decode("utf-16-be", "replace")
    return "".join(GSM_BASIC[code % len(GSM_BASIC)] for code in text)
