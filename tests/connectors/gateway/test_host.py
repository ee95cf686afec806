"""The calls of the host application about its users, on a real gateway process."""

from typing import Any
from uuid import uuid4

import msgspec
import pytest
from helpers.gateway import Gateway, token

from state.model.keys import key_group, partition_of_group

_TOPICS = ("endpoints", "preferences", "profiles", "reads")


def test_endpoints_are_set_and_removed(gateway: Gateway) -> None:
    user = f"host {uuid4().hex}"
    path = f"/v1/users/{user.replace(' ', '%20')}/endpoints/email/home"
    reply = gateway.call("PUT", path, {"address": "anne@example.org"})
    assert reply.status == 200
    (stored,) = [one for one in gateway.values("endpoints") if one["user"] == user]
    assert stored == {
        "user": user, "channel": "email", "id": "home", "platform": None, "address": "anne@example.org",
        "state": "active", "registered_at": reply.json["registered_at"],
    }  # fmt: skip
    (record,) = [one for one in gateway.records("endpoints") if one.key.startswith(user.encode())]
    assert record.key == f"{user}\0email\0home".encode()
    assert record.partition == partition_of_group(key_group(user), 4)
    assert gateway.call("DELETE", path).status == 204
    assert gateway.call("DELETE", path).status == 404
    assert [one["state"] for one in gateway.values("endpoints") if one["user"] == user][-1] == "invalid"


@pytest.mark.parametrize(
    ("channel", "body", "paths"),
    [
        ("fax", {"address": "1"}, {"channel"}),
        ("email", {"address": "a@b@c"}, {"address"}),
        ("email", {"address": "a@b.org\r\nBcc: x@y.org"}, {"address"}),
        ("sms", {"address": "call me"}, {"address"}),
        ("push", {"state": "asleep", "user": "x"}, {"state", "user", "address"}),
        ("push", {"address": "t", "channel": "sms"}, {"address"}),
        ("push", {"address": "ab" * 32, "channel": "sms"}, {"address"}),
        ("push", {"address": "+15005550006", "channel": "sms"}, {"channel"}),
        ("sms", {"address": "+49 151 12345678"}, {"address"}),
        ("sms", {"address": "+1555123456"}, {"address"}),
        ("email", {"address": "Ann <ann@x.example>"}, {"address"}),
        ("webhook", {"address": "http://example.org/hook"}, {"address"}),
        ("webhook", {"address": "https://example.org:6379/hook"}, {"address"}),
        ("webhook", {"address": "https://ann:pw@example.org/hook"}, {"address"}),
        ("webhook", {"address": "https://0x7f.1/hook"}, {"address"}),
        ("webhook", {"address": "https://[::ffff:10.0.0.1]/hook"}, {"address"}),
        ("webhook", {"address": "https://169.254.169.254/latest/meta-data"}, {"address"}),
        ("webhook", {"address": "https://example.org/hook", "secret": "whsec_x"}, {"secret"}),
        ("chat", {"address": "https://example.org/hook"}, {"channel"}),
        ("email", [], {""}),
    ],
)
def test_wrong_endpoints_are_400(gateway: Gateway, channel: str, body: Any, paths: set[str]) -> None:
    reply = gateway.call("PUT", f"/v1/users/u/endpoints/{channel}/x", body)
    assert (reply.status, reply.paths) == (400, paths)


@pytest.mark.parametrize(
    ("channel", "address", "stored"),
    [
        ("email", "Ann@B\u00dcCHER.example", "Ann@xn--bcher-kva.example"),
        ("sms", "+49015112345678", "+4915112345678"),
        ("push", "AB" * 32, "ab" * 32),
        ("webhook", "HTTPS://Hooks.Example.ORG.:443?a=b", "https://hooks.example.org/?a=b"),
    ],
)
def test_addresses_are_stored_in_one_form(gateway: Gateway, channel: str, address: str, stored: str) -> None:
    user = uuid4().hex
    assert gateway.call("PUT", f"/v1/users/{user}/endpoints/{channel}/x", {"address": address}).status == 200
    assert [one["address"] for one in gateway.values("endpoints") if one["user"] == user] == [stored]


def test_profile_and_follows_reach_their_topics(gateway: Gateway) -> None:
    assert gateway.call("PUT", "/v1/users/anne", {"locale": "pt-BR", "name": "Anne"}).status == 200
    assert gateway.values("profiles")[-1] == {"user": "anne", "locale": "pt-BR", "name": "Anne"}
    follows = [{"followee": "star", "follower": "f1"}, {"followee": "star", "follower": "f2", "on": False}]
    assert gateway.call("POST", "/v1/follows", follows).json == {"stored": 2}
    stored = [one for one in gateway.records("follows") if one.key.startswith(b"star\0")]
    assert [msgspec.json.decode(one.value)["on"] for one in stored] == [True, False]
    assert {one.partition for one in stored} == {partition_of_group(key_group("star"), 4)}
    wrong = gateway.call("POST", "/v1/follows", [follows[0], {"followee": "x"}, 3])
    assert (wrong.status, wrong.paths) == (400, {"[1].follower", "[2]"})
    assert gateway.call("PUT", "/v1/users/anne", {"locale": "not a tag"}).paths == {"locale"}


def test_a_user_who_is_erased_keeps_only_his_opt_outs(gateway: Gateway) -> None:
    user, other = uuid4().hex, uuid4().hex
    gateway.call("PUT", f"/v1/users/{user}/endpoints/email/home", {"address": "anne@example.org"})
    gateway.call("PUT", f"/v1/users/{user}/endpoints/push/phone", {"platform": "ios", "address": (user + other)})
    out_of_use = {"address": "old@example.org", "state": "invalid"}
    gateway.call("PUT", f"/v1/users/{user}/endpoints/email/old", out_of_use)
    gateway.call("PUT", f"/v1/users/{other}/endpoints/email/home", {"address": "otto@example.org"})
    document = {"muted": {"actors": ["bob"]}, "unsubscribed": {"email": ["marketing"]}}
    assert gateway.call("PUT", "/v1/preferences", document, key=token(user)).status == 200
    listed = gateway.call("GET", f"/v1/users/{user}/endpoints").json["endpoints"]
    assert [(one["channel"], one["id"], one["platform"]) for one in listed] == [
        ("email", "home", None), ("push", "phone", "ios"),
    ]  # fmt: skip
    assert gateway.call("GET", "/v1/devices", key=token(user)).json["endpoints"] == listed
    for _ in range(2):
        assert gateway.call("DELETE", f"/v1/users/{user}").status == 204
        assert gateway.call("GET", f"/v1/users/{user}/endpoints").json == {"endpoints": []}
    assert len(gateway.call("GET", f"/v1/users/{other}/endpoints").json["endpoints"]) == 1
    mine = {topic: [one for one in gateway.values(topic) if one["user"] == user] for topic in _TOPICS}
    assert {(one["id"], one["state"], one["address"]) for one in mine["endpoints"][3:]} == {
        ("home", "invalid", ""), ("phone", "invalid", ""), ("old", "invalid", ""),
    }  # fmt: skip
    assert mine["preferences"][-1]["doc"] == {"master": False, "unsubscribed": {"email": ["marketing"]}}
    assert mine["profiles"][-1] == {"user": user, "locale": None, "name": None}
    assert mine["reads"][-1] == {"user": user, "up_to": None, "erase": True}
