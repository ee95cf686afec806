"""Signatures that receivers find good, and that break whenever what they cover does."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as elliptic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from helpers.deliveries import delivery
from helpers.dkim import tags, verifies
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.providers.email.dkim import SIGNED, DkimSigner, SigningKey, load_dkim_key
from connectors.providers.email.mail import build_mail
from connectors.providers.email.message import build_message
from connectors.providers.email.options import SmtpOptions
from state.model.content import EmailContent
from state.model.errors import ConfigurationError

GOLDEN = Path(__file__).parents[3] / "golden" / "dkim"
KEYS: dict[str, SigningKey] = {
    "rsa": generate_private_key(public_exponent=65537, key_size=2048),
    "ed25519": Ed25519PrivateKey.generate(),
}
OTHERS: dict[str, SigningKey] = {
    "rsa": generate_private_key(public_exponent=65537, key_size=2048),
    "ed25519": Ed25519PrivateKey.generate(),
}
KINDS = pytest.mark.parametrize("kind", list(KEYS))


def signer(kind: str) -> DkimSigner:
    return DkimSigner(KEYS[kind], domain="example.com", selector="mail1")


def signed(kind: str, *, subject: str = "s", text: str = "t", url: str | None = "https://x.example/u") -> bytes:
    message = build_message(
        EmailContent(subject, text, "<p>h</p>", url),
        recipient="to@example.com", sender="from@example.com", sender_name="Caríllon",
        identity="<a@example.com>", date_s=0,
    )  # fmt: skip
    return signer(kind).sign(message, now_s=1_700_000_000)


def published(kind: str) -> str:
    return signer(kind).dns_record()[1]


@KINDS
def test_the_verifier_agrees_with_dkimpy(kind: str) -> None:
    mail, text = (GOLDEN / f"{kind}.eml").read_bytes(), (GOLDEN / f"{kind}.txt").read_text()
    assert verifies(mail, text)
    assert not verifies(mail.replace(b"hungry", b"angry"), text)
    assert not verifies(mail.replace(b"dinner", b"lunch"), text)
    assert not verifies(mail.replace(b"\r\nTo:", b"\r\nList-Unsubscribe: <x>\r\nTo:"), text)


WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="="), max_size=90)
BODIES = st.text(st.sampled_from(" \t\n\rabcü.-="), max_size=200)


@KINDS
@settings(max_examples=100, deadline=None)
@given(WORDS, BODIES, st.sampled_from([None, "https://x.example/" + "u" * 150]))
def test_whatever_a_mail_says_its_signature_is_good(kind: str, subject: str, text: str, url: str | None) -> None:
    mail = signed(kind, subject=subject, text=text, url=url)
    assert verifies(mail, published(kind))
    other = DkimSigner(OTHERS[kind], domain="example.com", selector="mail1")
    assert not verifies(mail, other.dns_record()[1])


@KINDS
def test_no_header_that_counts_can_be_changed_or_added(kind: str) -> None:
    mail, text = signed(kind), published(kind)
    names = tags(mail.partition(b"\r\n\r\n")[0].decode().partition(":")[2].partition("\r\nFrom:")[0])["h"].split(":")
    assert {name: names.count(name) for name in names} == dict.fromkeys(SIGNED, 2)
    for name in SIGNED:
        raw = name.encode()
        assert not verifies(mail.replace(b"\r\n" + raw + b": ", b"\r\n" + raw + b": x", 1), text)
        assert not verifies(mail.replace(b"\r\n\r\n", b"\r\n" + raw + b": x\r\n\r\n", 1), text)
    assert verifies(mail.replace(b"\r\n\r\n", b"\r\nReceived: by a relay\r\n\r\n", 1), text)


@KINDS
def test_a_mail_that_nobody_can_leave_cannot_be_given_a_link_behind_our_back(kind: str) -> None:
    mail, text = signed(kind, url=None), published(kind)
    assert verifies(mail, text)
    assert not verifies(mail.replace(b"\r\n\r\n", b"\r\nList-Unsubscribe: <https://evil.example>\r\n\r\n", 1), text)


@KINDS
def test_a_key_comes_from_its_file_and_says_what_dns_must_hold(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(KEYS[kind].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    loaded = DkimSigner(load_dkim_key(file, name="providers.smtp.dkim_key"), domain="example.com", selector="mail1")
    assert loaded.dns_record() == ("mail1._domainkey.example.com", published(kind))
    assert tags(published(kind))["k"] == kind


def test_what_is_no_key_is_refused_by_its_option(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    short = generate_private_key(public_exponent=65537, key_size=1024)
    wrong = [b"", b"no key", *(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for key in (short, elliptic(SECP256R1()))
    )]  # fmt: skip
    for content in wrong:
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"^providers\.smtp\.dkim_key: "):
            load_dkim_key(file, name="providers.smtp.dkim_key")
    with pytest.raises(ConfigurationError, match=r"^providers\.smtp\.dkim_key: .* cannot be read"):
        load_dkim_key(tmp_path / "nothing", name="providers.smtp.dkim_key")


@pytest.mark.parametrize("transactional", [False, True])
def test_both_senders_are_signed_for_their_domain(transactional: bool) -> None:
    options = SmtpOptions(host="localhost", sender="news@example.com", dkim_selector="mail1")
    content = EmailContent("s", "t", "<p>h</p>", transactional=transactional)
    sent = delivery(content, address="to@example.com", channel="email", provider_id="<a@example.com>")
    mail = build_mail(sent, options, date_s=0, signer=signer("ed25519"))
    local = "news+account" if transactional else "news"
    assert f'From: "Carillon" <{local}@example.com>\r\n'.encode() in mail
    assert b" d=example.com;" in mail
    assert options.signing_domain == "example.com"
    assert verifies(mail, published("ed25519"))
    assert not verifies(mail.replace(b"<news", b"<nows"), published("ed25519"))
