"""What the providers in force can reach, by channel and platform."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from connectors.providers.options import is_loopback
from connectors.providers.provider import PLACES
from flows.config.installed import installed_providers
from state.model.addresses import ANDROID, ANY, APPLE_PLATFORMS, WEB, Served
from state.model.subscriptions import subscription_kind

if TYPE_CHECKING:
    from flows.config.settings import Settings

_SANDBOX_HOSTS = ("127.0.0.1:*",)
"""Its port may be another after a restart; who sends calls that one only."""

TO_ADDRESSES = ("webhook", "chat")
"""Providers, each of its channel, that send to the addresses themselves."""


def served(settings: Settings) -> Served:
    """What the providers in force can reach: the gateway accepts nothing else, and nothing else is decided on.

    The simulators of a channel without credentials serve what the providers would, and take tokens that tell them how
    to misbehave. So does one on this machine that is configured with credentials: Apple and Google are never on
    loopback. Where one provider of push has credentials, no simulator stands in for the others.
    """
    found = _own(settings)
    for provider, _ in installed_providers(settings).values():
        channel, platform = provider.place
        found[channel] = found.get(channel, {}) | {platform: provider.kind}
    return found


def kind_faults(settings: Settings) -> Iterator[str]:
    """Providers of one place whose addresses differ: none could go on where another is away."""
    own = _own(settings)
    kinds = {
        (channel, platform): (f"providers.{name}", own[channel][platform])
        for name, (channel, platform) in PLACES.items()
        if getattr(settings.providers, name) is not None
    }
    for name, (provider, _) in installed_providers(settings).items():
        key = f"providers.installed.{name}"
        other, kind = kinds.setdefault(provider.place, (key, provider.kind))
        if kind != provider.kind:
            yield f"{key}: serves {provider.what} with other addresses than {other}; configure one of them"


def _own(settings: Settings) -> dict[str, dict[str, str]]:
    given, push = settings.providers, dict[str, str]()
    if given.apns is not None or not has_push(settings):
        apple = "apns_sandbox" if given.apns is None or is_loopback(given.apns.origin) else "apns"
        push |= dict.fromkeys((*APPLE_PLATFORMS, ANY), apple)
    if given.fcm is not None or not has_push(settings):
        push[ANDROID] = "fcm_sandbox" if given.fcm is None or is_loopback(given.fcm.origin) else "fcm"
    if given.webpush is not None or not has_push(settings):
        push[WEB] = subscription_kind(_SANDBOX_HOSTS if given.webpush is None else given.webpush.hosts)
    web = {channel: {ANY: _web_kind(settings, channel)} for channel in _has_web(settings)}
    return {"push": push, "sms": {ANY: "e164"}, "email": {ANY: "mail"}, **web}


def _has_web(settings: Settings) -> list[str]:
    return [
        name for name in TO_ADDRESSES if getattr(settings.providers, name) is not None or name in simulated(settings)
    ]


def _web_kind(settings: Settings, channel: str) -> str:
    if getattr(settings.providers, channel) is None:
        return "web_sandbox"
    return "web_private" if settings.egress.makes_exceptions else "web"


def has_push(settings: Settings) -> bool:
    """Whether a provider of push has credentials."""
    given = settings.providers
    return any(options is not None for options in (given.apns, given.fcm, given.webpush))


def simulated(settings: Settings) -> frozenset[str]:
    """The providers that simulators stand in for. Webhooks and chats need no account, so they do not call for one:
    there are simulated receivers beside other simulators only.
    """
    absent = {name for name in ("twilio", "smtp", *TO_ADDRESSES) if getattr(settings.providers, name) is None}
    if not has_push(settings):
        absent |= {"apns", "fcm", "webpush"}
    elsewhere = {provider.place for provider, _ in installed_providers(settings).values()}
    elsewhere |= {PLACES[name] for name in ("ses", "smpp") if getattr(settings.providers, name) is not None}
    absent = {name for name in absent if PLACES[name] not in elsewhere}
    return frozenset(absent if absent - set(TO_ADDRESSES) else ())


def needs_sandbox(settings: Settings) -> bool:
    """Whether some channel has no credential of its own."""
    return bool(simulated(settings))
