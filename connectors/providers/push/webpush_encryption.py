"""Encryption of web push messages (RFC 8291, `aes128gcm` of RFC 8188): only the browser can read them.

A body is one record: salt (16 bytes), record size (4), length of the key (1), our public key (65), and the ciphertext
of the message, the byte 2, zeros, with its tag (16). The zeros fill the plaintext up to a multiple of PADDED_BYTES, so
that the length, which the push service sees, says little of the text.
"""

from __future__ import annotations

import os
from hmac import digest

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

BODY_MAX_BYTES = 4096
"""A push service refuses no body of this size (RFC 8030 7.2)."""
_RECORD_BYTES = 4096
_HEAD_BYTES = 16 + 4 + 1 + 65
_TAG_BYTES = 16
_DELIMITER = b"\x02"
MESSAGE_MAX_BYTES = BODY_MAX_BYTES - _HEAD_BYTES - _TAG_BYTES - len(_DELIMITER)
PADDED_BYTES = 256


def sealed(message: bytes, *, key: bytes, secret: bytes) -> bytes:
    """The body for the browser with this public key and this secret, by a key pair of this message alone.

    :raises ValueError: the message has more than MESSAGE_MAX_BYTES, or the key is no point on P-256.
    """
    return encrypted(
        padded(message), key=key, secret=secret, salt=os.urandom(16), own_key=ec.generate_private_key(ec.SECP256R1())
    )


def padded(message: bytes) -> bytes:
    """The plaintext of a record: the message, its end, and zeros."""
    if len(message) > MESSAGE_MAX_BYTES:
        raise ValueError("a message too long for one record")
    plain = message + _DELIMITER
    return plain.ljust(min(-(-len(plain) // PADDED_BYTES) * PADDED_BYTES, MESSAGE_MAX_BYTES + 1), b"\0")


def encrypted(plain: bytes, *, key: bytes, secret: bytes, salt: bytes, own_key: ec.EllipticCurvePrivateKey) -> bytes:
    """The body with this plaintext; pure."""
    browsers = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
    own = public_point(own_key)
    shared = own_key.exchange(ec.ECDH(), browsers)
    material = _derived(secret, shared, b"WebPush: info\0" + key + own, 32)
    content_key = _derived(salt, material, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(salt, material, b"Content-Encoding: nonce\0", 12)
    head = salt + _RECORD_BYTES.to_bytes(4, "big") + bytes([len(own)]) + own
    return head + AESGCM(content_key).encrypt(nonce, plain, None)


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Its public half, an uncompressed point."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _derived(salt: bytes, material: bytes, info: bytes, length: int) -> bytes:
    """HKDF (RFC 5869) with SHA-256, for at most 32 bytes."""
    return digest(digest(salt, material, "sha256"), info + b"\x01", "sha256")[:length]
