"""The providers in force: those that the configuration names, the sandbox for every other channel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from connectors.providers.channel import Channel
from connectors.providers.email.options import SesOptions, SmtpOptions
from connectors.providers.email.ses import SesChannel
from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.options import (
    ApnsOptions,
    ChatOptions,
    EgressOptions,
    FcmOptions,
    TwilioOptions,
    WebhookOptions,
    WebPushOptions,
)
from connectors.providers.provider import PLACES, Provider, ProviderTable
from connectors.providers.push.apns import ApnsChannel
from connectors.providers.push.fcm import FcmChannel
from connectors.providers.push.webpush import WebPushChannel
from connectors.providers.sms.smpp import SmppChannel
from connectors.providers.sms.smpp_options import SmppOptions
from connectors.providers.sms.twilio import TwilioChannel
from connectors.providers.web.chat import ChatChannel
from connectors.providers.web.webhook import WebhookChannel
from connectors.sandbox.options import SandboxOptions, sandbox_options
from flows.config.access import callback_url, link_keys
from flows.config.installed import installed_providers
from flows.config.served import TO_ADDRESSES, simulated
from flows.config.settings import Settings
from flows.process.open import clock_ms
from state.model.bounce_address import BounceAddresses
from state.model.errors import ConfigurationError
from state.model.receipt import ReferenceKeys

PROVIDERS: Mapping[str, Provider] = {
    "apns": Provider(PLACES["apns"], "push", ApnsOptions, lambda options, _: ApnsChannel(options)),
    "fcm": Provider(
        PLACES["fcm"], "push to Android", FcmOptions, lambda options, _: FcmChannel(options, clock_ms=clock_ms)
    ),
    "webpush": Provider(
        PLACES["webpush"],
        "push to browsers",
        WebPushOptions,
        lambda options, egress: WebPushChannel(options, egress, clock_ms=clock_ms),
    ),
    "twilio": Provider(
        PLACES["twilio"], "sms", TwilioOptions, lambda options, _: TwilioChannel(options, clock_ms=clock_ms)
    ),
    "smpp": Provider(
        PLACES["smpp"], "sms by SMPP", SmppOptions, lambda options, _: SmppChannel(options, clock_ms=clock_ms)
    ),
    "smtp": Provider(PLACES["smtp"], "email", SmtpOptions, lambda options, _: SmtpChannel(options, clock_s=time.time)),
    "ses": Provider(
        PLACES["ses"], "email by SES", SesOptions, lambda options, _: SesChannel(options, clock_s=time.time)
    ),
    "webhook": Provider(
        PLACES["webhook"],
        "webhook",
        WebhookOptions,
        lambda options, egress: WebhookChannel(options, egress, clock_ms=clock_ms),
    ),
    "chat": Provider(PLACES["chat"], "chat", ChatOptions, ChatChannel),
}
"""Those of Carillon, by the name of their table in the configuration."""


@dataclass(frozen=True, slots=True)
class InForce:
    """A provider with its options: those of the configuration, or of the simulator that stands in."""

    provider: Provider
    options: ProviderTable
    egress: EgressOptions

    def channel(self) -> Channel:
        """A connector, not connected yet; every call makes one with connections of its own."""
        return self.provider.make(self.options, self.egress)


def providers_in_force(settings: Settings) -> dict[str, InForce]:
    """The providers by the names of their tables; what is not there is served by nobody.

    :raises ConfigurationError: a table of an installed provider does not fit, or a channel has no credential and no
        sandbox ever ran in this data directory.
    """
    stand_ins, made = simulated(settings), _reporting(settings)
    sandbox = _stands_in(settings, stand_ins) if stand_ins else None
    found = {}
    for name, provider in PROVIDERS.items():
        options = getattr(settings.providers, name)
        if options is not None:
            found[name] = InForce(made.get(name, provider), options, settings.egress)
        elif sandbox is not None and name in stand_ins:
            found[name] = InForce(made.get(name, provider), getattr(sandbox, name), sandbox.egress)
    for name, (provider, options) in installed_providers(settings).items():
        found[f"installed.{name}"] = InForce(provider, options, settings.egress)
    return found


def _stands_in(settings: Settings, names: Iterable[str]) -> SandboxOptions:
    try:
        return sandbox_options(settings.data_dir / "sandbox")
    except ConfigurationError as error:
        lacking = sorted({PLACES[name][0] for name in names} - set(TO_ADDRESSES))
        raise ConfigurationError(
            f"providers: {', '.join(lacking)}: no provider is configured, and `carillon up`, which has simulated ones, "
            f"never ran in {settings.data_dir}; name one of each in [providers], or start `carillon up`"
        ) from error


def _reporting(settings: Settings) -> dict[str, Provider]:
    """Providers that hear of what they sent later, with what signs its names; their options do not hold the key."""
    references, addresses = ReferenceKeys(link_keys(settings)), bounce_addresses(settings)
    url = callback_url(settings, "twilio")
    made: dict[str, Callable[[Any, EgressOptions], Channel]] = {
        "twilio": lambda options, _: TwilioChannel(
            replace(options, status_callback=options.status_callback or url), clock_ms=clock_ms, references=references
        ),
        "ses": lambda options, _: SesChannel(
            options, clock_s=time.time, references=references if options.events_topic else None
        ),
    }
    if addresses is not None and settings.providers.smtp is not None:
        made["smtp"] = lambda options, _: SmtpChannel(
            options, clock_s=time.time, bounces=addresses, references=references
        )
    return {name: replace(PROVIDERS[name], make=make) for name, make in made.items()}


def bounce_addresses(settings: Settings) -> BounceAddresses | None:
    """What makes and reads the addresses to which mails bounce; None: they bounce to their sender."""
    smtp = settings.providers.smtp
    if smtp is None or not smtp.bounce_address:
        return None
    return BounceAddresses(smtp.bounce_address, link_keys(settings))
