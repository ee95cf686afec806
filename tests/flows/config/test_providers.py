"""What a provider in force gets besides its options."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import msgspec
from aiosmtpd.smtp import SMTP
from helpers.deliveries import PUSH

from connectors.providers.channel import Sent
from connectors.providers.email.options import SmtpOptions
from connectors.providers.options import TwilioOptions
from connectors.providers.sms.twilio import TwilioChannel
from connectors.sandbox.certificates import SandboxFiles
from connectors.sandbox.ports import Ports
from flows.config.access import callback_options, link_keys
from flows.config.providers import bounce_addresses, providers_in_force
from flows.config.settings import GatewayTable, ProviderOptions, Settings
from state.model.content import EmailContent
from state.model.receipt import ReferenceKeys

MAIL = replace(
    PUSH, content=EmailContent("s", "t", "<p>h</p>", None), user="ann", channel="email", device="m",
    address="a@b.example", provider_id="<1@ours.example>",
)  # fmt: skip


class Inbox:
    """Takes every mail."""

    def __init__(self) -> None:
        self.senders: list[str] = []
        self.mails: list[bytes] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.senders.append(envelope.mail_from)
        self.mails.append(envelope.content)
        return "250 taken"


async def sent(directory: Path, inbox: Inbox) -> Settings:
    """One mail through the relay that the settings name; gives those."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(inbox, hostname="relay.invalid", loop=loop), "127.0.0.1", 0)
    smtp = SmtpOptions(
        host="127.0.0.1", port=server.sockets[0].getsockname()[1], security="none", sender="news@ours.example",
        bounce_address="b@ours.example",
    )  # fmt: skip
    ports = SandboxFiles(directory / "sandbox").ports
    ports.parent.mkdir()
    ports.write_bytes(msgspec.json.encode(Ports(1, 1, 1)))  # the other channels have one, which nobody asks
    settings = Settings(data_dir=directory, providers=ProviderOptions(smtp=smtp))
    channel = providers_in_force(settings)["smtp"].channel()
    await channel.connect()
    try:
        assert isinstance(await channel.send(MAIL), Sent)
    finally:
        await channel.close()
        server.close()
    return settings


def test_mails_leave_with_the_address_that_their_bounces_are_recognised_by(tmp_path: Path) -> None:
    inbox = Inbox()
    settings = asyncio.run(sent(tmp_path, inbox))
    addresses = bounce_addresses(settings)
    assert addresses is not None
    (sender,) = inbox.senders
    (found,) = addresses.read(sender)
    assert found.registered_at == MAIL.registered_at
    reference = message_from_bytes(inbox.mails[0])["X-Carillon-Reference"]
    delivery = ReferenceKeys(link_keys(settings)).read(reference)
    assert delivery is not None
    assert (delivery.user, delivery.channel, delivery.device) == ("ann", "email", "m")
    assert bounce_addresses(Settings(data_dir=tmp_path)) is None


def test_twilio_is_asked_to_report_below_the_public_url(tmp_path: Path) -> None:
    twilio = TwilioOptions(account_sid="AC1", auth_token="t", sender="+14155550100")
    ports = SandboxFiles(tmp_path / "sandbox").ports
    ports.parent.mkdir()
    ports.write_bytes(msgspec.json.encode(Ports(1, 1, 1)))
    for public_url, given, expected in (
        ("https://n.example", "", "https://n.example/v1/callbacks/twilio"),
        ("https://n.example", "https://other.example/x", "https://other.example/x"),
        ("", "", ""),
    ):
        settings = Settings(
            data_dir=tmp_path, providers=ProviderOptions(twilio=replace(twilio, status_callback=given)),
            gateway=GatewayTable(public_url=public_url),
        )  # fmt: skip
        channel = providers_in_force(settings)["twilio"].channel()
        assert isinstance(channel, TwilioChannel)
        assert channel.options.status_callback == callback_options(settings).twilio_url == expected
