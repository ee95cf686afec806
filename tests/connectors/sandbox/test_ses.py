"""The simulated Amazon SES, as the connector meets it: a process of its own, over TLS."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from helpers.deliveries import delivery
from helpers.dkim import verifies
from helpers.sandbox_process import Sandbox

from connectors.providers.channel import Delivery, Failed, Rejected, Result, Throttled
from connectors.providers.email.mail import build_mail, dkim_signer
from connectors.providers.email.options import SesOptions
from connectors.providers.email.ses import REWRITTEN, SesChannel
from connectors.providers.email.sigv4 import Credential
from connectors.sandbox.journal import Journal
from connectors.sandbox.ses import SesServer
from state.model.content import EmailContent

MAIL = EmailContent("Your code", "Your code is 123456\n", "<p>Your code is <b>123456</b></p>")


def mail_to(address: str, content: EmailContent = MAIL) -> Delivery:
    return delivery(content, address=address, channel="email", provider_id="<1@carillon.example>")


def send_one(options: SesOptions, address: str, clock_s: Callable[[], float] = time.time) -> Result:
    async def run() -> Result:
        channel = SesChannel(options, clock_s=clock_s)
        await channel.connect()
        try:
            return await channel.send(mail_to(address))
        finally:
            await channel.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rejected", Rejected("MessageRejected")),
        ("unverified", Failed("MessageRejected: not verified")),
        ("domain", Failed("MailFromDomainNotVerifiedException", of_credential=True)),
        ("suspended", Failed("AccountSuspendedException", of_credential=True)),
        ("paused", Failed("SendingPausedException", of_credential=True)),
        ("noset", Failed("NotFoundException", of_credential=True)),
        ("quota", Throttled(timedelta(hours=1), "TooManyRequestsException: daily quota")),
        ("limit", Throttled(timedelta(hours=1), "LimitExceededException: daily quota")),
        ("throttled", Throttled(None, "ThrottlingException")),
        ("429", Throttled(None, "TooManyRequestsException")),
        ("400", Rejected("BadRequestException")),
        ("403", Failed("InvalidSignatureException", of_credential=True)),
        ("503", Failed("status 503")),
        ("504", Failed("status 504", ambiguous=True)),
    ],
)
def test_answers_of_the_simulator(sandbox: Sandbox, name: str, expected: Result) -> None:
    assert send_one(sandbox.options.ses, f"{name}-b@example.com") == expected
    assert len(sandbox.to("ses", f"{name}-b@example.com")) == 1


@pytest.mark.parametrize(
    ("changes", "late_s", "reason"),
    [
        ({"secret_access_key": "another"}, 0, "InvalidSignatureException"),
        ({"access_key_id": "AKIDANOTHER"}, 0, "UnrecognizedClientException"),
        ({"session_token": "another"}, 0, "UnrecognizedClientException"),
        ({"region": "eu-west-2"}, 0, "InvalidSignatureException"),
        ({"sender": "other@carillon.example"}, 0, "MessageRejected: not verified"),
        ({}, 330, "InvalidSignatureException: clock"),
        ({}, -330, "InvalidSignatureException: clock"),
    ],
)
def test_what_is_wrong_with_our_key_or_clock_is_our_fault_and_no_address_is_retired(
    sandbox: Sandbox, changes: dict[str, Any], late_s: float, reason: str
) -> None:
    options = dataclasses.replace(sandbox.options.ses, **changes)
    refused = not reason.endswith("not verified")
    expected = Failed(reason, of_credential=refused)
    assert send_one(options, "key@example.com", lambda: time.time() - late_s) == expected


def test_a_signature_of_the_mail_is_still_good_when_ses_has_put_in_its_own_headers(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    file, key = tmp_path / "key.pem", Ed25519PrivateKey.generate()
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    options = dataclasses.replace(sandbox.options.ses, dkim_key=file, dkim_selector="mail1")
    signer = dkim_signer(options, rewritten=REWRITTEN)
    content = EmailContent("Grüße", ".\n..\nfrom here on\n\n\n", "<p>.</p>", "https://x.example/u")
    mail = build_mail(mail_to("b@example.com", content), options, date_s=0, signer=signer)
    theirs = re.sub(rb"(Date|Message-ID): [^\r]*", rb"\1: <theirs@x>", mail)
    assert theirs.count(b"theirs") == 2
    assert signer is not None
    assert verifies(theirs, signer.dns_record()[1])
    assert not verifies(theirs.replace(b"To: b@", b"To: c@"), signer.dns_record()[1])


def test_a_mail_may_come_in_parts(tmp_path: Path) -> None:
    server = SesServer(Journal(tmp_path, "ses"), Credential("k", "s", "eu-west-1", "ses"), "a@b.c", clock_s=time.time)
    part = {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "plain"}, "Html": {"Data": "<p>rich</p>"}}}
    content = {"FromEmailAddress": "a@b.c", "Destination": {"ToAddresses": ["d@e.f"]}, "Content": {"Simple": part}}
    answer = server._mail(orjson.dumps(content))
    assert (answer.status, answer.to) == (200, "d@e.f")
    assert answer.shown is not None
    mail = message_from_bytes(answer.shown, policy=policy.default)
    assert (mail["From"], mail["To"], mail["Subject"]) == ("a@b.c", "d@e.f", "Hello")
    assert [each.get_content().strip() for each in mail.iter_parts()] == ["plain", "<p>rich</p>"]
