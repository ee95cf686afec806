"""Made-up browsers: their keys are made of a secret of the sandbox and their names, so that nothing of them is stored.

A browser's endpoint is `https://127.0.0.1:PORT/push/NAME`. A name may ask for a misbehaviour (`connectors.sandbox`).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from urllib.parse import quote

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from state.model.errors import CarillonError
from state.model.subscriptions import unpadded

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256: how many private keys there are."""
_KEY_AT = 21
"""Salt, record size and the key's length stand before the sender's key."""


class UndecryptableError(CarillonError):
    """A browser can make nothing of a body."""


@dataclass(frozen=True, slots=True)
class Browsers:
    """All browsers of one sandbox."""

    secret: bytes = field(repr=False)

    def address(self, name: str, origin: str) -> str:
        """The subscription of a browser at the push service that is at `origin`, as text."""
        keys = {"auth": unpadded(self._shared(name)), "p256dh": unpadded(self._public(name))}
        return orjson.dumps({"endpoint": f"{origin}/push/{quote(name, safe='')}", "keys": keys}).decode()

    def decrypt(self, name: str, body: bytes) -> bytes:
        """What the browser reads (RFC 8291).

        :raises UndecryptableError: nothing.
        """
        key_ends = _KEY_AT + 65
        if len(body) < key_ends or int.from_bytes(body[16:20], "big") < 18 or body[20] != 65:
            raise UndecryptableError("no header of aes128gcm with a key on P-256")
        salt, sender = body[:16], body[_KEY_AT:key_ends]
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
            shared = self._private(name).exchange(ec.ECDH(), point)
            material = _hkdf(self._shared(name), shared, b"WebPush: info\0" + self._public(name) + sender, 32)
            content_key = _hkdf(salt, material, b"Content-Encoding: aes128gcm\0", 16)
            nonce = _hkdf(salt, material, b"Content-Encoding: nonce\0", 12)
            plain = AESGCM(content_key).decrypt(nonce, body[key_ends:], None)
        except (ValueError, InvalidTag) as error:
            raise UndecryptableError("was not encrypted for this browser") from error
        message = plain.rstrip(b"\0")
        if not message.endswith(b"\x02"):
            raise UndecryptableError("is no last record")
        return message[:-1]

    def _private(self, name: str) -> ec.EllipticCurvePrivateKey:
        number = int.from_bytes(self._made("key", name), "big") % (_ORDER - 1) + 1
        return ec.derive_private_key(number, ec.SECP256R1())

    def _public(self, name: str) -> bytes:
        return self._private(name).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def _shared(self, name: str) -> bytes:
        return self._made("auth", name)[:16]

    def _made(self, what: str, name: str) -> bytes:
        return hmac.digest(self.secret, f"{what}/{name}".encode(), "sha256")


def _hkdf(salt: bytes, material: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(material)
