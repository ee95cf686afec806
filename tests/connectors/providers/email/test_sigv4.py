"""Signatures against those that Amazon publishes in its test suite for Signature Version 4."""

from __future__ import annotations

import pytest

from connectors.providers.email.sigv4 import Credential, host_of, signed
from connectors.providers.request import Request

KEY = Credential("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service")
AT = 1_440_938_160  # 20150830T123600Z
HOST = "example.amazonaws.com"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request("/", {}, method="GET"), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            Request("/?Param2=value2&Param1=value1", {}, method="GET"),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (Request("/", {}), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (Request("/", FORM, b"Param1=value1"), "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
    ],
    ids=["get-vanilla", "get-vanilla-query-order-key-case", "post-vanilla", "post-x-www-form-urlencoded"],
)
def test_published_signatures(request_: Request, expected: str) -> None:
    headers = signed(request_, KEY, host=HOST, now_s=AT).headers
    names = ";".join(sorted({*request_.headers, "host", "x-amz-date"}))
    assert headers["x-amz-date"] == "20150830T123600Z"
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={names}, Signature={expected}"
    )


def test_a_temporary_key_sends_its_token_signed_and_no_secret_is_shown() -> None:
    temporary = Credential("AKIDEXAMPLE", "hidden", "us-east-1", "service", "token")
    headers = signed(Request("/", {}), temporary, host=HOST, now_s=AT).headers
    assert headers["x-amz-security-token"] == "token"
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token," in headers["authorization"]
    assert "hidden" not in repr(temporary) + str(headers)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://email.eu-west-1.amazonaws.com", "email.eu-west-1.amazonaws.com"),
        ("https://A.example:443/", "a.example"),
        ("https://127.0.0.1:8443", "127.0.0.1:8443"),
        ("https://[::1]:8443", "[::1]:8443"),
    ],
)
def test_the_host_is_what_a_client_says(origin: str, host: str) -> None:
    assert host_of(origin) == host
