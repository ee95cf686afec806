"""Every answer that a provider's own documents name, in its class: what becomes of the message and of the address.

gone: the address is retired. refused: this message alone. later: tried again, and the provider's breaker counts it.
never: not tried again there. slower: the provider waits.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers.deliveries import PUSH

from connectors.providers.channel import Failed, Rejected, Result, Sent, Throttled
from connectors.providers.email import smtp
from connectors.providers.push import apns, fcm, webpush
from connectors.providers.sms import smpp, twilio
from connectors.providers.sms.smpp_pdu import SUBMIT_SM, Pdu
from connectors.providers.sms.twilio_receipts import read_status
from connectors.providers.transport import Response
from connectors.providers.web import webhook


def class_of(result: Result) -> str:
    match result:
        case Sent():
            return "taken"
        case Rejected():
            return "refused" if result.token_gone is None else "gone"
        case Throttled():
            return "slower"
        case Failed():
            return "later" if result.retryable else "never"


def answer(status: int, document: Any = None, headers: dict[str, str] | None = None) -> Response:
    return Response(status, headers or {}, b"" if document is None else json.dumps(document).encode())


APNS = {
    "gone": [(400, "BadDeviceToken"), (400, "DeviceTokenNotForTopic"), (410, "Unregistered"), (410, "ExpiredToken")],
    "later": [
        (400, "TopicDisallowed"), (400, "BadTopic"), (400, "MissingTopic"), (400, "IdleTimeout"),
        (403, "ExpiredProviderToken"), (403, "InvalidProviderToken"), (403, "MissingProviderToken"),
        (403, "BadCertificate"), (403, "BadCertificateEnvironment"), (403, "UnrelatedKeyIdInToken"),
        (403, "BadEnvironmentKeyIdInToken"), (403, "BadEnvironmentKeyInToken"), (500, "InternalServerError"),
        (503, "ServiceUnavailable"), (503, "Shutdown"), (403, "NotHeardOfYet"), (503, "NotHeardOfYet"),
    ],
    "never": [(403, "Forbidden")],
    "refused": [
        (400, "BadCollapseId"), (400, "BadExpirationDate"), (400, "BadMessageId"), (400, "BadPriority"),
        (400, "InvalidPushType"), (400, "PayloadEmpty"), (400, "DuplicateHeaders"), (400, "MissingDeviceToken"),
        (404, "BadPath"), (405, "MethodNotAllowed"), (413, "PayloadTooLarge"), (400, "NotHeardOfYet"),
    ],
    "slower": [(429, "TooManyRequests"), (429, "TooManyProviderTokenUpdates")],
}  # fmt: skip


@pytest.mark.parametrize(("meant", "status", "reason"), [(meant, *row) for meant, rows in APNS.items() for row in rows])
def test_apns(meant: str, status: int, reason: str) -> None:
    result = apns.parse_response(answer(status, {"reason": reason}), PUSH)
    assert class_of(result) == meant
    if isinstance(result, Throttled):
        assert result.of_address is (reason == "TooManyRequests"), "the one is of a device, the other of the key"


NO_TOKEN = "The registration token is not a valid FCM registration token"
FCM: list[tuple[str, int, str, str | None, str]] = [
    ("gone", 404, "NOT_FOUND", "UNREGISTERED", ""),
    ("gone", 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", NO_TOKEN),
    ("gone", 403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", ""),
    ("refused", 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "Invalid value at 'message.data'"),
    ("refused", 400, "INVALID_ARGUMENT", None, NO_TOKEN),
    ("later", 401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", ""),
    ("later", 401, "UNAUTHENTICATED", None, ""),
    ("slower", 429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", ""),
    ("later", 503, "UNAVAILABLE", "UNAVAILABLE", ""),
    ("later", 500, "INTERNAL", "INTERNAL", ""),
    ("later", 403, "PERMISSION_DENIED", None, ""),
    ("later", 404, "NOT_FOUND", None, ""),
]


@pytest.mark.parametrize(("meant", "status", "name", "code", "message"), FCM)
def test_fcm(meant: str, status: int, name: str, code: str | None, message: str) -> None:
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    details = [] if code is None else [{"@type": kind, "errorCode": code}]
    body = {"error": {"code": status, "status": name, "message": message, "details": details}}
    result = fcm.parse_response(answer(status, body), PUSH)
    assert class_of(result) == meant
    if name == "UNAUTHENTICATED" and isinstance(result, Failed):
        assert (result.cause == "UNAUTHENTICATED") is (code is None), "a new token helps in the one case alone"


def test_fcm_behind_a_proxy_and_blaming_a_field() -> None:
    page = Response(502, {"content-type": "text/html"}, b"<html>bad gateway</html>")
    assert class_of(fcm.parse_response(page, PUSH)) == "later"
    details = [{"errorCode": "INVALID_ARGUMENT"}, {"fieldViolations": [{"field": "message.token"}]}]
    body = {"error": {"status": "INVALID_ARGUMENT", "message": NO_TOKEN, "details": details}}
    assert class_of(fcm.parse_response(answer(400, body), PUSH)) == "refused"


WEB_PUSH: dict[str, list[tuple[int, int | None]]] = {
    "taken": [(201, None), (202, None)],
    "gone": [(404, 102), (410, 103), (410, 105), (410, 106), (404, None), (410, None)],
    "refused": [(413, 104), (400, 110), (400, 111), (400, 112), (400, 113)],
    "later": [(401, 109), (403, None), (502, 900), (502, 903), (503, 201), (503, 202)],
    "slower": [(429, None)],
}


@pytest.mark.parametrize(
    ("meant", "status", "errno"), [(meant, *row) for meant, rows in WEB_PUSH.items() for row in rows]
)
def test_web_push(meant: str, status: int, errno: int | None) -> None:
    assert class_of(webpush.parse_response(answer(status, {"errno": errno} if errno else None), PUSH)) == meant


TWILIO: dict[str, list[tuple[int, int | None]]] = {
    "gone": [(400, 21211), (400, 21610), (400, 21614), (400, 21635), (400, 30005), (400, 30006)],
    "refused": [(400, 21612), (400, 30003), (400, 30004), (400, 30007), (400, 30008), (404, 20404)],
    "later": [(401, 20003), (400, 21606), (400, 21608), (500, 20500), (503, 20503)],
    "slower": [(429, 20429), (429, None)],
}


@pytest.mark.parametrize(("meant", "status", "code"), [(meant, *row) for meant, rows in TWILIO.items() for row in rows])
def test_twilio(meant: str, status: int, code: int | None) -> None:
    assert class_of(twilio.parse_response(answer(status, {"code": code} if code else None), PUSH)) == meant


@pytest.mark.parametrize(
    ("code", "gone"), [(30003, False), (30004, False), (30005, True), (30006, True), (30007, False), (30008, False)]
)
@pytest.mark.parametrize("status", ["failed", "undelivered"])
def test_receipts_of_twilio(status: str, code: int, *, gone: bool) -> None:
    report = read_status([("MessageStatus", status), ("ErrorCode", str(code)), ("MessageSid", "SM1")], "reference")
    assert report is not None
    assert report.gone is gone


SMPP = {
    "taken": [0x00], "slower": [0x58, 0x14], "gone": [0x0B], "later": [0x08, 0x45, 0x0D, 0x0E, 0xFF],
    "refused": [0x01, 0x02, 0x03, 0x06, 0x07, 0x33, 0x34, 0x43, 0x61, 0x62, 0x65, 0x66],
}  # fmt: skip


@pytest.mark.parametrize(("meant", "status"), [(meant, status) for meant, of in SMPP.items() for status in of])
def test_smpp(meant: str, status: int) -> None:
    assert class_of(smpp.parse_response(Pdu(SUBMIT_SM, status, 1, b"id\0"), PUSH)) == meant


SMTP = {
    "taken": ["250 2.1.5 ok"],
    "gone": [
        "550 5.1.1 user unknown", "550 5.1.2 no such domain", "553 5.1.3 bad address", "550 5.1.6 has moved",
        "556 5.1.10 takes no mail",
    ],
    "refused": [
        "552 5.2.2 mailbox full", "550 5.7.1 blocked by policy", "550 5.7.515 access denied", "552 5.3.4 too big",
        "554 5.4.4 no route", "554 5.7.26 not authenticated",
    ],
    "later": [
        "450 4.2.1 try again", "452 4.2.2 mailbox full", "451 4.7.1 greylisted", "421 4.7.0 too many",
        "451 4.4.7 expired", "535 5.7.8 who are you", "530 5.7.0 say STARTTLS first",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("meant", "line"), [(meant, line) for meant, lines in SMTP.items() for line in lines])
def test_smtp(meant: str, line: str) -> None:
    code, _, text = line.partition(" ")
    assert class_of(smtp.parse_response(smtp.SmtpResponse("rcpt", int(code), text), PUSH)) == meant


def test_smtp_says_of_an_address_what_it_says_to_rcpt_alone() -> None:
    for command in ("connect", "mail", "data"):
        result = smtp.parse_response(smtp.SmtpResponse(command, 550, "5.1.1 user unknown"), PUSH)
        assert class_of(result) != "gone"


WEBHOOK = {
    "taken": [200, 201, 204], "gone": [410], "slower": [429, 502, 503, 504],
    "later": [301, 302, 307, 400, 401, 403, 404, 500],
}  # fmt: skip
"""A receiver's mistake may be mended before the next of its tries, so nothing but 410 is final."""


@pytest.mark.parametrize(("meant", "status"), [(meant, status) for meant, of in WEBHOOK.items() for status in of])
def test_webhook(meant: str, status: int) -> None:
    assert class_of(webhook.parse_response(answer(status), PUSH)) == meant
