"""What the providers in force can reach, by channel and platform."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from flows.config.settings import Settings
from state.model.addresses import ANDROID, ANY, APPLE_PLATFORMS, Served


def served(settings: Settings) -> Served:
    """What the providers in force can reach: the gateway accepts nothing else, and nothing else is decided on.

    The simulator of a provider without credentials serves what the provider would, and takes tokens that tell it how to
    misbehave. So does one on this machine that is configured with credentials: Apple and Google are never on loopback.
    """
    given = settings.providers
    apple = "apns_sandbox" if given.apns is None or _is_loopback(given.apns.origin) else "apns"
    google = "fcm_sandbox" if given.fcm is None or _is_loopback(given.fcm.origin) else "fcm"
    return {
        "push": {**dict.fromkeys((*APPLE_PLATFORMS, ANY), apple), ANDROID: google},
        "sms": {ANY: "e164"},
        "email": {ANY: "mail"},
    }


def needs_sandbox(settings: Settings) -> bool:
    """Whether some provider has no credential of its own."""
    given = settings.providers
    return None in (given.apns, given.fcm, given.twilio, given.smtp)


def _is_loopback(origin: str) -> bool:
    host = urlsplit(origin).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
