"""What answers of providers mean, what requests say, mails that nothing is smuggled into: pure."""

from __future__ import annotations

import asyncio
import dataclasses
import email
import email.policy
import json
import uuid
from base64 import b64decode
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.providers.channel import Delivery, Failed, Rejected, Result, Sent, Throttled
from connectors.providers.email import smtp
from connectors.providers.email.message import UnsafeMessageError, build_message, is_mail_address, message_id
from connectors.providers.push import apns
from connectors.providers.push.apns_token import ProviderToken
from connectors.providers.sms import twilio
from connectors.providers.transport import Response
from state.model.content import Content, EmailContent, PushContent, SmsContent

REGISTERED = 1_000


def delivery(content: Content, **changes: Any) -> Delivery:
    values: dict[str, Any] = {
        "key": "em_1/u/push/d", "attempt": 1, "provider_id": "pid", "user": "u", "channel": "push", "device": "d",
        "platform": "ios", "address": "a" * 64, "registered_at": REGISTERED, "content": content, "priority": "P1",
        "expires_at": 1_700_000_000_999, "collapse": "c",
    }  # fmt: skip
    return Delivery(**(values | changes))


PUSH = delivery(PushContent("t", "b"))


def apns_answer(status: int, reason: str | None, **more: Any) -> Result:
    body = b"" if reason is None else json.dumps({"reason": reason, **more}).encode()
    return apns.parse_response(Response(status, {"apns-id": "echo"}, body), PUSH)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (200, None, Sent("echo")),
        (400, "BadDeviceToken", Rejected("BadDeviceToken", token_gone=REGISTERED)),
        (400, "DeviceTokenNotForTopic", Rejected("DeviceTokenNotForTopic", token_gone=REGISTERED)),
        (400, "TopicDisallowed", Failed("TopicDisallowed")),
        (400, "BadCollapseId", Rejected("BadCollapseId")),
        (400, "PayloadEmpty", Rejected("PayloadEmpty")),
        (400, "IdleTimeout", Failed("IdleTimeout")),
        (403, "ExpiredProviderToken", Failed("ExpiredProviderToken")),
        (403, "InvalidProviderToken", Failed("InvalidProviderToken")),
        (403, "BadEnvironmentKeyInToken", Failed("BadEnvironmentKeyInToken")),
        (403, "Forbidden", Failed("Forbidden", retryable=False)),
        (404, "BadPath", Rejected("BadPath")),
        (405, "MethodNotAllowed", Rejected("MethodNotAllowed")),
        (410, "ExpiredToken", Rejected("ExpiredToken", token_gone=REGISTERED)),
        (413, "PayloadTooLarge", Rejected("PayloadTooLarge")),
        (429, "TooManyRequests", Throttled(None, "TooManyRequests")),
        (429, "TooManyProviderTokenUpdates", Throttled(timedelta(minutes=20), "TooManyProviderTokenUpdates")),
        (500, "InternalServerError", Failed("InternalServerError")),
        (503, "Shutdown", Failed("Shutdown")),
        (400, "NeverSeenBefore", Rejected("NeverSeenBefore")),
        (403, "NeverSeenBefore", Failed("NeverSeenBefore")),
        (410, "NeverSeenBefore", Rejected("NeverSeenBefore", token_gone=REGISTERED)),
        (502, None, Failed("status 502")),
    ],
)
def test_apns_reasons(status: int, reason: str | None, expected: Result) -> None:
    assert apns_answer(status, reason) == expected


def test_apns_gone_as_of_the_providers_time() -> None:
    assert apns_answer(410, "Unregistered", timestamp=42) == Rejected("Unregistered", token_gone=42)


def test_a_credential_that_is_refused_never_costs_a_token() -> None:
    """What is wrong with us retires nobody's device."""
    for reason in ("InvalidProviderToken", "ExpiredProviderToken", "TopicDisallowed", "BadCertificate", "MissingTopic"):
        result = apns_answer(403, reason)
        assert isinstance(result, Failed)
        assert not result.ambiguous


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_of_any_provider_crashes_or_leaks_into_the_result(status: int, body: bytes) -> None:
    response = Response(status, {}, body)
    results = [apns.parse_response(response, PUSH), twilio.parse_response(response, PUSH)]
    results.append(smtp.parse_response(smtp.SmtpResponse("data", status, body.decode("latin-1")), PUSH))
    assert all(isinstance(result, Sent | Rejected | Throttled | Failed) for result in results)
    assert all("a" * 64 not in repr(result) for result in results)


