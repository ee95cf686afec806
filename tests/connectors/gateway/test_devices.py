"""The calls of users about their devices, on a real gateway process."""

import json
import re
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from helpers.callers import BOB, user_call
from helpers.gateway import Gateway, Reply
from helpers.subscriptions import stored, subscription


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


def first_registrations(gateway: Gateway) -> float:
    text = gateway.get("/metrics", key="key-ops").body.decode()
    found = re.search(r'carillon_new_addresses_total\{channel="push",result="registered"\} (\S+)', text)
    return 0 if found is None else float(found[1])


def test_the_first_registration_of_a_token_is_kept(gateway: Gateway) -> None:
    user = uuid4().hex
    before = first_registrations(gateway)
    for name in ("one", "one", "two", "two"):
        register(gateway, user, "phone", token(user + name))
    kept = [
        (each["registered_at"], each.get("first_at")) for each in gateway.values("endpoints") if each["user"] == user
    ]
    assert [first for _, first in kept] == [None, kept[0][0], None, kept[2][0]]
    assert first_registrations(gateway) - before == 2


def test_token_of_another_user_moves(gateway: Gateway) -> None:
    one, two = uuid4().hex, uuid4().hex
    shared = token(one)
    register(gateway, one, "phone", shared)
    assert register(gateway, two, "phone", shared).status == 200
    assert (active(gateway, one), active(gateway, two)) == ({}, {"phone": shared})
    noted = gateway.values("audit")
    assert register(gateway, two, "tablet", shared).status == 200
    assert active(gateway, two) == {"tablet": shared}
    assert gateway.values("audit") == noted, "it is his own"
    hashed = [sha256(user.encode()).hexdigest()[:16] for user in (one, two)]
    assert noted[-1]["about"] == {"from_user": hashed[0], "to_user": hashed[1]}
    assert (noted[-1]["by"], noted[-1]["role"], noted[-1]["act"]) == (hashed[1], "user", "device_moved")
    assert (
        gateway.call("PUT", f"/v1/users/{one}/endpoints/push/phone", {"address": shared, "platform": "ios"}).status
        == 200
    )
    assert [gateway.values("audit")[-1][name] for name in ("by", "role")] == ["shop", "producer"]
    assert not {one, two} & {value for act in gateway.values("audit") for value in (act["by"], *act["about"].values())}


def test_a_token_that_cannot_be_noted_does_not_move(gateway: Gateway) -> None:
    one, two = uuid4().hex, uuid4().hex
    shared = token(one)
    register(gateway, one, "phone", shared)
    with gateway.fault("refuse_audit"):
        assert register(gateway, two, "phone", shared).status == 503
    assert (active(gateway, one), active(gateway, two)) == ({"phone": shared}, {})


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


@pytest.mark.parametrize("platform", ["android", "toaster", "web ", "ios ", "windows"])
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


def browser(user: str) -> dict[str, Any]:
    """As its page hands it in, spelled as nobody stores it."""
    return subscription(f"https://FCM.googleapis.com:443/fcm/send/{user}")


def test_a_browser_is_registered_by_the_subscription_it_has(gateway: Gateway) -> None:
    one, two = uuid4().hex, uuid4().hex
    body = {"address": browser(one), "platform": "Web"}
    assert gateway.call("PUT", f"/v1/users/{one}/endpoints/push/laptop", body).status == 200
    address = stored(f"https://fcm.googleapis.com/fcm/send/{one}")
    assert active(gateway, one) == {"laptop": address}
    own = {"device_id": "laptop", "platform": "web", "token": browser(one)}
    assert user_call(gateway, "POST", "/v1/devices/register", own, user=two).status == 200
    assert (active(gateway, one), active(gateway, two)) == ({}, {"laptop": address}), "one browser is one person's"
    as_text = {**own, "token": json.dumps(browser(one))}
    assert user_call(gateway, "POST", "/v1/devices/register", as_text, user=one).status == 200
    assert (active(gateway, one), active(gateway, two)) == ({"laptop": address}, {})


@pytest.mark.parametrize(
    ("member", "wrong"),
    [
        (".endpoint", subscription("https://169.254.169.254/latest/meta-data")),
        (".endpoint", subscription("https://user@fcm.googleapis.com/x")),
        (".endpoint", {"keys": subscription()["keys"]}),
        (".keys", {"endpoint": "https://fcm.googleapis.com/x"}),
        (".keys.p256dh", subscription(p256dh="A" * 87)),
        (".keys.p256dh", subscription(p256dh="")),
        (".keys.auth", subscription(auth="AAAA")),
        (".keys.more", subscription(more="x")),
        ("", "a" * 64),
    ],
)
def test_what_is_wrong_with_a_subscription_is_named(gateway: Gateway, member: str, wrong: Any) -> None:
    path = f"/v1/users/{uuid4().hex}/endpoints/push/laptop"
    reply = gateway.call("PUT", path, {"address": wrong, "platform": "web"})
    assert (reply.status, reply.paths) == (400, {f"address{member}"})
    body = {"device_id": "laptop", "platform": "web", "token": wrong}
    assert user_call(gateway, "POST", "/v1/devices/register", body).paths == {f"token{member}"}


def test_a_subscription_is_no_address_of_anything_else(gateway: Gateway) -> None:
    user = uuid4().hex
    path = f"/v1/users/{user}/endpoints"
    assert gateway.call("PUT", f"{path}/push/phone", {"address": browser(user), "platform": "ios"}).paths == {"address"}
    assert gateway.call("PUT", f"{path}/email/home", {"address": browser(user)}).paths == {"address"}


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
