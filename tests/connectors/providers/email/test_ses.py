"""What SES's answers mean, and what requests to it say: pure."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.utils import parseaddr
from pathlib import Path

import pytest
from helpers.deliveries import delivery

from connectors.providers.channel import Failed, Rejected, Result, Sent, Throttled
from connectors.providers.email import ses
from connectors.providers.email.message import UnsafeMessageError
from connectors.providers.email.options import SesOptions
from connectors.providers.transport import Response
from state.model.content import EmailContent

MAIL = delivery(
    EmailContent("Hé", "text", "<p>text</p>", "https://x.example/u"), address="a@b.example", channel="email",
    provider_id="<1@ours.example>",
)  # fmt: skip
OPTIONS = SesOptions(
    region="eu-west-1", access_key_id="AKID", secret_access_key="hidden", session_token="secret-token",
    sender="news@ours.example", configuration_set="news",
)  # fmt: skip


def answer(status: int, error: str = "", text: str = "", **headers: str) -> Result:
    named = {"x-amzn-errortype": error} if error else {}
    return ses.parse_response(Response(status, named | headers, json.dumps({"message": text}).encode()), MAIL)


@pytest.mark.parametrize(
    ("status", "error", "text", "expected"),
    [
        (400, "MessageRejected:http://internal.amazon.com/x/", "Too long.", Rejected("MessageRejected")),
        (400, "MessageRejected", "Email address is not verified.", Failed("MessageRejected: not verified")),
        (429, "", "Daily message quota exceeded.", Throttled(ses.QUOTA_WAIT, "status 429: daily quota")),
        (400, "Throttling", "Maximum sending rate exceeded.", Throttled(None, "Throttling")),
        (
            403,
            "InvalidSignatureException",
            "Signature expired: x",
            Failed("InvalidSignatureException: clock", of_credential=True),
        ),
        (400, "ExpiredTokenException", "", Failed("ExpiredTokenException", of_credential=True)),
        (403, "SomethingNew", "", Failed("status 403", of_credential=True)),
        (400, "SomethingNew", "", Rejected("status 400")),
        (404, "", "", Failed("status 404")),
        (500, "InternalFailure", "", Failed("status 500")),
        (502, "", "", Failed("status 502", ambiguous=True)),
    ],
)
def test_ses_errors(status: int, error: str, text: str, expected: Result) -> None:
    assert answer(status, error, text) == expected


def test_the_name_of_an_error_may_be_in_the_body() -> None:
    body = b'{"__type":"com.amazonaws.ses#SendingPausedException","Message":"x"}'
    assert ses.parse_response(Response(400, {}, body), MAIL) == Failed("SendingPausedException", of_credential=True)


def test_ses_waits_as_long_as_it_is_told() -> None:
    assert answer(429, **{"retry-after": "7"}) == Throttled(timedelta(seconds=7), "status 429")


def test_the_message_id_is_ses_own_if_it_is_one() -> None:
    assert ses.parse_response(Response(200, {}, b'{"MessageId":"0102-000000"}'), MAIL) == Sent("0102-000000")
    for body in (b"", b'{"MessageId":7}', b'{"MessageId":"%b"}' % (b"x" * 101)):
        assert ses.parse_response(Response(200, {}, body), MAIL) == Sent(MAIL.provider_id)


def test_ses_request() -> None:
    request = ses.build_request(MAIL, OPTIONS, now_s=1_700_000_000)
    content = json.loads(request.body)
    mail = message_from_bytes(b64decode(content["Content"]["Raw"]["Data"]), policy=policy.default)
    assert (request.method, request.path) == ("POST", "/v2/email/outbound-emails")
    assert content["Destination"] == {"ToAddresses": ["a@b.example"]}
    assert (content["FromEmailAddress"], content["ConfigurationSetName"]) == ("news@ours.example", "news")
    assert (mail["Subject"], mail["Message-ID"], mail["To"]) == ("Hé", "<1@ours.example>", "a@b.example")
    assert mail["List-Unsubscribe"] == "<https://x.example/u>"
    assert request.headers["x-amz-security-token"] == "secret-token"
    assert "/20231114/eu-west-1/ses/aws4_request" in request.headers["authorization"]
    assert "hidden" not in repr(OPTIONS) + repr(request)
    assert "secret-token" not in repr(OPTIONS)


def test_what_nobody_can_leave_has_another_from_in_envelope_and_mail() -> None:
    code = delivery(
        EmailContent("Code", "text", "<p>text</p>", transactional=True), address="a@b.example", channel="email",
        provider_id="<1@ours.example>", priority="P0",
    )  # fmt: skip
    for options, expected in (
        (OPTIONS, "news+account@ours.example"),
        (replace(OPTIONS, transactional_sender="codes@account.ours.example"), "codes@account.ours.example"),
    ):
        content = json.loads(ses.build_request(code, options, now_s=0).body)
        mail = message_from_bytes(b64decode(content["Content"]["Raw"]["Data"]), policy=policy.default)
        assert content["FromEmailAddress"] == parseaddr(str(mail["From"]))[1] == expected
        assert not [name for name in mail.keys() if name.startswith(("List-", "Precedence"))]  # noqa: SIM118  # a mail's are no dict's


@pytest.mark.parametrize(
    ("sender", "domain", "fits"),
    [
        ("codes@ours.example", "", True), ("codes@account.ours.example", "", True), ("codes@other.example", "", False),
        ("codes@yours.example", "", False), ("codes@other.example", "other.example", True), ("", "", True),
        ("", "mail.ours.example", True), ("codes@ours.example", "mail.ours.example", True), ("codes", "", False),
    ],
)  # fmt: skip
def test_both_senders_are_of_the_domain_that_signs(sender: str, domain: str, fits: bool) -> None:
    options = replace(
        OPTIONS, transactional_sender=sender, dkim_domain=domain, dkim_key=Path("key"), dkim_selector="mail1"
    )
    found = {fault.partition(":")[0] for fault in options.faults()}
    assert found == (set() if fits else {"providers.ses.transactional_sender"})


def test_what_could_be_smuggled_into_a_header_is_not_sent() -> None:
    unsafe = delivery(EmailContent("a\r\nBcc: x@y.example", "t", "h"), address="a@b.example", provider_id="<1@o>")
    with pytest.raises(UnsafeMessageError):
        ses.build_request(unsafe, OPTIONS, now_s=0)


def test_what_is_missing_is_named_by_its_key() -> None:
    faults = "\n".join(SesOptions(endpoint="http://x.example", dkim_key=Path("k"), dkim_selector="").faults())
    for key in ("region", "access_key_id", "secret_access_key", "endpoint", "sender", "dkim_selector"):
        assert f"providers.ses.{key}: " in faults
    assert not list(OPTIONS.faults())
    assert OPTIONS.origin == "https://email.eu-west-1.amazonaws.com"
