"""The providers in force: those that the configuration gives credentials for, the sandbox for every other channel."""

from __future__ import annotations

import time
from dataclasses import dataclass

from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.options import ApnsOptions, FcmOptions, SmtpOptions, TwilioOptions, WebPushOptions
from connectors.providers.push.apns import ApnsChannel
from connectors.providers.push.fcm import FcmChannel
from connectors.providers.push.webpush import WebPushChannel
from connectors.providers.sms.twilio import TwilioChannel
from connectors.sandbox.options import sandbox_options
from flows.config.served import has_push
from flows.config.settings import Settings
from flows.process.open import clock_ms
from state.model.addresses import ANDROID, ANY, WEB, Place

ProviderConfig = ApnsOptions | FcmOptions | WebPushOptions | TwilioOptions | SmtpOptions
ProviderChannel = ApnsChannel | FcmChannel | WebPushChannel | TwilioChannel | SmtpChannel


PLACES: dict[type[ProviderConfig], Place] = {
    ApnsOptions: ("push", ANY), FcmOptions: ("push", ANDROID), WebPushOptions: ("push", WEB),
    TwilioOptions: ("sms", ANY), SmtpOptions: ("email", ANY),
}  # fmt: skip
"""What each provider serves."""


def new_channel(options: ProviderConfig) -> ProviderChannel:
    """A connector of one provider, not connected yet."""
    match options:
        case ApnsOptions():
            return ApnsChannel(options)
        case FcmOptions():
            return FcmChannel(options, clock_ms=clock_ms)
        case WebPushOptions():
            return WebPushChannel(options, clock_ms=clock_ms)
        case TwilioOptions():
            return TwilioChannel(options, clock_ms=clock_ms)
        case SmtpOptions():
            return SmtpChannel(options, clock_s=time.time)


@dataclass(frozen=True, slots=True)
class ProvidersInForce:
    """One provider for each channel and platform; None: nobody serves it."""

    apns: ApnsOptions | None
    fcm: FcmOptions | None
    webpush: WebPushOptions | None
    twilio: TwilioOptions
    smtp: SmtpOptions

    def channels(self) -> dict[Place, ProviderChannel]:
        """A connector of each, not connected yet; every call makes new ones with connections of their own."""
        found = (self.apns, self.fcm, self.webpush, self.twilio, self.smtp)
        return {PLACES[type(options)]: new_channel(options) for options in found if options is not None}


def providers_in_force(settings: Settings) -> ProvidersInForce:
    """The options of every provider.

    :raises ConfigurationError: a channel has no credential and no sandbox ever ran in this data directory.
    """
    given = settings.providers
    if has_push(settings) and given.twilio is not None and given.smtp is not None:
        return ProvidersInForce(given.apns, given.fcm, given.webpush, given.twilio, given.smtp)
    sandbox = sandbox_options(settings.data_dir / "sandbox")
    of_push = given if has_push(settings) else sandbox
    push = (of_push.apns, of_push.fcm, of_push.webpush)
    return ProvidersInForce(*push, given.twilio or sandbox.twilio, given.smtp or sandbox.smtp)
