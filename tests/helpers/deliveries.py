"""A delivery as a channel is given it."""

from __future__ import annotations

from typing import Any

from connectors.providers.channel import Delivery
from state.model.content import Content, PushContent

REGISTERED = 1_000


def delivery(content: Content, **changes: Any) -> Delivery:
    values: dict[str, Any] = {
        "key": "em_1/u/push/d", "attempt": 1, "provider_id": "pid", "user": "u", "channel": "push", "device": "d",
        "platform": "ios", "address": "a" * 64, "registered_at": REGISTERED, "content": content, "priority": "P1",
        "expires_at": 1_700_000_000_999, "collapse": "c",
    }  # fmt: skip
    return Delivery(**(values | changes))


PUSH = delivery(PushContent("t", "b"))
