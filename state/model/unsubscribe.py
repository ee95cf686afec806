"""The signed links by which a person leaves a category of mails without signing in (RFC 8058).

A token is base64url without padding of these bytes, big-endian:

    version u8 (1), key id 4 bytes, issued i64 (ms), then user, channel and each category as length u16 and UTF-8,
    then 32 bytes of HMAC-SHA256 over `_PURPOSE` and everything before.

It has no end: who unsubscribes after two years is right, too. Any key of the installation may have signed it, so that a
key can be changed while its links are in people's mailboxes. It opens nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

KEY_BYTES_MIN = 32
_PURPOSE = b"carillon unsubscribe 1\0"
_VERSION = 1
_HEAD = struct.Struct(">B4sq")
_LENGTH = struct.Struct(">H")
_MAC_BYTES = 32


class Unsubscription(NamedTuple):
    """What a link switches off."""

    user: str
    channel: str
    categories: tuple[str, ...]
    issued_at: int
    """Of the emission whose mail bore it, in milliseconds; it decides nothing."""


class LinkKeys:
    """Signs tokens with the first key, and reads those of every key."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Without keys no token is good, and none can be signed."""
        self._keys = {_key_id(key): key for key in reversed(keys)}
        self._first = keys[0] if keys else None

    def sign(self, link: Unsubscription) -> str:
        """The token; the same for the same link."""
        if self._first is None:
            raise ValueError("no key signs links")
        texts = (link.user, link.channel, *link.categories)
        body = _HEAD.pack(_VERSION, _key_id(self._first), link.issued_at) + b"".join(map(_packed, texts))
        return _encoded(body + _mac(self._first, body))

    def read(self, token: str) -> Unsubscription | None:
        """What it switches off; None if none of the keys signed exactly this token."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(body) < _HEAD.size or _encoded(raw) != token:
            return None
        version, key_id, issued_at = _HEAD.unpack_from(body)
        key = self._keys.get(key_id)
        if version != _VERSION or key is None or not hmac.compare_digest(mac, _mac(key, body)):
            return None
        user, channel, *categories = _texts(body[_HEAD.size :])
        return Unsubscription(user, channel, tuple(categories), issued_at)


def _key_id(key: bytes) -> bytes:
    return sha256(_PURPOSE + key).digest()[:4]


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + body, sha256).digest()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _packed(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return _LENGTH.pack(len(raw)) + raw


def _texts(raw: bytes) -> list[str]:
    """They were signed, so they are whole."""
    texts = []
    while raw:
        end = _LENGTH.size + _LENGTH.unpack_from(raw)[0]
        texts.append(raw[_LENGTH.size : end].decode("utf-8", "surrogatepass"))
        raw = raw[end:]
    return texts
