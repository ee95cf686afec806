"""What the reader of a mail may leave (RFC 8058): the categories of what it tells, but for mandatory types."""

from __future__ import annotations

from state.model.delivery import ToDeliver
from state.model.registry import Registry
from state.model.unsubscribe import Unsubscription


def unsubscription(emission: ToDeliver, channel: str, registry: Registry) -> Unsubscription | None:
    """What a link in this message switches off; None: nothing in it can be switched off. Of a digest, all it tells."""
    items = emission.digest_items
    types = [emission.type] if items is None else [item.type for item in items]
    profiles = [registry.profile(name) for name in types]
    categories = sorted({profile.category for profile in profiles if not profile.mandatory})
    if not categories:
        return None
    return Unsubscription(emission.user, channel, tuple(categories), emission.decided_at)
