"""The providers in force: those that the configuration names, the sandbox for every other channel."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.options import (
    ApnsOptions,
    ChatOptions,
    EgressOptions,
    FcmOptions,
    SmtpOptions,
    TwilioOptions,
    WebhookOptions,
    WebPushOptions,
)
from connectors.providers.push.apns import ApnsChannel
from connectors.providers.push.fcm import FcmChannel
from connectors.providers.push.webpush import WebPushChannel
from connectors.providers.sms.twilio import TwilioChannel
from connectors.providers.web.chat import ChatChannel
from connectors.providers.web.webhook import WebhookChannel
from connectors.sandbox.options import sandbox_options
from flows.config.served import simulated
from flows.config.settings import Settings
from flows.process.open import clock_ms
from state.model.addresses import ANDROID, ANY, WEB, Place

ProviderConfig = ApnsOptions | FcmOptions | WebPushOptions | TwilioOptions | SmtpOptions | WebhookOptions | ChatOptions
ProviderChannel = ApnsChannel | FcmChannel | WebPushChannel | TwilioChannel | SmtpChannel | WebhookChannel | ChatChannel


class Provider(NamedTuple):
    """What a provider serves, how people call that, and how a connector of it is made."""

    place: Place
    what: str
    make: Callable[[Any, EgressOptions], ProviderChannel]
    """From its options; not connected yet."""


PROVIDERS: Mapping[str, Provider] = {
    "apns": Provider(("push", ANY), "push", lambda options, _: ApnsChannel(options)),
    "fcm": Provider(("push", ANDROID), "push to Android", lambda options, _: FcmChannel(options, clock_ms=clock_ms)),
    "webpush": Provider(
        ("push", WEB), "push to browsers", lambda options, egress: WebPushChannel(options, egress, clock_ms=clock_ms)
    ),
    "twilio": Provider(("sms", ANY), "sms", lambda options, _: TwilioChannel(options, clock_ms=clock_ms)),
    "smtp": Provider(("email", ANY), "email", lambda options, _: SmtpChannel(options, clock_s=time.time)),
    "webhook": Provider(
        ("webhook", ANY), "webhook", lambda options, egress: WebhookChannel(options, egress, clock_ms=clock_ms)
    ),
    "chat": Provider(("chat", ANY), "chat", ChatChannel),
}
"""By the name of its table in the configuration."""


@dataclass(frozen=True, slots=True)
class InForce:
    """A provider with its options: those of the configuration, or of the simulator that stands in."""

    provider: Provider
    options: ProviderConfig
    egress: EgressOptions

    def channel(self) -> ProviderChannel:
        """A connector, not connected yet; every call makes one with connections of its own."""
        return self.provider.make(self.options, self.egress)


def providers_in_force(settings: Settings) -> dict[str, InForce]:
    """The providers by name; what is not there is served by nobody.

    :raises ConfigurationError: a channel has no credential and no sandbox ever ran in this data directory.
    """
    stand_ins = simulated(settings)
    sandbox = sandbox_options(settings.data_dir / "sandbox") if stand_ins else None
    found = {}
    for name, provider in PROVIDERS.items():
        options = getattr(settings.providers, name)
        if options is not None:
            found[name] = InForce(provider, options, settings.egress)
        elif sandbox is not None and name in stand_ins:
            found[name] = InForce(provider, getattr(sandbox, name), sandbox.egress)
    return found
