"""What APNs' answers mean, and what requests to it say: pure."""

from __future__ import annotations

import dataclasses
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from helpers.deliveries import PUSH, REGISTERED
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.providers.channel import Failed, Rejected, Result, Sent, Throttled
from connectors.providers.push import apns
from connectors.providers.transport import Response
from state.model.content import PushContent, WithdrawalContent


def apns_answer(status: int, reason: str | None, **more: Any) -> Result:
    body = b"" if reason is None else json.dumps({"reason": reason, **more}).encode()
    return apns.parse_response(Response(status, {"apns-id": "echo"}, body), PUSH)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (200, None, Sent("echo")),
        (400, "BadDeviceToken", Rejected("BadDeviceToken", token_gone=REGISTERED)),
        (400, "DeviceTokenNotForTopic", Rejected("DeviceTokenNotForTopic", token_gone=REGISTERED)),
        (400, "TopicDisallowed", Failed("TopicDisallowed", of_credential=True)),
        (400, "BadCollapseId", Rejected("BadCollapseId")),
        (400, "PayloadEmpty", Rejected("PayloadEmpty")),
        (400, "IdleTimeout", Failed("IdleTimeout")),
        (403, "ExpiredProviderToken", Failed("ExpiredProviderToken")),
        (403, "InvalidProviderToken", Failed("InvalidProviderToken", of_credential=True)),
        (403, "BadEnvironmentKeyInToken", Failed("BadEnvironmentKeyInToken", of_credential=True)),
        (403, "Forbidden", Failed("Forbidden", of_credential=True, retryable=False)),
        (404, "BadPath", Rejected("BadPath")),
        (405, "MethodNotAllowed", Rejected("MethodNotAllowed")),
        (410, "ExpiredToken", Rejected("ExpiredToken", token_gone=REGISTERED)),
        (413, "PayloadTooLarge", Rejected("PayloadTooLarge")),
        (429, "TooManyRequests", Throttled(None, "TooManyRequests", of_address=True)),
        (429, "TooManyProviderTokenUpdates", Throttled(timedelta(minutes=20), "TooManyProviderTokenUpdates")),
        (500, "InternalServerError", Failed("InternalServerError")),
        (503, "Shutdown", Failed("Shutdown")),
        (400, "NeverSeenBefore", Rejected("NeverSeenBefore")),
        (403, "NeverSeenBefore", Failed("NeverSeenBefore", of_credential=True)),
        (410, "NeverSeenBefore", Rejected("NeverSeenBefore", token_gone=REGISTERED)),
        (502, None, Failed("status 502")),
    ],
)
def test_apns_reasons(status: int, reason: str | None, expected: Result) -> None:
    assert apns_answer(status, reason) == expected


def test_apns_gone_as_of_the_providers_time() -> None:
    assert apns_answer(410, "Unregistered", timestamp=42) == Rejected("Unregistered", token_gone=42)
    for none in (-1, 0, True, "42", 1e30):
        assert apns_answer(410, "Unregistered", timestamp=none) == Rejected("Unregistered", token_gone=REGISTERED)


def test_a_credential_that_is_refused_never_costs_a_token() -> None:
    """What is wrong with us retires nobody's device."""
    for reason in ("InvalidProviderToken", "ExpiredProviderToken", "TopicDisallowed", "BadCertificate", "MissingTopic"):
        result = apns_answer(403, reason)
        assert isinstance(result, Failed)
        assert not result.ambiguous


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


def test_a_ttl_without_end_is_a_time_that_apns_can_read() -> None:
    request = apns.build_request(dataclasses.replace(PUSH, expires_at=2**53 + 1), topic="app", token="jwt")
    assert request.headers["apns-expiration"] == "4294967295"


def test_a_withdrawal_wakes_the_application_without_a_sound() -> None:
    withdrawal = dataclasses.replace(PUSH, content=WithdrawalContent())
    request = apns.build_request(withdrawal, topic="app", token="jwt")
    assert request.headers == {
        "authorization": "bearer jwt", "apns-id": "pid", "apns-topic": "app", "apns-push-type": "background",
        "apns-priority": "5", "apns-expiration": "1700000000", "apns-collapse-id": "c",
    }  # fmt: skip
    assert json.loads(request.body) == {
        "aps": {"content-available": 1}, "carillon": {"withdraw": True, "tag": "c"}
    }  # fmt: skip


def test_what_replaces_another_makes_no_sound() -> None:
    content = PushContent("t", "b", (("event_id", "e1"),), replaces=True)
    request = apns.build_request(dataclasses.replace(PUSH, content=content), topic="app", token="jwt")
    told = {name: request.headers[name] for name in ("apns-push-type", "apns-priority", "apns-collapse-id")}
    assert told == {"apns-push-type": "alert", "apns-priority": "5", "apns-collapse-id": "c"}
    assert json.loads(request.body) == {
        "aps": {"alert": {"title": "t", "body": "b"}, "interruption-level": "passive"},
        "carillon": {"event_id": "e1", "replaces": True},
    }


def test_apns_id_is_a_canonical_uuid_of_the_key() -> None:
    first, again, other = apns.apns_id("k"), apns.apns_id("k"), apns.apns_id("l")
    assert first == again != other
    assert str(uuid.UUID(first)) == first


@given(st.text(max_size=9_000))
@settings(deadline=None, max_examples=60)
def test_every_payload_fits(body: str) -> None:
    content = PushContent("title", body.encode("utf-8", "replace").decode())
    assert len(apns.fit_payload(content)) <= apns.PAYLOAD_MAX_BYTES


@pytest.mark.parametrize(("address", "path"), [("tok1", "tok1"), ("a/b?c:d#e", "a%2Fb%3Fc%3Ad%23e"), ("..", "..")])
def test_a_token_is_one_segment_of_the_path(address: str, path: str) -> None:
    assert apns.device_path(address) == f"/3/device/{path}"


@pytest.mark.parametrize(
    ("status", "reason", "ok", "said"),
    [
        (400, "MissingDeviceToken", True, "key and topic are accepted"),
        (403, "InvalidProviderToken", False, "InvalidProviderToken; look at the key, key_id"),
        (400, "TopicDisallowed", False, "TopicDisallowed; look at"),
        (503, "ServiceUnavailable", False, "ServiceUnavailable"),
        (502, None, False, "status 502"),
    ],
)
def test_a_check_is_fine_only_where_the_missing_device_is_all_that_is_wrong(
    status: int, reason: str | None, ok: bool, said: str
) -> None:
    body = b"" if reason is None else json.dumps({"reason": reason}).encode()
    found = apns.credential_verdict(Response(status, {}, body))
    assert found.ok is ok
    assert found.detail.startswith(said)
