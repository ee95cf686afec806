"""Signatures of webhooks, by the Standard Webhooks specification (v1, HMAC-SHA256).

Signed are the bytes `ID.TIMESTAMP.BODY`. A secret is `whsec_` and base64 of 32 bytes. Each endpoint has its own: it is
made of the configured secret, the user and the endpoint's id, so it is stored nowhere and stays the same however often
the endpoint is registered. `carillon webhook-secret` shows it to an operator.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta

PREFIX = "whsec_"
TOLERANCE = timedelta(minutes=5)
"""A receiver refuses what is older, or from the future by as much: it may be a message that somebody recorded."""
_VERSION = "v1,"


def endpoint_secret(secret: str, user: str, endpoint: str) -> str:
    """The secret of one endpoint."""
    place = f"carillon/webhook\0{user}\0{endpoint}".encode("utf-8", "surrogatepass")
    return PREFIX + b64encode(hmac.digest(secret.encode(), place, "sha256")).decode()


def sign(secrets: Iterable[str], identity: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers of a message, with a signature by each secret: a receiver needs to know one of them.

    >>> headers = sign(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_1", 1614265330, b"{}")
    >>> headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"][:3]
    ('msg_1', '1614265330', 'v1,')
    """
    signed = [_VERSION + _digest(secret, identity, str(timestamp_s), body) for secret in secrets]
    return {
        "webhook-id": identity, "webhook-timestamp": str(timestamp_s), "webhook-signature": " ".join(signed)
    }  # fmt: skip


def _digest(secret: str, identity: str, timestamp: str, body: bytes) -> str:
    key = b64decode(secret.removeprefix(PREFIX))
    return b64encode(hmac.digest(key, f"{identity}.{timestamp}.".encode() + body, "sha256")).decode()


def is_genuine(secrets: Iterable[str], headers: Mapping[str, str], body: bytes, *, now_s: int) -> bool:
    """What a receiver asks: whether one of the secrets signed this message, not long ago."""
    identity, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    with suppress(ValueError):
        if identity and abs(now_s - int(timestamp)) <= TOLERANCE.total_seconds():
            given = headers.get("webhook-signature", "").split(" ")
            wanted = [_VERSION + _digest(secret, identity, timestamp, body) for secret in secrets]
            return any(hmac.compare_digest(one.encode(), other.encode()) for one in given for other in wanted)
    return False
