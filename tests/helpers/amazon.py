"""Amazon's part in the messages of SNS: its key, its certificate, and what it signs."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:eu-west-1:123456789012:mails"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem"
CONFIRM = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
KEY, OTHER = generate_private_key(65537, 2048), generate_private_key(65537, 2048)
NOTIFICATION = {
    "Type": "Notification", "MessageId": "m1", "TopicArn": TOPIC, "Subject": "Amazon SES", "Message": '{"a":"ü"}',
    "Timestamp": "2026-11-28T21:00:00.000Z",
}  # fmt: skip
CONFIRMATION = {
    "Type": "SubscriptionConfirmation", "MessageId": "m2", "Token": "t", "TopicArn": TOPIC,
    "Message": "You have chosen", "SubscribeURL": CONFIRM, "Timestamp": "2026-11-28T21:00:00.000Z",
}  # fmt: skip


def certificate(key: RSAPrivateKey = KEY) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM)


def signed(fields: dict[str, str], version: str = "2", key: RSAPrivateKey = KEY) -> dict[str, Any]:
    """As the documentation says: name and value by name, a line end behind each."""
    text = "".join(f"{name}\n{fields[name]}\n" for name in sorted(fields)).encode()
    algorithm = SHA256() if version == "2" else SHA1()
    signature = b64encode(key.sign(text, PKCS1v15(), algorithm)).decode()
    return fields | {"Signature": signature, "SignatureVersion": version, "SigningCertURL": CERTIFICATE}


def notification(event: Any) -> dict[str, Any]:
    return signed(NOTIFICATION | {"Message": json.dumps(event)})


def confirmation(**changed: str) -> dict[str, Any]:
    return signed(CONFIRMATION | changed)