def test_apns_request() -> None:
    request = apns.build_request(PUSH, topic="app", token="jwt")
    assert request.path == "/3/device/" + "a" * 64
    assert request.headers == {
        "authorization": "bearer jwt", "apns-id": "pid", "apns-topic": "app", "apns-push-type": "alert",
        "apns-priority": "10", "apns-expiration": "1700000000", "apns-collapse-id": "c",
    }  # fmt: skip
    assert json.loads(request.body)["aps"]["alert"] == {"title": "t", "body": "b"}
    assert apns.build_request(dataclasses.replace(PUSH, priority="P2"), topic="a", token="t").headers[
        "apns-priority"
    ] == "5"  # fmt: skip
    long = dataclasses.replace(PUSH, collapse="x" * 65)
    assert "apns-collapse-id" not in apns.build_request(long, topic="a", token="t").headers


def test_apns_id_is_a_canonical_uuid_of_the_key() -> None:
    first, again, other = apns.apns_id("k"), apns.apns_id("k"), apns.apns_id("l")
    assert first == again != other
    assert str(uuid.UUID(first)) == first


@given(st.text(max_size=9_000))
@settings(deadline=None, max_examples=60)
def test_every_payload_fits(body: str) -> None:
    content = PushContent("title", body.encode("utf-8", "replace").decode())
    assert len(apns.fit_payload(content)) <= apns.PAYLOAD_MAX_BYTES


@pytest.mark.parametrize("address", ["", "a" * 401, "a b", "a\r\nb" * 9, "ä" * 64])
def test_what_is_no_token_never_reaches_a_path(address: str) -> None:
    assert not apns.is_device_token(address)


@pytest.mark.parametrize(("address", "path"), [("tok1", "tok1"), ("a/b?c:d#e", "a%2Fb%3Fc%3Ad%23e"), ("..", "..")])
def test_a_token_is_one_segment_of_the_path(address: str, path: str) -> None:
    assert apns.is_device_token(address)
    assert apns.device_path(address) == f"/3/device/{path}"


def test_the_provider_token_is_minted_once_for_all_and_rarely() -> None:
    """At its age drawn between 30 and 50 minutes; after `expired` never within 20 minutes (429 otherwise)."""
    now = [1_000_000.0]
    key = ec.generate_private_key(ec.SECP256R1())
    holder = ProviderToken(
        key, team_id="T" * 10, key_id="K" * 10, clock_s=lambda: now[0], uniform=lambda low, high: (low + high) / 2
    )

    async def run() -> None:
        first = await holder.current()
        assert set(await asyncio.gather(*(holder.current() for _ in range(50)))) == {first}
        assert jwt.get_unverified_header(first) == {"alg": "ES256", "kid": "K" * 10, "typ": "JWT"}
        assert jwt.decode(first, key.public_key(), algorithms=["ES256"]) == {"iss": "T" * 10, "iat": 1_000_000}
        now[0] += 39 * 60
        assert await holder.current() == first
        now[0] += 2 * 60
        second = await holder.current()
        assert second != first
        assert await holder.expired(second) == second, "renewed within 20 minutes"
        now[0] += 20 * 60
        assert len(set(await asyncio.gather(*(holder.expired(second) for _ in range(50)))) - {second}) == 1

    asyncio.run(run())


def twilio_answer(status: int, code: int | None, headers: dict[str, str] | None = None) -> Result:
    body = {"code": code} if code else {"sid": "SM1"}
    return twilio.parse_response(Response(status, headers or {}, json.dumps(body).encode()), PUSH)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (201, None, Sent("SM1")),
        (400, 21211, Rejected("21211", token_gone=REGISTERED)),
        (400, 21610, Rejected("21610", token_gone=REGISTERED)),
        (400, 30005, Rejected("30005", token_gone=REGISTERED)),
        (400, 21612, Rejected("21612")),
        (400, 30007, Rejected("30007")),
        (400, 21606, Failed("21606")),
        (401, 20003, Failed("20003")),
        (429, 20429, Throttled(None, "20429")),
        (400, 99999, Rejected("99999")),
        (500, 20500, Failed("20500")),
        (503, None, Failed("status 503")),
    ],
)
def test_twilio_codes(status: int, code: int | None, expected: Result) -> None:
    assert twilio_answer(status, code) == expected


def test_twilio_waits_as_long_as_it_is_told() -> None:
    assert twilio_answer(429, 20429, {"retry-after": "7"}) == Throttled(timedelta(seconds=7), "20429")


def test_twilio_request() -> None:
    options = twilio.TwilioOptions(
        account_sid="AC1", auth_token="secret", sender="+1500", status_callback="https://x.example/cb?a=1"
    )
    sms = delivery(SmsContent("ü" * 2_000), address="+14155550100", channel="sms")
    request = twilio.build_request(sms, options, now_ms=sms.expires_at - 90_500)
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    assert request.path == "/2010-04-01/Accounts/AC1/Messages.json"
    assert b64decode(request.headers["authorization"].removeprefix("Basic ")) == b"AC1:secret"
    assert (form["To"], form["From"], len(form["Body"])) == ("+14155550100", "+1500", 1_600)
    assert (form["StatusCallback"], form["ValidityPeriod"]) == ("https://x.example/cb?a=1&key=pid", "90")
    assert "secret" not in repr(options)


