"""Messages of Amazon SNS, by which SES tells its events: signed by a key whose certificate Amazon serves.

A message is believed if it is of the topic that is configured, since anybody may have a topic of his own, and signed
by the certificate that it names. Certificates and confirmations are asked for at Amazon's own hosts alone.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.x509 import load_pem_x509_certificate

from state.model.errors import UNDECODABLE
from state.model.web_address import WebAddress, parse_url

NOTIFICATION: Final = "Notification"
CONFIRMATION: Final = "SubscriptionConfirmation"
AGE_MAX: Final = timedelta(hours=1, minutes=5)
"""Amazon repeats a message for an hour at most, and keeps its time; clocks differ a little."""
CERTIFICATES_MAX = 8
"""Kept at a time: a region has one, and a new one for some time beside it."""
_HOST = re.compile(r"sns\.[a-z0-9-]{1,30}\.amazonaws\.com(\.cn)?")
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9a-f]{1,64}\.pem")
_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
"""What is signed, in this order; what a message does not have is left out."""
_HASHES: dict[str, HashAlgorithm] = {"1": SHA1(), "2": SHA256()}  # noqa: S303 - version 1 is what SNS signs with
Fetch = Callable[[WebAddress], Awaitable[bytes | None]]
"""What a GET answers; None: nothing, or no success."""


class SnsMessage(msgspec.Struct, rename="pascal", frozen=True):
    """One message, of the kinds that are read."""

    type: str
    message_id: str
    topic_arn: str
    message: str
    timestamp: str
    signature: str
    signature_version: str
    signing_cert_url: str = msgspec.field(name="SigningCertURL")
    subject: str | None = None
    token: str | None = None
    subscribe_url: str | None = msgspec.field(name="SubscribeURL", default=None)

    def signed_text(self) -> bytes:
        """What the signature is over; empty: this kind is not read."""
        fields = msgspec.to_builtins(self)
        lines = [f"{name}\n{fields[name]}\n" for name in _SIGNED.get(self.type, ()) if fields[name] is not None]
        return "".join(lines).encode()


_decode = msgspec.json.Decoder(SnsMessage).decode


def decode_sns(body: bytes) -> SnsMessage | None:
    """A message of SNS; None: it is none."""
    try:
        return _decode(body)
    except UNDECODABLE:
        return None


def amazon_address(url: str | None, *, certificate: bool = False) -> WebAddress | None:
    """A URL of SNS itself, by TLS at the usual port; None: it is another's, or not a certificate's."""
    address = parse_url(url or "")
    if address is None or (address.scheme, address.port) != ("https", 443) or not _HOST.fullmatch(address.host):
        return None
    return address if not certificate or _CERTIFICATE.fullmatch(address.target) else None


def is_old(message: SnsMessage, now_ms: int) -> bool:
    """Whether Amazon wrote it longer ago than it repeats it, or it does not say when: somebody kept it."""
    try:
        age_s = now_ms / 1000 - datetime.fromisoformat(message.timestamp).timestamp()
    except (ValueError, OverflowError):
        return True
    return age_s > AGE_MAX.total_seconds()


class SnsSignatures:
    """Judges messages of one topic."""

    def __init__(self, topic_arn: str, fetch: Fetch) -> None:
        """`fetch` gets the certificates, which are kept."""
        self._topic_arn, self._fetch = topic_arn, fetch
        self._keys: dict[WebAddress, RSAPublicKey] = {}

    async def is_good(self, message: SnsMessage) -> bool:
        """Whether Amazon signed it, for this topic."""
        address, text = amazon_address(message.signing_cert_url, certificate=True), message.signed_text()
        algorithm = _HASHES.get(message.signature_version)
        if message.topic_arn != self._topic_arn or address is None or algorithm is None or not text:
            return False
        key = await self._key(address)
        if key is None:
            return False
        try:
            key.verify(b64decode(message.signature, validate=True), text, PKCS1v15(), algorithm)
        except (InvalidSignature, Base64Error, ValueError):
            return False
        return True

    async def _key(self, address: WebAddress) -> RSAPublicKey | None:
        if address not in self._keys:
            raw = await self._fetch(address)
            try:
                key = load_pem_x509_certificate(raw or b"").public_key()
            except ValueError:
                return None
            if not isinstance(key, RSAPublicKey):
                return None
            if len(self._keys) >= CERTIFICATES_MAX:
                self._keys.pop(next(iter(self._keys)))
            self._keys[address] = key
        return self._keys[address]
