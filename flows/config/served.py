"""What the providers in force can reach, by channel and platform."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from flows.config.settings import Settings
from state.model.addresses import ANY, APPLE_PLATFORMS, Served


def served(settings: Settings) -> Served:
    """What the providers in force can reach: the gateway accepts nothing else, and nothing else is decided on.

    The simulator of a channel without credentials serves what the provider would, and takes tokens that tell it how to
    misbehave. So does one on this machine that is configured with credentials: Apple's service is never on loopback.
    """
    apns = settings.providers.apns
    kind = "apns_sandbox" if apns is None or _is_loopback(apns.origin) else "apns"
    return {
        "push": dict.fromkeys((*APPLE_PLATFORMS, ANY), kind),
        "sms": {ANY: "e164"},
        "email": {ANY: "mail"},
    }


def needs_sandbox(settings: Settings) -> bool:
    """Whether some channel has no credential of its own."""
    given = settings.providers
    return given.apns is None or given.twilio is None or given.smtp is None


def _is_loopback(origin: str) -> bool:
    host = urlsplit(origin).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