@pytest.mark.parametrize(
    ("command", "code", "text", "expected"),
    [
        ("data", 250, "ok", Sent("pid")),
        ("rcpt", 550, "5.1.1 no such user", Rejected("rcpt 550 5.1.1", token_gone=REGISTERED)),
        ("rcpt", 550, "user unknown", Rejected("rcpt 550", token_gone=REGISTERED)),
        ("rcpt", 552, "5.2.2 mailbox full", Rejected("rcpt 552 5.2.2")),
        ("rcpt", 550, "5.7.1 blocked", Rejected("rcpt 550 5.7.1")),
        ("rcpt", 451, "4.7.1 greylisted", Failed("rcpt 451 4.7.1")),
        ("data", 554, "5.7.1 spam", Rejected("data 554 5.7.1")),
        ("data", 452, "4.3.1 full", Failed("data 452 4.3.1")),
        ("mail", 421, "4.3.2 closing", Failed("mail 421 4.3.2")),
        ("connect", 535, "5.7.8 bad credentials", Failed("connect 535 5.7.8")),
        ("connect", 554, "go away", Failed("connect 554")),
    ],
)
def test_smtp_codes(command: Any, code: int, text: str, expected: Result) -> None:
    assert smtp.parse_response(smtp.SmtpResponse(command, code, text), PUSH) == expected


def mail(subject: str = "s", text: str = "t", html: str = "<p>h</p>", unsubscribe: str | None = None) -> bytes:
    return build_message(
        EmailContent(subject, text, html, unsubscribe),
        recipient="to@example.com", sender="from@example.com", sender_name="Carillon",
        identity=message_id("k", "x.example"), date_s=0,
    )  # fmt: skip


HEADERS = ["From", "To", "Subject", "Message-ID", "Date", "MIME-Version", "Content-Type"]
SMUGGLED = [
    "a\r\nBcc: x@y.z", "a\nBcc: x@y.z", "a\rb", "a\x00b", "a\x0bb", "a\x85b", "a\u2028b", "\ud800",
    "=?utf-8?q?a=0d=0aBcc:_x=40y.z?=", "=?utf-8?b?YQ0KQmNjOiB4QHkueg==?=",
]  # fmt: skip


@pytest.mark.parametrize("value", SMUGGLED)
def test_controls_in_a_header_are_refused_plain_and_encoded(value: str) -> None:
    with pytest.raises(UnsafeMessageError):
        mail(subject=value)


@given(st.text(max_size=300), st.text(max_size=500), st.text(max_size=500))
@settings(deadline=None, max_examples=150)
def test_whatever_is_sent_has_exactly_the_headers_and_parts_that_were_meant(subject: str, text: str, html: str) -> None:
    try:
        wire = mail(subject, text, html)
    except UnsafeMessageError:
        return
    message = email.message_from_bytes(wire, policy=email.policy.default)
    assert message.keys() == HEADERS
    assert str(message["Subject"]) == " ".join(subject.split())[:200].rstrip()
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert all(len(line) <= 998 for line in wire.split(b"\r\n"))
    assert b"\n" not in wire.replace(b"\r\n", b"")
    assert b"\r" not in wire.replace(b"\r\n", b"")


@pytest.mark.parametrize("body", ["\n.\r\n", "\r.\r", "a\n.\nMAIL FROM:<x@y.z>\n", "--=_x\n", "\x00"])
def test_bodies_stay_bodies(body: str) -> None:
    message = email.message_from_bytes(mail(text=body, html=body), policy=email.policy.default)
    assert message.keys() == HEADERS
    part: Any = message.get_body(("plain",))
    assert part.get_content().replace("\r\n", "\n").strip() == body.replace("\r\n", "\n").replace("\r", "\n").strip()


def test_unsubscribe_as_rfc_8058_asks_and_only_then() -> None:
    message = email.message_from_bytes(mail(unsubscribe="https://x.example/u?t=1"), policy=email.policy.default)
    assert message["List-Unsubscribe"] == "<https://x.example/u?t=1>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    for wrong in ("http://x.example", "https://x.example/>, <mailto:y@z", "https://x.example\r\nBcc: y@z"):
        with pytest.raises(UnsafeMessageError):
            mail(unsubscribe=wrong)


def test_the_same_key_gives_the_same_mail_on_every_attempt() -> None:
    assert mail() == mail()


@pytest.mark.parametrize(
    "address",
    [
        "", "a", "a@", "@b.c", "a@b@c", 'a"b"@c.d', "a b@c.d", "a@b..c", "a@-b.c", "ä@b.c", "a@b.c\n", "<a@b.c>", "a%b",
        "x" * 65 + "@b.c",
    ],
)  # fmt: skip
def test_only_plain_addresses_are_mailed(address: str) -> None:
    assert not is_mail_address(address)
