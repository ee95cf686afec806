"""What push services' answers mean, and what requests to them say: pure."""

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
from connectors.providers.push import webpush
from connectors.providers.push.webpush_encryption import BODY_MAX_BYTES
from connectors.providers.request import Request
from connectors.providers.transport import Response
from connectors.sandbox.browsers import Browsers
from state.model.content import PushContent, WithdrawalContent
from state.model.subscriptions import PushAddress, read_subscription

BROWSERS = Browsers(b"s" * 32)
ADDRESS = read_subscription(BROWSERS.address("b", "https://push.example.com"), ["push.example.com"])


def answer(status: int, body: bytes = b"", **headers: str) -> Result:
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return webpush.parse_response(Response(status, given, body), PUSH)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (201, b"", Sent("pid")),
        (200, b"", Sent("pid")),
        (202, b"", Sent("pid")),
        (404, b'{"code":404,"errno":102}', Rejected("status 404, errno 102", token_gone=REGISTERED)),
        (410, b'{"code":410,"errno":106}', Rejected("status 410, errno 106", token_gone=REGISTERED)),
        (410, b"push subscription has unsubscribed or expired.\n", Rejected("status 410", token_gone=REGISTERED)),
        (410, b'{"reason":"Unregistered"}', Rejected("Unregistered", token_gone=REGISTERED)),
        (400, b'{"reason":"BadTtl"}', Rejected("BadTtl")),
        (400, b'{"code":400,"errno":112}', Rejected("status 400, errno 112")),
        (400, b'{"reason":"VapidPkHashMismatch"}', Failed("VapidPkHashMismatch")),
        (400, b"UnauthorizedRegistration", Failed("status 400")),
        (401, b'{"code":401,"errno":109}', Failed("status 401, errno 109")),
        (403, b'{"reason":"BadJwtToken"}', Failed("BadJwtToken")),
        (403, b"the VAPID credentials do not correspond to those of the subscription", Failed("status 403")),
        (413, b'{"code":413,"errno":104}', Rejected("status 413, errno 104")),
        (301, b"", Rejected("status 301")),
        (500, b"", Failed("status 500")),
        (502, b"<html>Bad Gateway</html>", Failed("status 502")),
        (503, b'{"code":503,"errno":201}', Failed("status 503, errno 201")),
    ],
)  # fmt: skip
def test_answers(status: int, body: bytes, expected: Result) -> None:
    """Only 404 and 410 cost a subscription: where our key is refused, the fault is ours."""
    assert answer(status, body) == expected


@pytest.mark.parametrize(("asked", "wait"), [("7", timedelta(seconds=7)), ("soon", None)])
def test_too_many_is_of_one_subscription(asked: str, wait: timedelta | None) -> None:
    assert answer(429, retry_after=asked) == Throttled(wait, "status 429", of_address=True)


def test_what_is_away_for_a_while_says_for_how_long() -> None:
    assert answer(503, retry_after="7") == Failed("status 503", retry_after=timedelta(seconds=7))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"reason": 7}', b'{"errno": "https://x"}', b'{"reason": "a b"}', b"\xff"]
)
def test_what_is_said_otherwise_is_in_no_result(body: bytes) -> None:
    assert answer(500, body) == Failed("status 500")


def test_where_a_message_is_kept_is_told_to_nobody() -> None:
    assert answer(201, location="https://push.example.com/message/secret") == Sent("pid")


def request(now_ms: int = 1_699_999_000_000, **changes: Any) -> Request:
    assert isinstance(ADDRESS, PushAddress)
    return webpush.build_request(
        dataclasses.replace(PUSH, **changes), ADDRESS, authorization="vapid t=x, k=y", now_ms=now_ms
    )


def shown(made: Request) -> Any:
    return json.loads(BROWSERS.decrypt("b", made.body))


def test_the_request() -> None:
    made = request(content=PushContent("t", "b", (("event_id", "e1"),)))
    assert made.path == "/push/b"
    assert made.headers == {
        "authorization": "vapid t=x, k=y", "content-encoding": "aes128gcm", "content-type": "application/octet-stream",
        "ttl": "1000", "urgency": "normal", "topic": webpush.topic("c"),
    }  # fmt: skip
    assert shown(made) == {
        "title": "t", "body": "b", "tag": "c", "data": {"event_id": "e1", "carillon_id": "pid"}
    }  # fmt: skip


def test_a_withdrawal_takes_the_place_of_what_was_not_fetched_yet() -> None:
    made = request(content=WithdrawalContent())
    assert (made.headers["topic"], made.headers["ttl"]) == (webpush.topic("c"), "1000")
    assert made.headers["urgency"] == "low"
    assert shown(made) == {"withdraw": True, "tag": "c", "data": {"carillon_id": "pid"}}


def test_what_replaces_another_displaces_nothing_that_waits() -> None:
    made = request(content=PushContent("t", "b", replaces=True))
    assert made.headers["topic"] == request(content=PushContent("t", "c", replaces=True)).headers["topic"]
    assert made.headers["topic"] != webpush.topic("c")
    assert made.headers["urgency"] == "low"
    assert shown(made) == {"title": "t", "body": "b", "replaces": True, "tag": "c", "data": {"carillon_id": "pid"}}


def test_without_a_collapse_key_nothing_is_replaced() -> None:
    made = request(collapse=None)
    assert "topic" not in made.headers
    assert "tag" not in shown(made)


@pytest.mark.parametrize("key", ["c", "like/photo 7", "x" * 64, "\u00e9", "\ud800"])
def test_a_topic_has_the_letters_and_the_length_that_services_take(key: str) -> None:
    made = webpush.topic(key)
    assert len(made) == 32
    assert made.replace("-", "").replace("_", "").isalnum()
    assert made == webpush.topic(key) != webpush.topic(key + "x")


@pytest.mark.parametrize(("priority", "expected"), [("P0", "high"), ("P1", "normal"), ("P2", "low")])
def test_what_is_bulk_waits_for_power(priority: str, expected: str) -> None:
    assert request(priority=priority).headers["urgency"] == expected


@pytest.mark.parametrize(("left_ms", "ttl"), [(-5_000, "0"), (999, "0"), (61_000, "61"), (10**12, "2419200")])
def test_what_is_left_of_its_life_is_its_ttl(left_ms: int, ttl: str) -> None:
    assert request(now_ms=PUSH.expires_at - left_ms).headers["ttl"] == ttl


@given(st.text(max_size=9_000))
@settings(deadline=None, max_examples=60)
def test_every_message_fits(body: str) -> None:
    made = request(content=PushContent("title", body.encode("utf-8", "replace").decode()))
    assert len(made.body) <= BODY_MAX_BYTES
    assert shown(made)["title"] == "title"
