"""What every provider's receipts have in common: the reference that they bring back, and what they say."""

from __future__ import annotations

import re
from dataclasses import dataclass

from connectors.providers.channel import Delivery
from state.model.receipt import ReferenceKeys, SentDelivery

_CODE = re.compile(r"[\x21-\x7e]{1,100}")


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """One thing that a provider says of a message."""

    outcome: str
    """A name of `state.model.outcome`."""
    reference: str
    """As it came back; only `ReferenceKeys` know whether it is one."""
    provider: str
    provider_id: str | None = None
    reason: str | None = None
    """The provider's code."""
    gone: bool = False
    """The address is dead, as of its registration of then."""
    link: str = ""
    """Of a complaint: the token of the mail's own link, if it has one."""


def reference_of(delivery: Delivery, keys: ReferenceKeys) -> str:
    """What goes out with it."""
    emission_id = delivery.key.partition("/")[0]
    return keys.sign(
        SentDelivery(delivery.user, emission_id, delivery.channel, delivery.device, delivery.registered_at)
    )


def code_of(given: object) -> str | None:
    """A code or an id of a provider, if it is a plain word; anything else is none."""
    return given if isinstance(given, str) and _CODE.fullmatch(given) else None
