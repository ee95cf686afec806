"""Telephone calls, as a package beside Carillon adds them: the channel, its addresses and its provider in one file.

The exchange takes a call as Twilio takes a text message, and reads it aloud.
"""

import time
from dataclasses import replace

from connectors.providers.channel import Delivery, Result
from connectors.providers.options import EgressOptions, TwilioOptions
from connectors.providers.provider import Provider
from connectors.providers.sms.twilio import TwilioChannel
from state.model.addresses import phone
from state.model.channels import AddedChannel, AddressKind
from state.model.content import PlainContent, SmsContent


def line(address: str) -> str | None:
    """People write their numbers with spaces; the exchange takes none."""
    return phone(address.replace(" ", ""))


class VoiceChannel(TwilioChannel):
    name = "voice"

    async def send(self, delivery: Delivery) -> Result:
        if not isinstance(delivery.content, PlainContent):
            raise TypeError("plain words are read aloud")
        said = ". ".join(filter(None, (delivery.content.text, delivery.content.detail)))
        return await super().send(replace(delivery, content=SmsContent(said)))


def connector(options: TwilioOptions, _egress: EgressOptions) -> VoiceChannel:
    return VoiceChannel(options, clock_ms=lambda: time.time_ns() // 1_000_000)


CHANNEL = AddedChannel(
    names={"en": "Telephone call", "de": "Anruf"},
    kinds={"line": AddressKind(line, "telephone number, as +49 30 12345678")},
    text_max=400,
    detail_max=200,
)
PROVIDER = Provider(("voice", "*"), "telephone calls", TwilioOptions, connector, "voice.line")
