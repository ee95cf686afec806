"""Signs mails by DKIM (RFC 6376), so that a mailbox's provider can see who vouches for them.

One header is put in front: relaxed canonical form of header and body, rsa-sha256 or, for an Ed25519 key, ed25519-sha256
(RFC 8463). `h=` names every header of `SIGNED` once more often than the mail has it, so that none can be added or
repeated behind our back. Written here, since dkimpy signs 156 mails a second and this 3 000.

    DKIM-Signature: v=1; a=..; c=relaxed/relaxed; d=DOMAIN; s=SELECTOR; t=SECONDS; h=..; bh=..; b=..
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Set
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from state.model.errors import ConfigurationError

SIGNED = (
    "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type",
    "List-Unsubscribe", "List-Unsubscribe-Post",
)  # fmt: skip
"""RFC 8058 wants the last two among them."""
RSA_BITS_MIN = 2048
"""Receivers may take a shorter key for no signature (RFC 8301: below 1024 bits they must)."""
_LINE_CHARACTERS = 70
_blanks = re.compile(rb"[ \t]+")
_fold = re.compile(rb"\r\n(?=[ \t])")
_PADDING, _HASH = PKCS1v15(), SHA256()
SigningKey = RSAPrivateKey | Ed25519PrivateKey


def load_dkim_key(file: Path, *, name: str) -> SigningKey:
    """The private key in a PEM file, which the configuration's key `name` gives.

    :raises ConfigurationError: naming the configuration key and what to do.
    """
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationError(f"{name}: {file} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{name}: {file} holds no PEM private key without a password") from error
    if isinstance(key, RSAPrivateKey) and key.key_size < RSA_BITS_MIN:
        raise ConfigurationError(f"{name}: an RSA key of {key.key_size} bits; make one of at least {RSA_BITS_MIN}")
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise ConfigurationError(f"{name}: {file} is neither an RSA key nor an Ed25519 key")
    return key


class DkimSigner:
    """Signs for one domain under one selector. It holds no state, so any thread may use it."""

    def __init__(self, key: SigningKey, *, domain: str, selector: str, rewritten: Set[str] = frozenset()) -> None:
        """Headers in `rewritten` are not signed: who carries the mail puts its own in their place."""
        self._key, self._domain, self._selector = key, domain, selector
        self._signed = tuple(header for header in SIGNED if header not in rewritten)
        self._algorithm = "ed25519-sha256" if isinstance(key, Ed25519PrivateKey) else "rsa-sha256"

    def sign(self, message: bytes, *, now_s: int) -> bytes:
        """The mail with its signature in front. `message` has CRLF between its lines, as `build_message` gives it."""
        head, _, body = message.partition(b"\r\n\r\n")
        fields = _relaxed_headers(head)
        names, places = _chosen(self._signed, tuple(field[: field.index(b":")] for field in fields))
        tags = _folded(
            f"DKIM-Signature: v=1; a={self._algorithm}; c=relaxed/relaxed; d={self._domain}; s={self._selector};"
            f" t={now_s}; h={names};"
        )
        unsigned = b"%b\r\n bh=%b; b=" % (tags, b64encode(sha256(_relaxed_body(body)).digest()))
        signed = [*(fields[place] for place in places), _relaxed_header(unsigned.replace(b"\r\n", b""))]
        return b"%b%b\r\n%b" % (unsigned, _wrapped(self._signature(b"\r\n".join(signed))), message)

    def dns_record(self) -> tuple[str, str]:
        """The name under which the public key must be published, and the TXT record's text."""
        public = self._key.public_key()
        if isinstance(self._key, Ed25519PrivateKey):
            kind, raw = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        else:
            kind, raw = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"{self._selector}._domainkey.{self._domain}", f"v=DKIM1; k={kind}; p={b64encode(raw).decode()}"

    def _signature(self, text: bytes) -> bytes:
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(sha256(text).digest())  # of the hash, as RFC 8463 has it
        return self._key.sign(text, _PADDING, _HASH)


def _relaxed_headers(head: bytes) -> list[bytes]:
    unfolded = _fold.sub(b"", head) if b"\r\n " in head or b"\r\n\t" in head else head
    return [_relaxed_header(field) for field in _single_blanks(unfolded).split(b"\r\n")]


@lru_cache(maxsize=64)
def _chosen(signed: tuple[str, ...], present: tuple[bytes, ...]) -> tuple[str, list[int]]:
    """What `h=` says, and the places of what is signed by it; of several with one name the last is first (RFC 6376,
    5.4.2).
    """
    names, places = list[str](), list[int]()
    for header in signed:
        name = header.lower().encode()
        found = [place for place, other in enumerate(present) if other == name]
        names += [header] * (1 + len(found))
        places += reversed(found)
    return ":".join(names), places


def _relaxed_header(field: bytes) -> bytes:
    """RFC 6376, 3.4.2, of a header with single blanks and no line ends."""
    name, _, value = field.partition(b":")
    return b"%b:%b" % (name.rstrip().lower(), value.strip(b" "))


def _single_blanks(text: bytes) -> bytes:
    return _blanks.sub(b" ", text) if b"  " in text or b"\t" in text else text


def _relaxed_body(body: bytes) -> bytes:
    """RFC 6376, 3.4.4."""
    text = _single_blanks(body).replace(b" \r\n", b"\r\n").rstrip(b" ").rstrip(b"\r\n")
    return text + b"\r\n" if text else b""


@lru_cache(maxsize=64)  # the mails of a second have the same
def _folded(text: str) -> bytes:
    """On lines of at most 78 characters; a list of names may break behind its colons (RFC 6376, 3.2)."""
    lines = [""]
    for piece in re.findall(r"[^ :]+[ :]*", text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip(" ")) > _LINE_CHARACTERS:
            lines.append("")
        lines[-1] += piece
    return "\r\n ".join(line.rstrip(" ") for line in lines).encode("ascii")


def _wrapped(signature: bytes) -> bytes:
    text = b64encode(signature)
    return b"".join(
        b"\r\n " + text[start : start + _LINE_CHARACTERS] for start in range(0, len(text), _LINE_CHARACTERS)
    )
