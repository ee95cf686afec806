"""What a provider is to the configuration. A package beside Carillon brings one of its own in one file.

It names a `Provider` as an entry point of the group `carillon.providers`; `[providers.installed.NAME]` switches it on:

    [project.entry-points."carillon.providers"]
    pigeon = "pigeon_post:PROVIDER"

Its options are a frozen dataclass with a docstring below each field, and have what `ProviderTable` says. Its connector
keeps the laws of `connectors.providers.channel`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from connectors.providers.channel import Channel
from connectors.providers.options import EgressOptions
from state.model.addresses import ANDROID, ANY, WEB, Place

GROUP = "carillon.providers"
PLACES: Mapping[str, Place] = {
    "apns": ("push", ANY), "fcm": ("push", ANDROID), "webpush": ("push", WEB), "twilio": ("sms", ANY),
    "smpp": ("sms", ANY), "smtp": ("email", ANY), "ses": ("email", ANY), "webhook": ("webhook", ANY),
    "chat": ("chat", ANY),
}  # fmt: skip
"""What each provider of Carillon serves."""


class ProviderTable(Protocol):
    """What the options of every provider have."""

    @property
    def concurrency_max(self) -> int:
        """Requests in flight at once."""
        ...

    @property
    def rate_per_s(self) -> float:
        """Sends per second; retries, breaker and backlog get shares of it (RULES 4)."""
        ...

    @property
    def backlog_share(self) -> float:
        """The part of the rate for what waited while the provider was away."""
        ...

    @property
    def p0_share(self) -> float:
        """The part of the rate that is kept for P0."""
        ...

    @property
    def standby(self) -> bool:
        """Whether it goes behind the other providers of its channel (RULES 4)."""
        ...

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        ...


@dataclass(frozen=True, slots=True)
class Provider:
    """What a provider serves, how people call that, and how its options and a connector of it are made."""

    place: Place
    """A channel, perhaps of an installed package, and a platform of it; `*`: every one that no other provider has."""
    what: str
    """For people, such as `push to Android`."""
    options: type[ProviderTable]
    make: Callable[[Any, EgressOptions], Channel]
    """From its options; not connected yet. Requests to addresses that users gave go through `egress.Egress`."""
    kind: str = ""
    """Of an installed one, the kind of its addresses (`state.model.addresses`); `text` is whatever it is. One of an
    added channel is behind its name and a dot (`state.model.channels`)."""
