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

Who asks for a receipt gets DELIVRD right behind the answer, but for numbers `+1997K...`:

| K | the receipt |
|---|---|
| `0` | never comes |
| `1` | says UNDELIV, code 001 |
| `2` | comes twice |
| `3` | comes two seconds late |
| `4` | comes before the answer |
| `5` | says UNDELIV behind one that said DELIVRD |
| `6` | has the number of the message as decimal digits, in its text only |

Without a connection that is bound it waits for the next.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from connectors.providers.sms.smpp_pdu import (
    ANSWER,
    BIND_RECEIVER,
    BIND_TRANSCEIVER,
    BIND_TRANSMITTER,
    DELIVER_SM,
    ENQUIRE_LINK,
    GENERIC_NACK,
    MESSAGE_STATE,
    OK,
    RECEIPT,
    RECEIPTED_MESSAGE_ID,
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
from connectors.sandbox.listener import SandboxConnection
from connectors.sandbox.misbehaviour import OF_TLS, Behaviour, Misbehaviours
from state.model.errors import MalformedRecordError
from state.model.gsm import GSM_BASIC

ID_TAG = 0x1400
NAME = "sandbox"
_INVALID = "+15005550001"
_RECEIPTS = re.compile(r"1997([0-9])")
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
        self._bound: list[SmscConnection] = []
        self._undelivered = deque[bytes](maxlen=1_000)

    def next_id(self) -> str:
        """The name of a message that was taken."""
        return f"{next(self._numbers):010x}"

    def bound(self, connection: SmscConnection) -> None:
        """It may be given receipts, and is given those that wait."""
        self._bound.append(connection)
        while self._undelivered:
            connection.deliver(self._undelivered.popleft())

    def unbound(self, connection: SmscConnection) -> None:
        """No more."""
        if connection in self._bound:
            self._bound.remove(connection)

    def deliver(self, receipt: bytes) -> None:
        """To whoever is bound."""
        if self._bound:
            self._bound[-1].deliver(receipt)
        else:
            self._undelivered.append(receipt)

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


class SmscConnection(SandboxConnection):
    """One connection of a client."""

    def __init__(self, smsc: Smsc) -> None:
        self._smsc, self._reader, self._bound = smsc, PduReader(), False
        self._sequences = iter(range(1, 1 << 31))

    def connection_lost(self, exc: Exception | None) -> None:
        self._smsc.unbound(self)

    def deliver(self, receipt: bytes) -> None:
        """Hand it to the client."""
        self._write(Pdu(DELIVER_SM, OK, next(self._sequences), receipt).encode())

    def data_received(self, data: bytes) -> None:
        try:
            for pdu in self._reader.feed(data):
                self._handle(pdu)
        except MalformedRecordError:
            self.abort()

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
        if self._bound and pdu.command != BIND_TRANSMITTER:
            self._smsc.bound(self)

    def _submit(self, pdu: Pdu) -> None:
        message = read_message(pdu.body)
        to = f"+{message.destination.address}"
        behaviour = self._smsc.behaviour(to) if self._bound else Behaviour("credential")
        journaled, status = _judged(behaviour)
        identity = message.tlvs.get(ID_TAG, b"").decode("latin-1")
        self._smsc.journal.write([Entry(to, identity, journaled, message.text, shown_text(message).encode())])
        name = self._smsc.next_id()
        receipts = receipts_of(message, name) if status == OK else []
        for receipt in (each.body for each in receipts if each.after_s < 0):
            self._smsc.deliver(receipt)
        self._reply(_answer(pdu, status, c_text(name) if status == OK else b""), behaviour)
        for late in (each for each in receipts if each.after_s >= 0):
            asyncio.get_running_loop().call_later(late.after_s, self._smsc.deliver, late.body)

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


class _Receipt(NamedTuple):
    body: bytes
    after_s: float = 0.0
    """Behind the answer; below 0: before it."""


def receipts_of(message: ShortMessage, name: str) -> list[_Receipt]:
    """Those that its number asks for, if it asks for any."""
    if not message.registered_delivery & 1:
        return []
    chosen = _RECEIPTS.match(message.destination.address)
    kind = chosen[1] if chosen else ""
    arrived = _receipt(message, name, "DELIVRD")
    if kind == "6":
        return [_Receipt(_receipt(message, str(int(name, 16)), "DELIVRD", tagged=False))]
    lost = _receipt(message, name, "UNDELIV", "001")
    return {
        "0": [], "1": [_Receipt(lost)], "2": [_Receipt(arrived)] * 2, "3": [_Receipt(arrived, 2.0)],
        "4": [_Receipt(arrived, -1.0)], "5": [_Receipt(arrived), _Receipt(lost, 0.1)],
    }.get(kind, [_Receipt(arrived)])  # fmt: skip


def _receipt(message: ShortMessage, name: str, state: str, code: str = "000", *, tagged: bool = True) -> bytes:
    now = time.strftime("%y%m%d%H%M", time.gmtime())
    text = f"id:{name} sub:001 dlvrd:001 submit date:{now} done date:{now} stat:{state} err:{code} text:"
    tlvs = {RECEIPTED_MESSAGE_ID: c_text(name), MESSAGE_STATE: bytes([{"DELIVRD": 2}.get(state, 5)])} if tagged else {}
    receipt = ShortMessage(message.destination, message.source, text.encode(), esm_class=RECEIPT, tlvs=tlvs)
    return receipt.encode()


def shown_text(message: ShortMessage) -> str:
    """What a phone shows of a part, but for characters of the extension table, which are shown by their code."""
    text = message.text[message.text[0] + 1 :] if message.esm_class & UDH and message.text else message.text
    if message.data_coding == UCS2_CODING:
        return text.decode("utf-16-be", "replace")
    return "".join(GSM_BASIC[code % len(GSM_BASIC)] for code in text)
