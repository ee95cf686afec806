"""The calls of users about their devices, on a real gateway process."""

from uuid import uuid4

from helpers.callers import BOB, user_call
from helpers.gateway import Gateway, Reply


def register(gateway: Gateway, user: str, device_id: str, push_token: str) -> Reply:
    body = {"device_id": device_id, "platform": "ios", "token": push_token}
    return user_call(gateway, "POST", "/v1/devices/register", body, user=user)


def active(gateway: Gateway, user: str) -> dict[str, str]:
    """Device to address, as the topic has it."""
    latest = {(one["user"], one["channel"], one["id"]): one for one in gateway.values("endpoints")}
    return {key[2]: one["address"] for key, one in latest.items() if key[0] == user and one["state"] == "active"}


def test_eleventh_device_displaces_the_oldest(gateway: Gateway) -> None:
    user = uuid4().hex
    replies = [register(gateway, user, f"d{number}", f"{user}-{number}") for number in range(11)]
    assert [reply.json["removed"] for reply in replies] == [[]] * 10 + [["d0"]]
    assert set(active(gateway, user)) == {f"d{number}" for number in range(1, 11)}
    assert register(gateway, user, "d1", f"{user}-new").json["removed"] == [], "known devices take no new place"
    assert register(gateway, user, "d11", f"{user}-11").json["removed"] == ["d2"], "d1 was registered anew"


def test_token_of_another_user_moves(gateway: Gateway) -> None:
    one, two = uuid4().hex, uuid4().hex
    shared = f"token-{one}"
    register(gateway, one, "phone", shared)
    assert register(gateway, two, "phone", shared).status == 200
    assert (active(gateway, one), active(gateway, two)) == ({}, {"phone": shared})
    assert register(gateway, two, "tablet", shared).status == 200
    assert active(gateway, two) == {"tablet": shared}


def test_device_is_deleted_by_its_user_only(gateway: Gateway) -> None:
    one, two = uuid4().hex, uuid4().hex
    register(gateway, one, "phone/1", f"token-{one}")
    path = "/v1/devices/phone%2F1"
    assert user_call(gateway, "DELETE", path, user=two).status == 404
    assert active(gateway, one)
    assert user_call(gateway, "DELETE", path, user=one).status == 204
    assert active(gateway, one) == {}
    assert user_call(gateway, "DELETE", path, user=one).status == 404


def test_body_cannot_name_another_user(gateway: Gateway) -> None:
    body = {"device_id": "d", "platform": "ios", "token": "t", "user_id": BOB}
    assert user_call(gateway, "POST", "/v1/devices/register", body).paths == {"user_id"}
