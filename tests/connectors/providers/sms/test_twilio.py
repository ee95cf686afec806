"""What Twilio's answers mean, and what requests to it say: pure."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from helpers.deliveries import PUSH, REGISTERED, delivery

from connectors.providers.channel import Failed, Rejected, Result, Sent, Throttled
from connectors.providers.options import TwilioOptions
from connectors.providers.sms import twilio
from connectors.providers.transport import Response
from state.model.content import SmsContent


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
        (400, 21608, Failed("21608")),
        (403, 21659, Failed("21659")),
        (403, 21408, Rejected("21408")),
        (403, None, Failed("status 403", of_credential=True)),
        (401, 20003, Failed("20003", of_credential=True)),
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
    options = TwilioOptions(
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
    ("origin", "fine"),
    [
        ("https://api.twilio.com", True), ("http://127.0.0.1:4010", True), ("http://localhost:4010", True),
        ("http://api.twilio.com", False), ("http://10.0.0.7:4010", False), ("http://[", False),
    ],
)  # fmt: skip
def test_account_and_codes_are_sent_in_the_clear_to_this_machine_alone(origin: str, fine: bool) -> None:
    faults = [*TwilioOptions(origin=origin, account_sid="AC1", auth_token="t", sender="+14155550100").faults()]
    assert [fault.partition(":")[0] for fault in faults] == ([] if fine else ["providers.twilio.origin"])


@pytest.mark.parametrize(
    ("status", "body", "good", "said"),
    [
        (200, {"status": "active"}, True, "accepted"),
        (200, {}, True, "accepted"),
        (200, {"status": "suspended"}, False, "suspended"),
        (200, {"status": "closed"}, False, "closed"),
        (401, {"status": 401, "code": 20003}, False, "auth_token"),
        (500, {}, False, "status 500"),
    ],
)
def test_a_check_says_whether_the_account_may_send(status: int, body: dict[str, object], good: bool, said: str) -> None:
    found = twilio.account_check(Response(status, {}, json.dumps(body).encode()))
    assert found.ok is good
    assert said in found.detail
