"""What is a browser's subscription, in which one form, and at which hosts."""

import json
from typing import Any

import pytest
from helpers.subscriptions import ENDPOINT, HOST, RFC_KEY, RFC_SECRET, octets, stored, subscription
from hypothesis import given
from hypothesis import strategies as st

from state.model.subscriptions import (
    HOST_PATTERN,
    PushAddress,
    SubscriptionFault,
    hosts_of,
    read_subscription,
    subscription_kind,
)

HOSTS = (HOST, "*.push.apple.com", "push.example.com:8443", "127.0.0.1:*")


def read(given: dict[str, Any] | str, hosts: tuple[str, ...] = HOSTS) -> PushAddress | SubscriptionFault:
    return read_subscription(given if isinstance(given, str) else json.dumps(given), hosts)


def fault(given: dict[str, Any] | str) -> str:
    found = read(given)
    assert isinstance(found, SubscriptionFault)
    assert all(found.complaint)
    return found.member


def test_what_a_browser_gives_is_read_and_has_one_form() -> None:
    found = read(subscription())
    assert isinstance(found, PushAddress)
    assert (found.origin, found.url.url) == (f"https://{HOST}", ENDPOINT)
    assert (found.key, found.secret) == (octets(RFC_KEY), octets(RFC_SECRET))
    assert found.text() == stored()
    assert read(found.text()) == found


@pytest.mark.parametrize(
    "same",
    [
        subscription("https://FCM.googleapis.com/fcm/send/dGhp:APA91b-x_y"),
        subscription("https://fcm.googleapis.com:443/fcm/send/dGhp:APA91b-x_y"),
        subscription("HTTPS://fcm.googleapis.com./fcm/send/dGhp:APA91b-x_y"),
        subscription("https://\uff46cm.googleapis\u3002com/fcm/send/dGhp:APA91b-x_y"),
        subscription(p256dh=RFC_KEY + "=", auth=RFC_SECRET + "=="),
        {"keys": {"auth": RFC_SECRET, "p256dh": RFC_KEY}, "endpoint": ENDPOINT},
        {**subscription(), "expirationTime": 1_700_000_000_000.5},
    ],
)
def test_however_it_is_spelled_it_is_the_same(same: dict[str, Any]) -> None:
    found = read(same)
    assert isinstance(found, PushAddress)
    assert found.text() == stored()


@pytest.mark.parametrize(
    ("endpoint", "origin"),
    [
        ("https://web.push.apple.com/x", "https://web.push.apple.com"),
        ("https://a.b.push.apple.com/x?y=/z", "https://a.b.push.apple.com"),
        ("https://push.example.com:8443/", "https://push.example.com:8443"),
        ("https://127.0.0.1:40001/push/x", "https://127.0.0.1:40001"),
    ],
)
def test_hosts_that_are_allowed(endpoint: str, origin: str) -> None:
    found = read(subscription(endpoint))
    assert isinstance(found, PushAddress)
    assert (found.origin, found.url.url) == (origin, endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/x", "https://example.com/x", "https://fcm.googleapis.com.example.com/x",
        "https://example.com/fcm.googleapis.com", "https://xfcm.googleapis.com/x", "https://push.apple.com/x",
        "https://.push.apple.com.evil.example/x", "https://evilpush.apple.com/x",
        "https://user@fcm.googleapis.com/x", "https://fcm.googleapis.com@evil.example/x",
        "https://fcm.googleapis.com\\@evil.example/x", "https://fcm.googleapis.com/x#y", "https://evil.example#.fcm/x",
        "https://fcm.googleapis.com/\tx", "https://fcm.googleapis.com/x\n", " https://fcm.googleapis.com/x",
        "https://fcm.googleapis.com:80/x", "https://fcm.googleapis.com:8443/x", "https://push.example.com/x",
        "https://127.0.0.2/x", "https://2130706434/x", "https://0x7f000002/x", "https://127.2:40001/x",
        "https://[::1]/x", "https://[::ffff:127.0.0.1]:40001/x", "https://169.254.169.254/latest", "https://localhost/x",
        "https://evil\u3002example/x", "https://fcm.g\u043e\u043egleapis.com/x", "file:///etc/passwd", "gopher://x/y",
        "https://fcm.googleapis.com/\u00e9", "https://fcm.googleapis.com/" + "x" * 2048,
        "",
    ],
)  # fmt: skip
def test_no_other_place_is_taken(endpoint: str) -> None:
    """S40 to S44: other schemes, hosts, ports, and spellings that two readers could read in two ways."""
    assert fault(subscription(endpoint)) in ("endpoint", "")


@given(st.text(max_size=80), st.text("@\\/:#?.%\t ", max_size=4))
def test_whatever_stands_before_the_path_is_a_host_of_the_list(host: str, between: str) -> None:
    found = read(subscription(f"https://{host}{between}/x"))
    assert isinstance(found, SubscriptionFault) or found.url.host in (HOST, "127.0.0.1") or "apple" in found.url.host


@pytest.mark.parametrize(
    ("member", "given"),
    [
        ("keys.p256dh", subscription(p256dh=RFC_KEY[:-1])),
        ("keys.p256dh", subscription(p256dh=RFC_KEY[:-3] + "AAA")),
        ("keys.p256dh", subscription(p256dh="A" * 87)),
        ("keys.p256dh", subscription(p256dh="BA" + "_" * 85)),
        ("keys.p256dh", subscription(p256dh=RFC_KEY.replace("_", "/"))),
        ("", subscription(auth="")),
        ("keys.auth", subscription(auth=RFC_SECRET[:-2])),
        ("keys.auth", subscription(auth="x y")),
        ("", "not JSON"),
        ("", "[]"),
        ("", '{"endpoint":"x"}'),
        ("", {**subscription(), "p256dh": RFC_KEY}),
        ("", "\ud800"),
        ("", json.dumps(subscription())[:-1] + ',"expirationTime":' + "[" * 1_500 + "]" * 1_500 + "}"),
    ],
)
def test_the_member_that_is_wrong_is_named(member: str, given: dict[str, Any] | str) -> None:
    assert fault(given) == member


@pytest.mark.parametrize(
    "host", ["*", "*.com", "https://x.example", "x.example/", "X.example", "x.example:x", "x..y", ""]
)
def test_what_is_no_entry_of_a_list_of_hosts(host: str) -> None:
    assert not HOST_PATTERN.fullmatch(host)


@pytest.mark.parametrize("host", HOSTS)
def test_entries_of_a_list_of_hosts(host: str) -> None:
    assert HOST_PATTERN.fullmatch(host)


def test_a_kind_names_its_hosts() -> None:
    assert hosts_of(subscription_kind(HOSTS)) == HOSTS
