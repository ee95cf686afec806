"""What the providers in force can reach, by channel and platform."""

from __future__ import annotations

from flows.config.settings import Settings
from state.model.addresses import ANY, APPLE_PLATFORMS, Served


def served(settings: Settings) -> Served:
    """What the providers in force can reach: the gateway accepts nothing else, and nothing else is decided on.

    The simulator of a channel without credentials serves what the provider would, and takes tokens that tell it how to
    misbehave.
    """
    kind = "apns_sandbox" if settings.providers.apns is None else "apns"
    return {
        "push": dict.fromkeys((*APPLE_PLATFORMS, ANY), kind),
        "sms": {ANY: "e164"},
        "email": {ANY: "mail"},
    }
