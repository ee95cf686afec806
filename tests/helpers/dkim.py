"""Verifies the DKIM signature of a mail as a receiver does (RFC 6376, RFC 8463), with the DNS record given.

dkimpy has no wheel, and the lock installs nothing else; so `tests/golden/dkim` holds mails that it signed, and a test
shows that this reads them as dkimpy does. It shares no code with the product.
"""

from __future__ import annotations

import base64
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key


def tags(text: str) -> dict[str, str]:
    """A list of `name=value`, without the spaces."""
    pairs = (part.partition("=") for part in text.split(";") if part.strip())
    return {name.strip(): re.sub(r"\s", "", value) for name, _, value in pairs}


def verifies(mail: bytes, dns_text: str) -> bool:
    """Whether the first DKIM-Signature of the mail holds under that TXT record."""
    head, _, body = mail.partition(b"\r\n\r\n")
    fields = [_field(raw) for raw in re.split(rb"\r\n(?![ \t])", head)]
    name, value = fields.pop(0)
    given = tags(value)
    assert (name, given["v"], given["c"]) == ("dkim-signature", "1", "relaxed/relaxed")
    if base64.b64encode(hashlib.sha256(_body(body)).digest()).decode() != given["bh"]:
        return False
    lines = []
    for wanted in given["h"].lower().split(":"):
        places = [place for place, (found, _) in enumerate(fields) if found == wanted]
        if places:
            lines.append("{}:{}\r\n".format(*fields.pop(places[-1])))
    lines.append("dkim-signature:" + re.sub(r"(\bb=)[^;]*", r"\1", value).strip())
    return _holds(given, tags(dns_text), "".join(lines).encode())


def _field(raw: bytes) -> tuple[str, str]:
    name, _, value = raw.decode("ascii").partition(":")
    return name.strip().lower(), re.sub(r"[ \t\r\n]+", " ", value).strip()


def _body(body: bytes) -> bytes:
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def _holds(given: dict[str, str], published: dict[str, str], text: bytes) -> bool:
    signature, public = base64.b64decode(given["b"]), base64.b64decode(published["p"])
    try:
        if given["a"] == "ed25519-sha256":
            Ed25519PublicKey.from_public_bytes(public).verify(signature, hashlib.sha256(text).digest())
        else:
            key = load_der_public_key(public)
            assert isinstance(key, RSAPublicKey)
            key.verify(signature, text, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
