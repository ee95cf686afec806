"""What FCM's answers mean, and what requests to it say: pure."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest
from helpers.deliveries import PUSH, REGISTERED
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.providers.channel import Failed, Rejected, Result, Sent, Throttled
from connectors.providers.push import fcm
from connectors.providers.request import Request
from connectors.providers.transport import Response
from state.model.content import PushContent, WithdrawalContent

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
VIOLATION = {
    "@type": "type.googleapis.com/google.rpc.BadRequest",
    "fieldViolations": [{"field": "message.data[0].value", "description": "Invalid value (TYPE_STRING), 1"}],
}
NOT_A_TOKEN = "The registration token is not a valid FCM registration token"  # what Google says


def answer(
    status: int, name: str, code: str | None, message: str = "", *more: dict[str, Any], **headers: str
) -> Result:
    details = [{"@type": FCM_ERROR, "errorCode": code}] if code else []
    error = {"code": status, "status": name, "message": message, "details": [*details, *more]}
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return fcm.parse_response(Response(status, given, json.dumps({"error": error}).encode()), PUSH)


@pytest.mark.parametrize(
    ("status", "name", "code", "message", "expected"),
    [
        (404, "NOT_FOUND", "UNREGISTERED", "", Rejected("UNREGISTERED", token_gone=REGISTERED)),
        (404, "NOT_FOUND", None, "", Failed("NOT_FOUND")),
        (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", NOT_A_TOKEN,
         Rejected("INVALID_ARGUMENT", token_gone=REGISTERED)),
        (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "Message is too big", Rejected("INVALID_ARGUMENT")),
        (400, "INVALID_ARGUMENT", None, NOT_A_TOKEN, Rejected("INVALID_ARGUMENT")),
        (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", "", Rejected("SENDER_ID_MISMATCH", token_gone=REGISTERED)),
        (403, "PERMISSION_DENIED", None, "", Failed("PERMISSION_DENIED")),
        (401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", "", Failed("THIRD_PARTY_AUTH_ERROR")),
        (401, "UNAUTHENTICATED", None, "", Failed("UNAUTHENTICATED", of_credential=True)),
        (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "", Throttled(timedelta(seconds=60), "QUOTA_EXCEEDED")),
        (429, "RESOURCE_EXHAUSTED", None, "", Throttled(timedelta(seconds=60), "RESOURCE_EXHAUSTED")),
        (503, "UNAVAILABLE", "UNAVAILABLE", "", Failed("UNAVAILABLE")),
        (500, "INTERNAL", "INTERNAL", "", Failed("INTERNAL")),
        (500, "INTERNAL", "NEVER_SEEN_BEFORE", "", Failed("INTERNAL")),
        (400, "FAILED_PRECONDITION", None, "", Rejected("FAILED_PRECONDITION")),
        (503, "UNAVAILABLE", "UNREGISTERED", "", Rejected("UNREGISTERED", token_gone=REGISTERED)),
    ],
)  # fmt: skip
def test_fcm_errors(status: int, name: str, code: str | None, message: str, expected: Result) -> None:
    """The code of the FcmError comes first; without one, nothing that is said costs a token."""
    assert answer(status, name, code, message) == expected


def test_what_blames_a_field_of_ours_keeps_the_token() -> None:
    assert answer(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", NOT_A_TOKEN, VIOLATION) == Rejected("INVALID_ARGUMENT")


@pytest.mark.parametrize(("asked", "wait"), [("7", 10), ("30", 30), ("soon", 60)])
def test_a_quota_waits_as_asked_and_ten_seconds_at_least(asked: str, wait: int) -> None:
    expected = Throttled(timedelta(seconds=wait), "QUOTA_EXCEEDED")
    assert answer(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", retry_after=asked) == expected


def test_what_is_away_for_a_while_says_for_how_long() -> None:
    expected = Failed("UNAVAILABLE", retry_after=timedelta(seconds=7))
    assert answer(503, "UNAVAILABLE", "UNAVAILABLE", retry_after="7") == expected


@pytest.mark.parametrize(
    "body", [b"<html>Bad Gateway</html>", b"", b"[]", b'{"error": 7}', b'{"error": {"details": {}}}']
)
def test_what_is_between_us_and_google_answers_anything(body: bytes) -> None:
    assert fcm.parse_response(Response(502, {}, body), PUSH) == Failed("status 502")


def test_a_message_that_was_taken_has_googles_name() -> None:
    assert fcm.parse_response(Response(200, {}, b'{"name": "projects/p/messages/0:1"}'), PUSH) == Sent(
        "projects/p/messages/0:1"
    )
    assert fcm.parse_response(Response(200, {}, b"?"), PUSH) == Sent("pid")


def request(now_ms: int = 1_699_999_000_000, **changes: Any) -> Request:
    return fcm.build_request(dataclasses.replace(PUSH, **changes), project="p", token="secret", now_ms=now_ms)


def test_fcm_request() -> None:
    made = request(content=PushContent("t", "b", (("event_id", "e1"),)))
    assert made.path == "/v1/projects/p/messages:send"
    assert made.headers == {"authorization": "Bearer secret", "content-type": "application/json"}
    assert json.loads(made.body) == {"message": {
        "token": "a" * 64, "notification": {"title": "t", "body": "b"},
        "data": {"event_id": "e1", "carillon_id": "pid"},
        "android": {"ttl": "1000s", "priority": "high", "collapse_key": "c", "notification": {"tag": "c"}},
    }}  # fmt: skip


@pytest.mark.parametrize("content", [PushContent("t", "b"), PushContent("t", "b", replaces=True), WithdrawalContent()])
def test_an_installation_is_addressed_as_one(content: PushContent | WithdrawalContent) -> None:
    message = json.loads(request(content=content, address="dUmmy_installation-Id1").body)["message"]
    assert (message["fid"], message.get("token")) == ("dUmmy_installation-Id1", None)


def test_a_withdrawal_shows_nothing() -> None:
    made = request(content=WithdrawalContent())
    assert json.loads(made.body) == {"message": {
        "token": "a" * 64, "data": {"withdraw": "true", "tag": "c", "carillon_id": "pid"},
        "android": {"ttl": "1000s", "priority": "normal", "collapse_key": "c"},
    }}  # fmt: skip


def test_what_replaces_another_is_for_the_application_and_displaces_nothing_that_waits() -> None:
    made = request(content=PushContent("t", "b", (("event_id", "e1"),), replaces=True))
    told = {"event_id": "e1", "title": "t", "body": "b", "replaces": "true", "tag": "c", "carillon_id": "pid"}
    assert json.loads(made.body) == {"message": {
        "token": "a" * 64, "data": told, "android": {"ttl": "1000s", "priority": "normal"},
    }}  # fmt: skip


@pytest.mark.parametrize(("priority", "expected"), [("P0", "high"), ("P1", "high"), ("P2", "normal")])
def test_what_is_bulk_does_not_wake_a_device(priority: str, expected: str) -> None:
    assert json.loads(request(priority=priority).body)["message"]["android"]["priority"] == expected


@pytest.mark.parametrize(("left_ms", "ttl"), [(-5_000, "0s"), (999, "0s"), (61_000, "61s"), (10**12, "2419200s")])
def test_what_is_left_of_its_life_is_its_ttl(left_ms: int, ttl: str) -> None:
    made = request(now_ms=PUSH.expires_at - left_ms)
    assert json.loads(made.body)["message"]["android"]["ttl"] == ttl


@given(st.text(max_size=9_000))
@settings(deadline=None, max_examples=60)
def test_every_message_fits(body: str) -> None:
    content = PushContent("title", body.encode("utf-8", "replace").decode())
    message = json.loads(request(content=content).body)["message"]
    texts = [*message["notification"].values(), *message["data"], *message["data"].values()]
    assert sum(len(text.encode()) for text in texts) <= fcm.SHOWN_MAX_BYTES
