"""Signed tokens: what the bearer of a link may do, said by the link itself.

A token is base64url without padding of these bytes, big-endian:

    version u8 (1), key id 4 bytes, moment i64 (ms), then each text as length u16 and UTF-8,
    then 32 bytes of HMAC-SHA256 over the purpose and everything before.

A purpose is a name of bytes. A token of one purpose is none of another, whatever keys they share. Any key of the
installation may have signed it, so that a key can be changed while its links are in use.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

_VERSION = 1
_HEAD = struct.Struct(">B4sq")
_LENGTH = struct.Struct(">H")
_MAC_BYTES = 32


class Signed(NamedTuple):
    """What a token says."""

    moment: int
    """In milliseconds."""
    texts: tuple[str, ...]


class TokenKeys:
    """Signs tokens of one purpose with the first key, and reads those of every key."""

    def __init__(self, purpose: bytes, keys: Sequence[bytes]) -> None:
        """Without keys no token is good, and none can be signed."""
        self._purpose = purpose
        self._keys = {self._key_id(key): key for key in reversed(keys)}
        self._first = keys[0] if keys else None
        self._first_id = self._key_id(keys[0]) if keys else b""

    def sign(self, said: Signed) -> str:
        """The token; the same for the same."""
        if self._first is None:
            raise ValueError("no key signs links")
        head = _HEAD.pack(_VERSION, self._first_id, said.moment)
        body = head + b"".join(map(_packed, said.texts))
        return _encoded(body + self._mac(self._first, body))

    def read(self, token: str) -> Signed | None:
        """What it says; None if none of the keys signed exactly this token."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(body) < _HEAD.size or _encoded(raw) != token:
            return None
        version, key_id, moment = _HEAD.unpack_from(body)
        key = self._keys.get(key_id)
        if version != _VERSION or key is None or not hmac.compare_digest(mac, self._mac(key, body)):
            return None
        return Signed(moment, tuple(_texts(body[_HEAD.size :])))

    def _key_id(self, key: bytes) -> bytes:
        return sha256(self._purpose + key).digest()[:4]

    def _mac(self, key: bytes, body: bytes) -> bytes:
        return hmac.digest(key, self._purpose + body, "sha256")


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
