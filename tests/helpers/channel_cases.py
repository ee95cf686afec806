"""One case of each provider for the laws of channels, with the recipients that make the simulated one misbehave."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from helpers.records import now_ms
from helpers.sandbox_process import Sandbox
from helpers.voice_calls import PROVIDER

from connectors.providers.channel import Channel
from connectors.providers.email.ses import SesChannel
from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.push.apns import ApnsChannel
from connectors.providers.push.fcm import FcmChannel
from connectors.providers.push.webpush import WebPushChannel
from connectors.providers.sms.smpp import SmppChannel
from connectors.providers.sms.twilio import TwilioChannel
from connectors.providers.web.chat import ChatChannel
from connectors.providers.web.webhook import WebhookChannel
from connectors.sandbox.browsers import Browsers
from connectors.sandbox.ports import read_ports
from state.model.content import (
    ChatContent,
    Content,
    EmailContent,
    PlainContent,
    PushContent,
    SmsContent,
    WebhookContent,
)

NAMES = ["apns", "fcm", "webpush", "twilio", "smpp", "smtp", "ses", "webhook", "chat", "voice"]
PUSH = PushContent("Carillon", "Ann liked your photo", (("event_id", "e1"),))
SMS = SmsContent("Your code is 123456")
HOOK = WebhookContent("otp", 1_700_000_000_000, {"event_id": "e1", "text": "Your code is 123456"})
CHAT = ChatContent("Your code is <123456> & no more")
MAIL = EmailContent("Your code", "Your code is 123456\n", "<p>Your code is <b>123456</b></p>")


@dataclass
class Case:
    """One provider, and which recipients make it behave in which way."""

    name: str
    make: Callable[[Sandbox, timedelta], Channel]
    kind: str
    content: Content
    good: str
    hangs: str
    breaks: str
    refuses: str
    fails_once: str
    unknown: str
    address: Callable[[Any, str], str] = lambda _channel, name: name
    """What a recipient is called at our side; the journal has the names above."""


def _apns(sandbox: Sandbox, deadline: timedelta) -> Channel:
    return ApnsChannel(dataclasses.replace(sandbox.options.apns, timeout=deadline))


def _fcm(sandbox: Sandbox, deadline: timedelta) -> Channel:
    return FcmChannel(dataclasses.replace(sandbox.options.fcm, timeout=deadline), clock_ms=now_ms)


def _webpush(sandbox: Sandbox, deadline: timedelta) -> Channel:
    options = dataclasses.replace(sandbox.options.webpush, timeout=deadline)
    return WebPushChannel(options, sandbox.options.egress, clock_ms=now_ms)


def _browser(channel: WebPushChannel, name: str) -> str:
    """Its subscription at the first host of the channel's options."""
    options = channel.options
    assert options.signing_key is not None
    return Browsers(options.signing_key.with_name("browsers.key").read_bytes()).address(name, options.origin)


def _twilio(sandbox: Sandbox, deadline: timedelta) -> Channel:
    options = dataclasses.replace(sandbox.options.twilio, timeout=deadline)
    return TwilioChannel(options, clock_ms=now_ms)


def _smpp(sandbox: Sandbox, deadline: timedelta) -> Channel:
    return SmppChannel(dataclasses.replace(sandbox.options.smpp, timeout=deadline), clock_ms=now_ms)


def _smtp(sandbox: Sandbox, deadline: timedelta) -> Channel:
    return SmtpChannel(dataclasses.replace(sandbox.options.smtp, timeout=deadline), clock_s=time.time)


def _ses(sandbox: Sandbox, deadline: timedelta) -> Channel:
    return SesChannel(dataclasses.replace(sandbox.options.ses, timeout=deadline), clock_s=time.time)


def _webhook(sandbox: Sandbox, deadline: timedelta) -> Channel:
    options = dataclasses.replace(sandbox.options.webhook, timeout=deadline)
    return WebhookChannel(options, sandbox.options.egress, clock_ms=now_ms)


def _chat(sandbox: Sandbox, deadline: timedelta) -> Channel:
    return ChatChannel(dataclasses.replace(sandbox.options.chat, timeout=deadline), sandbox.options.egress)


def _voice(sandbox: Sandbox, deadline: timedelta) -> Channel:
    return PROVIDER.make(dataclasses.replace(sandbox.options.twilio, timeout=deadline), sandbox.options.egress)


def web(sandbox: Sandbox, name: str, path: str) -> str:
    """The address of a simulated receiver."""
    return f"https://127.0.0.1:{web_port(sandbox, name)}/hooks/{path}"


def web_port(sandbox: Sandbox, name: str) -> int:
    return int(getattr(read_ports(sandbox.directory / "sandbox"), name))


def with_addresses(sandbox: Sandbox, case: Case) -> Case:
    """With whole addresses in place of names."""
    names = ("good", "hangs", "breaks", "refuses", "fails_once", "unknown")
    whole: dict[str, Any] = {name: web(sandbox, case.name, getattr(case, name)) for name in names}
    return dataclasses.replace(case, **whole)


CASES = {
    "apns": Case(
        "apns", _apns, "push", PUSH, "a" * 64, "hang-" + "a" * 20, "rst-" + "a" * 20, "500-" + "a" * 20,
        "503x1-" + "a" * 20, "bad-" + "a" * 20,
    ),
    "fcm": Case(
        "fcm", _fcm, "push", PUSH, "f:" + "A" * 60, "hang-" + "f" * 20, "rst-" + "f" * 20, "500-" + "f" * 20,
        "503x1-" + "f" * 20, "bad-" + "f" * 20,
    ),
    "webpush": Case(
        "webpush", _webpush, "push", PUSH, "ann's laptop", "hang-w", "rst-w", "500-w", "503x1-w", "bad-w", _browser
    ),
    "twilio": Case(
        "twilio", _twilio, "sms", SMS, "+14155550100", "+19990000001", "+19990010001", "+19995000001", "+19995031001",
        "+15005550001",
    ),
    "smpp": Case(
        "smpp", _smpp, "sms", SMS, "+14155550100", "+19990000001", "+19990010001", "+19995000001", "+19995031001",
        "+15005550001",
    ),
    "smtp": Case(
        "smtp", _smtp, "email", MAIL, "ann@example.com", "hang-a@example.com", "drop-a@example.com",
        "450-a@example.com", "451x1-a@example.com", "550-a@example.com",
    ),
    "ses": Case(
        "ses", _ses, "email", MAIL, "ann@example.com", "hang-a@example.com", "drop-a@example.com",
        "500-a@example.com", "429x1-a@example.com", "no mailbox",
    ),
    "webhook": Case("webhook", _webhook, "webhook", HOOK, "a", "hang-a", "rst-a", "500-a", "503x1-a", "gone-a"),
    "voice": Case(  # its exchange is the simulator of Twilio, so no number may be one of Twilio's
        "twilio", _voice, "voice", PlainContent("Your code is 123456"), "+14155550101", "+19990000002", "+19990010002",
        "+19995000002", "+19995031002", "+15005550001",
    ),
    "chat": Case("chat", _chat, "chat", CHAT, "T0/B0/x", "hang-a", "rst-a", "500-a", "503x1-a", "gone-a"),
}  # fmt: skip
