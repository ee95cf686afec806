"""Signatures as the specification and its test vector have them."""

from __future__ import annotations

from base64 import b64decode

import pytest

from connectors.providers.web.signature import PREFIX, endpoint_secret, is_genuine, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
IDENTITY, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
"""The specification's own example."""


def test_the_example_of_the_specification() -> None:
    assert sign([SECRET], IDENTITY, AT, BODY) == {
        "webhook-id": IDENTITY, "webhook-timestamp": str(AT), "webhook-signature": SIGNATURE
    }  # fmt: skip


def test_each_secret_signs_and_one_of_them_is_enough() -> None:
    old, new = (endpoint_secret(secret, "ann", "main") for secret in ("o" * 32, "n" * 32))
    headers = sign([new, old], IDENTITY, AT, BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert is_genuine([old], headers, BODY, now_s=AT)
    assert is_genuine([new], headers, BODY, now_s=AT)
    assert not is_genuine([SECRET], headers, BODY, now_s=AT)


@pytest.mark.parametrize(
    ("changes", "body", "now_s"),
    [
        ({}, BODY + b" ", AT), ({}, BODY, AT + 301), ({}, BODY, AT - 301), ({"webhook-id": "msg_other"}, BODY, AT),
        ({"webhook-id": ""}, BODY, AT), ({"webhook-timestamp": str(AT + 1)}, BODY, AT),
        ({"webhook-timestamp": "now"}, BODY, AT), ({"webhook-signature": ""}, BODY, AT),
        ({"webhook-signature": SIGNATURE.replace("v1,", "v2,")}, BODY, AT), ({"webhook-signature": "v1,"}, BODY, AT),
        ({"webhook-signature": "v1,\xfc"}, BODY, AT),
    ],
)  # fmt: skip
def test_a_receiver_refuses_what_was_changed_or_is_old(changes: dict[str, str], body: bytes, now_s: int) -> None:
    headers = sign([SECRET], IDENTITY, AT, BODY)
    assert is_genuine([SECRET], headers, BODY, now_s=AT + 299)
    assert not is_genuine([SECRET], headers | changes, body, now_s=now_s)


def test_each_endpoint_has_a_secret_of_its_own_which_tells_nothing_of_the_others() -> None:
    places = [("ann", "main"), ("ann", "other"), ("bob", "main"), ("annm", "ain"), ("ann\0main", "")]
    found = {endpoint_secret(secret, *place) for secret in ("a" * 32, "b" * 32) for place in places}
    assert len(found) == 10
    assert {len(b64decode(one.removeprefix(PREFIX))) for one in found} == {32}
    assert endpoint_secret("a" * 32, "ann", "main") == endpoint_secret("a" * 32, "ann", "main")
