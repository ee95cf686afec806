"""The id under which a delivery travels where a provider takes none of ours: among the data of the message."""

from __future__ import annotations

from hashlib import sha256

ID_KEY = "carillon_id"
_NAMESPACE = b"carillon/fcm/"
"""Of the first provider without an id; it stays, so that a resend after an upgrade has the id of the first try."""


def carillon_id(key: str) -> str:
    """That of a delivery key: 32 hexadecimal digits, since the key itself names a person."""
    return sha256(_NAMESPACE + key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
