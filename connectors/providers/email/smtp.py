"""Mail over SMTP by a pool of kept connections.

A message is ambiguous from the moment at which its text is written until an answer to its end is read: the server may
have taken it. Before that, and after a refusal, it was certainly not taken. The Message-ID is made of the delivery key
and is the same on every attempt. aiosmtplib opens connections; `smtp_exchange` hands mails over on them.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

import aiosmtplib

from connectors.providers.channel import CheckResult, Delivery, Failed, Rejected, Result, Sent, building
from connectors.providers.email.dkim import DkimSigner
from connectors.providers.email.mail import build_mail, dkim_signer
from connectors.providers.email.message import UnsafeMessageError, message_id
from connectors.providers.email.options import SmtpOptions
from connectors.providers.email.returned.blame import blamed
from connectors.providers.email.returned.cause import find_cause
from connectors.providers.email.smtp_exchange import BrokenExchangeError, SmtpEnvelope, SmtpExchange, mail_data
from connectors.providers.email.smtp_line import SmtpLine
from connectors.providers.receipts import reference_of
from connectors.providers.trust import client_tls
from state.model.addresses import mailbox
from state.model.bounce_address import BounceAddresses
from state.model.errors import ConfigurationError
from state.model.receipt import ReferenceKeys

_OF_ADDRESS = ("4.1.", "4.2.")
"""RFC 3463: what begins the status of a soft refusal of one address or mailbox."""
_RESET_S = 2
_QUICK_S = 0.2
"""A relay that takes longer for a mail gets none ahead: what waits had better wait where it is looked at again."""
_AT_HAND = 3
"""For each connection: their intents and answers are appended in larger groups than with one, and a kill leaves as many
more UNKNOWN.
"""
_LOOKED_S = 1.0
"""A mail that waited longer for a connection is looked at again here."""
_CREDENTIAL = frozenset({530, 534, 535, 538})
_ENHANCED = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")


@dataclass(frozen=True, slots=True)
class SmtpRequest:
    """What is handed to the relay."""

    sender: str
    recipient: str
    message: bytes


@dataclass(frozen=True, slots=True)
class SmtpResponse:
    """The relay's answer that decided: at which command, with which code and text."""

    command: Literal["connect", "mail", "rcpt", "data"]
    code: int
    text: str = ""


def build_request(
    delivery: Delivery,
    options: SmtpOptions,
    *,
    date_s: float,
    signer: DkimSigner | None = None,
    bounces: BounceAddresses | None = None,
    reference: str = "",
) -> SmtpRequest:
    """The envelope and the mail, signed where there is a signer; pure. `reference` comes back with what is returned.

    :raises UnsafeMessageError: it cannot be sent as meant.
    """
    message = build_mail(delivery, options, date_s=date_s, signer=signer, reference=reference)
    sender = options.sender
    if bounces is not None:
        sender = bounces.of(delivery.user, delivery.device, delivery.registered_at)
    return SmtpRequest(sender, delivery.address, message)


def parse_response(response: SmtpResponse, delivery: Delivery, senders: Collection[str] = ()) -> Result:
    """What an answer means; pure. A soft refusal says nothing about the address; what is hard is judged as of mails
    that come back.

    :param senders: the domains of whom the mail is from, in lower case.
    """
    if 200 <= response.code < 300:
        return Sent(delivery.provider_id)
    found = _ENHANCED.search(response.text)
    status = found.group(1) if found else ""
    reason = f"{response.command} {response.code} {status}".strip()
    if response.code in _CREDENTIAL:
        return Failed(reason, of_credential=True)
    if response.command == "connect" or 400 <= response.code < 500:
        return Failed(reason, of_address=response.command == "rcpt" and status.startswith(_OF_ADDRESS))
    if response.code >= 500:
        refusal = f"{response.code} {response.text}"
        gone = response.command == "rcpt" and blamed(find_cause(None, refusal), refusal, delivery.address, senders).hard
        return Rejected(reason, token_gone=delivery.registered_at if gone else None)
    return Failed(reason, ambiguous=response.command == "data")


