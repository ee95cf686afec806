"""Keys and certificates of the sandbox, made at its first start.

A CA, a server certificate for this machine, the P-256 keys with which our side signs its tokens for APNs and for push
services of browsers, a service account for FCM, and what browsers' keys are made of. Private keys have mode 0600.
"""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from connectors.sandbox.ports import FILE_NAME
from state.disk.files import PRIVATE, replace_file

_VALIDITY = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class SandboxFiles:
    """Where the files of a sandbox directory are."""

    directory: Path

    @property
    def ca(self) -> Path:
        """The certificate to trust."""
        return self.directory / "ca.pem"

    @property
    def server(self) -> Path:
        """The server's certificate and key."""
        return self.directory / "server.pem"

    @property
    def expired(self) -> Path:
        """The same, of a certificate that ended long ago (`certificate` of `connectors.sandbox.misbehaviour`)."""
        return self.directory / "expired.pem"

    @property
    def signing_key(self) -> Path:
        """The key of the tokens for APNs."""
        return self.directory / "apns.p8"

    @property
    def service_account(self) -> Path:
        """Who sends to FCM, in the form of Google's files."""
        return self.directory / "fcm.json"

    @property
    def vapid_key(self) -> Path:
        """The key that browsers subscribed with, of the tokens for their push service."""
        return self.directory / "vapid.pem"

    @property
    def browsers(self) -> Path:
        """Of which the keys of browsers are made."""
        return self.directory / "browsers.key"

    @property
    def ports(self) -> Path:
        """Where the servers listen."""
        return self.directory / FILE_NAME


def make_certificates(files: SandboxFiles) -> None:
    """Make what is missing; what exists stays."""
    for file in (files.signing_key, files.vapid_key):
        if not file.exists():
            replace_file(file, _pem(ec.generate_private_key(ec.SECP256R1())), mode=PRIVATE)
    if not files.browsers.exists():
        replace_file(files.browsers, secrets.token_bytes(32), mode=PRIVATE)
    if not files.service_account.exists():
        replace_file(files.service_account, _service_account(), mode=PRIVATE)
    if not (files.ca.exists() and files.server.exists() and files.expired.exists()):
        _make_chain(files)


def _service_account() -> bytes:
    account = {
        "type": "service_account",
        "project_id": "carillon-sandbox",
        "private_key_id": "sandbox",
        "private_key": _pem(rsa.generate_private_key(public_exponent=65_537, key_size=2048)).decode(),
        "client_email": "sandbox@carillon-sandbox.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return orjson.dumps(account, option=orjson.OPT_INDENT_2)


def _make_chain(files: SandboxFiles) -> None:
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Carillon sandbox CA")])
    authority = (
        _builder(ca_name, ca_name, ca_key.public_key(), datetime.now(UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    now = datetime.now(UTC)
    for file, at in ((files.expired, now - _VALIDITY - timedelta(days=30)), (files.server, now)):
        server = _server_certificate(ca_name, server_key.public_key(), at).sign(ca_key, hashes.SHA256())
        replace_file(file, _pem(server_key) + server.public_bytes(Encoding.PEM), mode=PRIVATE)
    replace_file(files.ca, authority.public_bytes(Encoding.PEM), mode=PRIVATE)


def _server_certificate(issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    places = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        _builder(name, issuer, key, now)
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALIDITY)
    )


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
