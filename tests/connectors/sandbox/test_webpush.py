"""What the simulator of push services checks, as the services and the browsers do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from helpers.subscriptions import octets

from connectors.providers.push.webpush_encryption import encrypted, padded, public_point, sealed
from connectors.providers.push.webpush_token import application_key
from connectors.sandbox.browsers import Browsers
from connectors.sandbox.http2 import Answer
from connectors.sandbox.journal import Journal
from connectors.sandbox.webpush import WebPushServer
from state.model.subscriptions import PushAddress, read_subscription

NOW_S = 1_800_000_000
ORIGIN = "https://push.example.com"
KEY = ec.generate_private_key(ec.SECP256R1())
MESSAGE = b'{"title":"t","body":"b","data":{"carillon_id":"id1"}}'
RFC_8292 = (
    "vapid t=eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsI"
    "nN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjj"
    "vW2L9OkSSHzvoD1oA, k={key}"
)
RFC_8292_KEY = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"


class Service:
    """The simulator at a time that the test sets."""

    def __init__(self, directory: Path) -> None:
        self.browsers = Browsers(b"s" * 32)
        self.server = WebPushServer(
            Journal(directory, "webpush"), KEY.public_key(), self.browsers, clock_s=lambda: NOW_S
        )

    def authorization(self, key: ec.EllipticCurvePrivateKey = KEY, **changes: Any) -> str:
        claims = {"aud": ORIGIN, "exp": NOW_S + 3600, "sub": "mailto:a@example.com"} | changes
        token = jwt.encode({k: v for k, v in claims.items() if v is not None}, key, algorithm="ES256")
        return f"vapid t={token}, k={application_key(KEY)}"

    def address(self, name: str = "b") -> PushAddress:
        found = read_subscription(self.browsers.address(name, ORIGIN), ["push.example.com"])
        assert isinstance(found, PushAddress)
        return found

    def post(self, body: bytes | None = None, path: str = "/push/b", **headers: str | None) -> Answer:
        one = self.address()
        given = {
            "host": "push.example.com", "ttl": "60", "content-encoding": "aes128gcm",
            "authorization": self.authorization(),
        } | {name.replace("_", "-"): value for name, value in headers.items()}  # fmt: skip
        sealed_body = sealed(MESSAGE, key=one.key, secret=one.secret) if body is None else body
        return self.server.judge(path, {k: v for k, v in given.items() if v is not None}, sealed_body)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_a_good_message_is_taken_and_the_browser_reads_it(service: Service) -> None:
    taken = service.post(topic="a" * 32, urgency="high")
    assert (taken.status, taken.to, taken.identity, taken.shown) == (201, "b", "id1", MESSAGE)
    assert dict(taken.headers)["location"].startswith(ORIGIN)


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"ttl": None}, 400), ({"ttl": "-1"}, 400), ({"ttl": "2592001"}, 400), ({"urgency": "high, low"}, 400),
        ({"topic": "a" * 33}, 400), ({"topic": "a b"}, 400), ({"content_encoding": "aesgcm"}, 400),
        ({"authorization": None}, 401), ({"authorization": "Bearer x"}, 401),
    ],
)  # fmt: skip
def test_headers_that_a_service_refuses(service: Service, wrong: dict[str, Any], status: int) -> None:
    assert service.post(**wrong).status == status


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "https://push.example.com:8443"}, {"aud": "https://other.example.com"}, {"exp": NOW_S},
        {"exp": NOW_S + 86_401}, {"exp": "soon"}, {"sub": "ops"}, {"sub": None}, {"aud": None},
        {"key": ec.generate_private_key(ec.SECP256R1())},
    ],
)  # fmt: skip
def test_a_token_that_a_service_refuses(service: Service, wrong: dict[str, Any]) -> None:
    assert service.post(authorization=service.authorization(**wrong)).status == 403


def test_the_key_beside_the_token_is_the_one_of_the_subscription(service: Service) -> None:
    token = service.authorization().partition(", ")[0]
    other = application_key(ec.generate_private_key(ec.SECP256R1()))
    assert service.post(authorization=f"{token}, k={other}").status == 403


def test_the_example_of_rfc_8292(tmp_path: Path) -> None:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), octets(RFC_8292_KEY))
    browsers, origin = Browsers(b"s" * 32), "https://push.example.net"
    server = WebPushServer(Journal(tmp_path, "webpush"), key, browsers, clock_s=lambda: 1453523768 - 3600)
    one = read_subscription(browsers.address("b", origin), ["push.example.net"])
    assert isinstance(one, PushAddress)
    headers = {
        "host": "push.example.net", "ttl": "10", "content-encoding": "aes128gcm",
        "authorization": RFC_8292.format(key=RFC_8292_KEY),
    }  # fmt: skip
    assert server.judge("/push/b", headers, sealed(MESSAGE, key=one.key, secret=one.secret)).status == 201
    forged = headers | {"authorization": headers["authorization"].replace(".i3CY", ".j3CY")}
    assert server.judge("/push/b", forged, sealed(MESSAGE, key=one.key, secret=one.secret)).status == 403


def test_a_body_that_is_too_large_or_not_for_the_browser(service: Service) -> None:
    other = service.address("other")
    assert service.post(b"x" * 4097).status == 413
    assert service.post(b"x" * 4096).status == 400
    assert service.post(sealed(MESSAGE, key=other.key, secret=other.secret)).status == 400
    assert service.post(b"").status == 400


def test_the_key_of_a_message_is_not_the_one_of_the_tokens(service: Service) -> None:
    one = service.address()
    body = encrypted(padded(MESSAGE), key=one.key, secret=one.secret, salt=b"s" * 16, own_key=KEY)
    assert body[21:86] == public_point(KEY)
    assert service.post(body).status == 400


def test_a_browser_has_the_same_subscription_whenever_it_is_asked(service: Service) -> None:
    path, headers = "/subscription/ann's%20laptop", {"host": "push.example.com"}
    first, again = (service.server.judge(path, headers, b"") for _ in range(2))
    assert first.content == again.content
    assert not first.to, "nothing for the journal"
    assert json.loads(first.content)["endpoint"] == f"{ORIGIN}/push/ann%27s%20laptop"
    assert service.post(path="/message/x").status == 404