class SmtpChannel:
    """See `connectors.providers.channel.Channel`."""

    name = "smtp"

    def __init__(
        self,
        options: SmtpOptions,
        *,
        clock_s: Callable[[], float],
        bounces: BounceAddresses | None = None,
        references: ReferenceKeys | None = None,
    ) -> None:
        """Bounces go to the addresses that `bounces` makes, or to the sender; `references` sign what is in them."""
        self.options = options
        self._bounces, self._references = bounces, references
        self._clock_s = clock_s
        self._idle: list[tuple[SmtpExchange, float]] = []
        self._in_use = set[SmtpExchange]()
        self._line = SmtpLine(options.concurrency_max)
        self._is_quick = True
        self._tls: ssl.SSLContext | None = None
        self._signer: DkimSigner | None = None
        self._closed = False

    def provider_id(self, key: str) -> str:
        """The Message-ID."""
        return message_id(key, self.options.domain)

    async def connect(self) -> None:
        """Prepare TLS and read the key of the signatures; connections open with the first sends.

        :raises ConfigurationError: an option is missing, or the key cannot be read.
        """
        if faults := list(self.options.faults()):
            raise ConfigurationError("; ".join(faults))
        self._signer = dkim_signer(self.options)
        if self.options.security != "none":
            self._tls = client_tls(self.options.ca_file, "providers.smtp.ca_file")

    async def check(self) -> CheckResult:
        """Connect, secure, authenticate and say NOOP."""
        try:
            opened = await self._opened()
            answer = await opened.noop()
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            said = f": {error}" if str(error) else ", no answer in time"
            return CheckResult(False, f"{type(error).__name__}{said}"[:200])
        self._give_back(_exchange(opened))
        if answer.code >= 300:
            return CheckResult(False, f"the relay refuses NOOP: code {answer.code}")
        signed_in = " and signed in" if self.options.username else ""
        return CheckResult(True, f"connected{signed_in}; no mail was sent")

    async def send(self, delivery: Delivery) -> Result:
        """One message on a connection of its own for the time."""
        address = mailbox(delivery.address)
        if address is None:
            return Rejected("not a mail address", token_gone=delivery.registered_at)
        delivery = delivery if address == delivery.address else replace(delivery, address=address)
        try:
            with building():
                reference = "" if self._references is None else reference_of(delivery, self._references)
                now_s, signer, bounces = self._clock_s(), self._signer, self._bounces
                request = build_request(
                    delivery, self.options, date_s=now_s, signer=signer, bounces=bounces, reference=reference
                )
                name = delivery.provider_id.strip("<>")
                envelope = SmtpEnvelope(request.sender, request.recipient, name).check()
                text = mail_data(request.message)
        except UnsafeMessageError as error:
            return Rejected(str(error))
        came_s = time.monotonic()
        exchange = await self._line.turn(envelope)
        if delivery.may_go is not None and time.monotonic() - came_s > _LOOKED_S and not delivery.may_go():
            if exchange is not None:
                exchange.close()  # its commands are written, its text is not
            self._line.leave(exchange)
            return Failed("changed while it waited for a connection", of_address=True)
        return await self._deliver(exchange, envelope, text, delivery)

    def ahead(self) -> int:
        """How many mails it is worth to have at hand beside those on their way: none while the relay is slow."""
        return _AT_HAND * self.options.concurrency_max if self._is_quick else 0

    async def close(self) -> None:
        """See `Channel.close`."""
        self._closed = True
        while self._idle:
            self._idle.pop()[0].close()
        for exchange in tuple(self._in_use):
            exchange.close()

    async def _deliver(
        self, exchange: SmtpExchange | None, envelope: SmtpEnvelope, text: bytes, delivery: Delivery
    ) -> Result:
        """On a connection on which the mail is begun, else on any."""
        began_s = time.monotonic()
        try:
            if exchange is not None:
                result = await self._handed_over(exchange, envelope, text, delivery)
                if exchange.is_open or exchange.ambiguous or not isinstance(result, Failed):
                    return result
                exchange = None  # it ended with the mail before: nothing of this one was taken
            try:
                exchange = await self._take()
            except aiosmtplib.SMTPResponseException as error:
                return parse_response(SmtpResponse("connect", error.code, str(error.message)), delivery)
            except (aiosmtplib.SMTPException, OSError, TimeoutError):
                return Failed("no connection")
            return await self._handed_over(exchange, envelope, text, delivery)
        finally:
            self._is_quick = time.monotonic() - began_s < _QUICK_S
            self._line.leave(exchange)

    async def _handed_over(
        self, exchange: SmtpExchange, envelope: SmtpEnvelope, text: bytes, delivery: Delivery
    ) -> Result:
        self._in_use.add(exchange)
        try:
            async with asyncio.timeout(self.options.timeout.total_seconds()):
                answer = await exchange.hand_over(envelope, text, partial(self._line.following, exchange))
        except (BrokenExchangeError, TimeoutError):
            exchange.close()
            return Failed(f"connection lost at {exchange.step}", ambiguous=exchange.ambiguous)
        except asyncio.CancelledError:
            exchange.close()  # whoever follows would hear the answers to this one
            raise
        finally:
            self._in_use.discard(exchange)
        await self._settle(exchange, answer.code)
        senders = (self.options.sender_of(delivery.content), envelope.sender)
        return parse_response(SmtpResponse(*answer), delivery, {each.rpartition("@")[2].lower() for each in senders})

    async def _settle(self, exchange: SmtpExchange, code: int) -> None:
        """Keep the connection where it may be used again: after a refusal, reset, unless the next mail is begun."""
        if exchange.begun and code != 421:
            if not self._line.is_followed(exchange):
                exchange.close()
        elif code >= 400 and (code == 421 or not await _reset(exchange)):
            exchange.close()
        else:
            self._give_back(exchange)

    async def _take(self) -> SmtpExchange:
        """An open connection: a kept one or a new one.

        :raises OSError: there is none, or the channel is closed.
        """
        if self._closed:
            raise ConnectionError("closed")
        while self._idle:
            exchange, used_s = self._idle.pop()
            if exchange.is_open and self._clock_s() - used_s < self.options.idle_max.total_seconds():
                return exchange
            exchange.close()
        return _exchange(await self._opened())

    async def _opened(self) -> aiosmtplib.SMTP:
        opened = aiosmtplib.SMTP(
            hostname=self.options.host,
            port=self.options.port,
            username=self.options.username or None,
            password=self.options.password or None,
            use_tls=self.options.security == "tls",
            start_tls=self.options.security == "starttls",
            tls_context=self._tls,
            timeout=self.options.connect_timeout.total_seconds(),
        )
        try:
            async with asyncio.timeout(self.options.connect_timeout.total_seconds()):
                await opened.connect()
                await opened.ehlo()
        except BaseException:
            opened.close()
            raise
        return opened

    def _give_back(self, exchange: SmtpExchange) -> None:
        if self._closed or not exchange.is_open:
            exchange.close()
        else:
            self._idle.append((exchange, self._clock_s()))


async def _reset(exchange: SmtpExchange) -> bool:
    try:
        async with asyncio.timeout(_RESET_S):
            return await exchange.reset()
    except TimeoutError:
        return False


def _exchange(opened: aiosmtplib.SMTP) -> SmtpExchange:
    """From now on the connection is its own: the library hears nothing of it any more."""
    transport = cast(asyncio.Transport, opened.transport)
    offers = opened.supports_extension
    return SmtpExchange(transport, pipelining=offers("pipelining"), dsn=offers("dsn"))
