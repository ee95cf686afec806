"""A browser's subscription, made of the keys of RFC 8291's example."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any

RFC_KEY = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
RFC_SECRET = "BTBZMqHH6r4Tts7J_aSIgg"
HOST = "fcm.googleapis.com"
ENDPOINT = f"https://{HOST}/fcm/send/dGhp:APA91b-x_y"


def octets(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def subscription(endpoint: str = ENDPOINT, **keys: str) -> dict[str, Any]:
    """As a browser's `subscription.toJSON()` gives it."""
    return {
        "endpoint": endpoint, "expirationTime": None, "keys": {"p256dh": RFC_KEY, "auth": RFC_SECRET} | keys
    }  # fmt: skip


def stored(endpoint: str = ENDPOINT) -> str:
    """Its one form."""
    value = {"endpoint": endpoint, "keys": {"auth": RFC_SECRET, "p256dh": RFC_KEY}}
    return json.dumps(value, separators=(",", ":"))
