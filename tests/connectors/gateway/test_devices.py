"""The calls of users about their devices, on a real gateway process."""

from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from helpers.callers import BOB, user_call
from helpers.gateway import Gateway, Reply


def token(name: str) -> str:
    return sha256(name.encode()).hexdigest()


def register(gateway: Gateway, user: str, device_id: str, push_token: str, platform: str = "ios") -> Reply:
    body = {"device_id": device_id, "platform": platform, "token": push_token}
    return user_call(gateway, "POST", "/v1/devices/register", body, user=user)


def active(gateway: Gateway, user: str) -> dict[str, str]:
    """Device to address, as the topic has it."""
    latest = {(one["user"], one["channel"], one["id"]): one for one in gateway.values("endpoints")}
    return {key[2]: one["address"] for key, one in latest.items() if key[0] == user and one["state"] == "active"}


def test_eleventh_device_displaces_the_oldest(gateway: Gateway) -> None:
    user = uuid4().hex
    replies = [register(gateway, user, f"d{number}", token(f"{user}-{number}")) for number in range(11)]
    assert [reply.json["removed"] for reply in replies] == [[]] * 10 + [["d0"]]
    assert set(active(gateway, user)) == {f"d{number}" for number in range(1, 11)}
    assert register(gateway, user, "d1", token(f"{user}-new")).json["removed"] == [], "known devices take no new place"
    assert register(gateway, user, "d11", token(f"{user}-11")).json["removed"] == ["d2"], "d1 was registered anew"


def test_token_of_another_user_moves(gateway: Gateway) -> None:
    one, two = uuid4().hex, uuid4().hex
    shared = token(one)
    register(gateway, one, "phone", shared)
    assert register(gateway, two, "phone", shared).status == 200
    assert (active(gateway, one), active(gateway, two)) == ({}, {"phone": shared})
    assert register(gateway, two, "tablet", shared).status == 200
    assert active(gateway, two) == {"tablet": shared}


def test_one_phone_is_one_phone_however_its_token_is_spelled(gateway: Gateway) -> None:
    one, two = uuid4().hex, uuid4().hex
    shared = token(one)
    assert register(gateway, one, "phone", shared.upper(), "iOS").status == 200
    assert active(gateway, one) == {"phone": shared}
    register(gateway, two, "phone", shared)
    assert (active(gateway, one), active(gateway, two)) == ({}, {"phone": shared})
    path = f"/v1/users/{one}/endpoints/push/tablet"
    assert gateway.call("PUT", path, {"address": shared.upper(), "platform": "ios"}).status == 200
    assert (active(gateway, one), active(gateway, two)) == ({"tablet": shared}, {})


@pytest.mark.parametrize("platform", ["android", "toaster", "web", "ios ", "windows"])
def test_a_platform_that_no_provider_serves_is_400(gateway: Gateway, platform: str) -> None:
    reply = register(gateway, uuid4().hex, "phone", token(platform), platform)
    assert (reply.status, reply.paths) == (400, {"platform"})
    assert "ios" in reply.json["errors"][0]["remedy"]
    path = f"/v1/users/{uuid4().hex}/endpoints/push/phone"
    assert gateway.call("PUT", path, {"address": token(platform), "platform": platform}).paths == {"platform"}


@pytest.mark.parametrize(
    "wrong", ["not hex", "x" * 64, "ab" * 31, "e" * 500, f"<{'ab' * 32}>", " " + "ab" * 32, "503-x"]
)
def test_a_token_that_is_never_sendable_is_400(gateway: Gateway, wrong: str) -> None:
    assert register(gateway, uuid4().hex, "phone", wrong).paths == {"token"}
    path = f"/v1/users/{uuid4().hex}/endpoints/push/phone"
    body: dict[str, Any] = {"address": wrong, "platform": "ios"}
    assert gateway.call("PUT", path, body).paths == {"address"}
    assert gateway.call("PUT", path, {**body, "state": "invalid"}).status == 200, (
        "what is none any more may be anything"
    )


def test_device_is_deleted_by_its_user_only(gateway: Gateway) -> None:
    one, two = uuid4().hex, uuid4().hex
    register(gateway, one, "phone/1", token(one))
    path = "/v1/devices/phone%2F1"
    assert user_call(gateway, "DELETE", path, user=two).status == 404
    assert active(gateway, one)
    assert user_call(gateway, "DELETE", path, user=one).status == 204
    assert active(gateway, one) == {}
    assert user_call(gateway, "DELETE", path, user=one).status == 404


def test_body_cannot_name_another_user(gateway: Gateway) -> None:
    body = {"device_id": "d", "platform": "ios", "token": "t", "user_id": BOB}
    assert user_call(gateway, "POST", "/v1/devices/register", body).paths == {"user_id"}
