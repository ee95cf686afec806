"""Text messages through an SMSC, by SMPP 3.4.

Each part of a text is a submit_sm of its own, all of one message with one reference, so a message that is sent again is
the same one to a phone that joins parts. SMPP knows no idempotency key: what was written and not answered is ambiguous.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from connectors.providers.channel import CheckResult, Delivery, Failed, Rejected, Result, Sent, Throttled, building
from connectors.providers.client import OneClient
from connectors.providers.sms.smpp_heard import Heard, ReceiptDesk, Stored
from connectors.providers.sms.smpp_links import NoSession, SmscLink
from connectors.providers.sms.smpp_options import SmppOptions
from connectors.providers.sms.smpp_pdu import (
    ENQUIRE_LINK,
    GSM_CODING,
    OK,
    SUBMIT_SM,
    UCS2_CODING,
    UDH,
    BodyReader,
    Party,
    Pdu,
    ShortMessage,
    relative_time,
)
from connectors.providers.sms.smpp_session import BindRefused, SessionEnded
from connectors.providers.sms.smpp_window import SmscWindow
from connectors.providers.sms.twilio import message_key
from connectors.providers.trust import client_tls
from state.model.addresses import phone
from state.model.content import SmsContent
from state.model.errors import ConfigurationError, MalformedRecordError
from state.model.gsm import sms_parts

_INTERNATIONAL, _NATIONAL_OR_SHORT, _NAME = Party(1, 1, ""), Party(0, 1, ""), Party(5, 0, "")
_ID_MAX = 64
_BIND_HINTS = {
    0x05: "; it is bound already: ask the vendor for more binds", 0x0D: "; the vendor does not let this account bind",
    0x0E: "; look at password", 0x0F: "; look at system_id",
}  # fmt: skip

_REFUSED_BINDS = frozenset(str(BindRefused(status)) for status in (0x0D, 0x0E, 0x0F))
THROTTLED = frozenset({0x14, 0x58})
"""ESME_RMSGQFUL, ESME_RTHROTTLED."""
_ADDRESS_DEAD = frozenset({0x0B})
"""ESME_RINVDSTADR."""
_OURS = frozenset({
    0x01, 0x02, 0x03, 0x06, 0x07, 0x33, 0x34, 0x40, 0x42, 0x43, 0x44, 0x50, 0x51, 0x61, 0x62, 0x63,
    0x65, 0x66, 0xC0, 0xC1, 0xC2, 0xC3, 0xC4,
})  # fmt: skip
"""This message will never be taken: its form, or ESME_RX_P_APPN and ESME_RX_R_APPN of a receiving application."""


def build_request(delivery: Delivery, options: SmppOptions, *, now_ms: int) -> list[bytes]:
    """The bodies of its submit_sm, one for each part; pure. What is left of its life is its validity period."""
    if not isinstance(delivery.content, SmsContent):
        raise TypeError("a text message is sent by SMPP")
    text = sms_parts(delivery.content.text)
    count = len(text.parts)
    message = ShortMessage(
        source=_party(options.sender),
        destination=replace(_INTERNATIONAL, address=delivery.address.removeprefix("+")),
        text=text.parts[0],
        data_coding=GSM_CODING if text.gsm else UCS2_CODING,
        validity=relative_time((delivery.expires_at - now_ms) // 1000),
        registered_delivery=int(options.receipts and count == 1),
        tlvs={options.id_tag: delivery.provider_id.encode()} if options.id_tag else {},
    )
    if count == 1:
        return [message.encode()]
    reference = hashlib.sha256(delivery.provider_id.encode()).digest()[0]
    headers = [bytes((5, 0, 3, reference, count, number)) for number in range(1, count + 1)]
    return [
        replace(
            message, text=header + part, esm_class=UDH, registered_delivery=int(options.receipts and header[5] == count)
        ).encode()
        for header, part in zip(headers, text.parts, strict=True)
    ]


def _party(sender: str) -> Party:
    if sender.startswith("+"):
        return replace(_INTERNATIONAL, address=sender[1:])
    return replace(_NATIONAL_OR_SHORT if sender.isdecimal() else _NAME, address=sender)


def parse_response(response: Pdu, delivery: Delivery) -> Result:
    """What the answer to one part means; pure. An unknown status is one that may pass."""
    reason = f"status {response.status:#x}"
    if response.status == OK:
        return Sent(_message_id(response.body) or delivery.provider_id)
    if response.status in THROTTLED:
        return Throttled(None, reason)
    if response.status in _ADDRESS_DEAD:
        return Rejected(reason, token_gone=delivery.registered_at)
    if response.status in _OURS:
        return Rejected(reason)
    return Failed(reason)


def _message_id(body: bytes) -> str | None:
    try:
        found = BodyReader(body).text()
    except MalformedRecordError:
        return None
    return found if 0 < len(found) <= _ID_MAX and found.isprintable() else None


def of_all_parts(results: list[Result]) -> Result:
    """A text is taken when all of its parts are, and known by its last one. Refused is what one part was refused."""
    for kind in (Rejected, Throttled):
        if (found := next((each for each in results if isinstance(each, kind)), None)) is not None:
            return found
    failures = [each for each in results if isinstance(each, Failed)]
    return next((each for each in failures if not each.ambiguous), failures[0]) if failures else results[-1]


def _why(cause: BaseException | None) -> str:
    """What else is known of why there is no session, for people."""
    if isinstance(cause, BindRefused):
        return _BIND_HINTS.get(cause.status, "")
    return f" ({type(cause).__name__}: {cause})" if isinstance(cause, OSError) else ""


class SmppChannel(OneClient[SmscLink]):
    """See `connectors.providers.channel.Channel`."""

    name = "smpp"

    def __init__(self, options: SmppOptions, *, clock_ms: Callable[[], int]) -> None:
        self.options = options
        self._clock_ms = clock_ms
        self.heard: Heard | None = None
        """Takes what receipts say, and is set before `connect`; None: nothing is sent that asks for one."""
        self.stored: Stored | None = None
        """Gives what any process sent through it; None: receipts tell of this one's messages alone."""
        self._desk: ReceiptDesk | None = None
        self._window = SmscWindow(options.concurrency_max)

    def provider_id(self, key: str) -> str:
        """What travels in the field `id_tag`, where there is one, and numbers the parts."""
        return message_key(key)

    async def connect(self) -> None:
        """Prepare TLS; the connection opens with the first message or check.

        :raises ConfigurationError: an option is missing.
        """
        if faults := list(self.options.faults()):
            raise ConfigurationError("; ".join(faults))
        if self.heard is None:
            self.options = replace(self.options, receipts=False)
        elif self.options.receipts:
            self._desk = ReceiptDesk(self.name, self.options.receipt_ids, self.heard, self.stored)
        tls = None
        if self.options.security == "tls":
            tls = client_tls(self.options.ca_file, "providers.smpp.ca_file")
        self._client = SmscLink(self.options, tls, self._message, uniform=random.uniform)

    async def check(self) -> CheckResult:
        """Connect, bind and say enquire_link."""
        try:
            session = await self._connected().session()
            answer = await session.request(ENQUIRE_LINK, b"", self.options.timeout)
        except (NoSession, SessionEnded, TimeoutError) as error:
            return CheckResult(False, (str(error) or "no answer") + _why(error.__cause__))
        ok = answer.status == OK
        return CheckResult(
            ok, "bound; nothing was sent" if ok else f"enquire_link is refused: status {answer.status:#x}"
        )

    async def send(self, delivery: Delivery) -> Result:
        """All parts at once, as far as the window goes."""
        address = phone(delivery.address)
        if address is None:
            return Rejected("no number", token_gone=delivery.registered_at)
        delivery = replace(delivery, address=address)
        with building():
            bodies = build_request(delivery, self.options, now_ms=self._clock_ms())
        result = of_all_parts(await asyncio.gather(*(self._submit(body, delivery) for body in bodies)))
        if isinstance(result, Sent) and self._desk is not None:
            await self._desk.sent(result.provider_id, delivery, self._clock_ms())
        return result

    async def _message(self, body: bytes) -> int:
        return OK if self._desk is None else await self._desk.take(body)

    async def _submit(self, body: bytes, delivery: Delivery) -> Result:
        """One part, within the options' timeout: its place in the window, a session, and the answer."""
        end_s = asyncio.get_running_loop().time() + self.options.timeout.total_seconds()
        try:
            async with asyncio.timeout_at(end_s):
                await self._window.enter()
        except TimeoutError:
            return Failed("no place in the window")
        result: Result | None = None
        try:
            result = await self._exchange(body, delivery, end_s)
        finally:
            self._window.leave(throttled=isinstance(result, Throttled), taken=isinstance(result, Sent))
        return result

    async def _exchange(self, body: bytes, delivery: Delivery, end_s: float) -> Result:
        try:
            async with asyncio.timeout_at(end_s):
                session = await self._connected().session()
        except NoSession as error:
            return Failed(str(error), of_credential=str(error) in _REFUSED_BINDS)
        except TimeoutError:
            return Failed("no session in time")
        try:
            within = timedelta(seconds=end_s - asyncio.get_running_loop().time())
            return parse_response(await session.request(SUBMIT_SM, body, within), delivery)
        except SessionEnded as error:
            return Failed(str(error), ambiguous=error.written)
        except TimeoutError:
            return Failed("no answer in time", ambiguous=True)
