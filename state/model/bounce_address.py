"""The envelope sender of a mail, which says by itself to what it was sent (VERP), signed: bounces come back to it.

It is LOCAL+TOKEN@DOMAIN of a configured LOCAL@DOMAIN. A token is base32 in lower case, since servers fold letters,
without padding, of these bytes, big-endian:

    name of the endpoint 8 bytes, registered_at 6 bytes (ms), 10 bytes of HMAC-SHA256 over `_PURPOSE` and these

A local part has 64 characters at most (RFC 5321), so a user's id is not in it. The name is a keyed digest of user and
endpoint, which whoever knows a user can compute with the key. The keys are those of links (`unsubscribe.py`).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

LOCAL_MAX = 24
"""Characters of LOCAL, beside which a token has room."""
_PURPOSE = b"carillon bounce 1\0"
_NAME_BYTES, _TIME_BYTES, _MAC_BYTES = 8, 6, 10
_TOKEN_CHARS = 39


class SentTo(NamedTuple):
    """What a token names: an address as it was registered when a mail went out."""

    key: bytes
    """That signed it."""
    name: bytes
    registered_at: int
    """Milliseconds."""


def endpoint_name(key: bytes, user: str, endpoint_id: str) -> bytes:
    """How a token names an endpoint for mail."""
    text = f"{len(user)}\0{user}\0{endpoint_id}".encode("utf-8", "surrogatepass")
    return blake2b(_PURPOSE + text, digest_size=_NAME_BYTES, key=key[:64]).digest()


class BounceAddresses:
    """Makes the addresses of one configured address, and reads them in what comes back."""

    def __init__(self, address: str, keys: Sequence[bytes]) -> None:
        """The first of `keys` signs."""
        self._local, _, self._domain = address.rpartition("@")
        self._keys = tuple(keys)
        self._found = re.compile(
            rf"(?<![A-Za-z0-9]){re.escape(self._local)}\+([a-z2-7]{{{_TOKEN_CHARS}}})@{re.escape(self._domain)}",
            re.IGNORECASE,
        )

    def of(self, user: str, endpoint_id: str, registered_at: int) -> str:
        """The envelope sender of a mail to an endpoint; the same for the same registration."""
        key = self._keys[0]
        body = endpoint_name(key, user, endpoint_id) + registered_at.to_bytes(_TIME_BYTES, "big")
        token = base64.b32encode(body + _mac(key, body)).decode().rstrip("=").lower()
        return f"{self._local}+{token}@{self._domain}"

    def read(self, text: str) -> Iterator[SentTo]:
        """What the addresses in a text name; those that none of the keys signed name nothing."""
        for token in dict.fromkeys(found.lower() for found in self._found.findall(text)):
            sent_to = self._signed(token)
            if sent_to is not None:
                yield sent_to

    def is_one(self, address: str) -> bool:
        """Whether this is such an address, and nothing beside it."""
        found = self._found.fullmatch(address)
        return found is not None and self._signed(found[1].lower()) is not None

    def _signed(self, token: str) -> SentTo | None:
        try:
            raw = base64.b32decode(token.upper() + "=")
        except binascii.Error:
            return None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        for key in self._keys:
            if hmac.compare_digest(mac, _mac(key, body)):
                return SentTo(key, body[:_NAME_BYTES], int.from_bytes(body[_NAME_BYTES:], "big"))
        return None


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + body, "sha256")[:_MAC_BYTES]
