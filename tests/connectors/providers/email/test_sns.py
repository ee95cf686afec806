"""Messages of SNS: signed by Amazon's key as its documentation has it, for our topic; nothing else is believed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from helpers.amazon import CERTIFICATE, CONFIRM, CONFIRMATION, NOTIFICATION, OTHER, TOPIC, certificate, signed

from connectors.providers.email.sns import CERTIFICATES_MAX, SnsSignatures, amazon_address, decode_sns
from state.model.web_address import WebAddress


class Amazon:
    """Who serves certificates, and counts how often."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def fetch(self, address: WebAddress) -> bytes | None:
        self.asked.append(address.url)
        return certificate()

    def judge(self, *messages: dict[str, Any]) -> list[bool]:
        async def run() -> list[bool]:
            signatures = SnsSignatures(TOPIC, self.fetch)
            decoded = [decode_sns(json.dumps(each).encode()) for each in messages]
            return [each is not None and await signatures.is_good(each) for each in decoded]

        return asyncio.run(run())


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("fields", [NOTIFICATION, CONFIRMATION])
def test_what_amazon_signed_is_believed_and_its_certificate_kept(fields: dict[str, str], version: str) -> None:
    amazon, bare = Amazon(), {name: text for name, text in fields.items() if name != "Subject"}
    assert amazon.judge(signed(fields, version), signed(bare, version)) == [True, True]
    assert amazon.asked == [CERTIFICATE]


@pytest.mark.parametrize("name", ["Message", "MessageId", "Timestamp", "Subject", "TopicArn", "Type"])
def test_whatever_is_changed_is_not(name: str) -> None:
    changed = signed(NOTIFICATION) | {name: "Notification2" if name == "Type" else NOTIFICATION[name] + "x"}
    assert Amazon().judge(changed) == [False]


def test_another_key_topic_or_host_is_not_believed() -> None:
    amazon = Amazon()
    good = signed(NOTIFICATION)
    elsewhere = signed(NOTIFICATION | {"TopicArn": TOPIC.replace("1234", "9999")})
    assert amazon.judge(signed(NOTIFICATION, key=OTHER), elsewhere, good | {"SignatureVersion": "3"}) == [False] * 3
    forged = [
        good | {"SigningCertURL": url} for url in ("https://evil.example/SimpleNotificationService-0a.pem", CONFIRM)
    ]
    amazon.asked.clear()
    assert amazon.judge(*forged, good | {"Signature": "%%"}) == [False] * 3
    assert amazon.asked == [CERTIFICATE], "strangers are not asked"


@pytest.mark.parametrize(
    "url",
    [
        None, "", "http://sns.eu-west-1.amazonaws.com/a", "https://sns.eu-west-1.amazonaws.com:8443/a",
        "https://sns.eu-west-1.amazonaws.com.evil.example/", "https://evil.example/?sns.eu-west-1.amazonaws.com",
        "https://sns.eu-west-1.amazonaws.com@evil.example/", "https://s3.amazonaws.com/", "https://xsns.a.amazonaws.com/",
    ],
)  # fmt: skip
def test_only_amazons_own_hosts_are_asked(url: str | None) -> None:
    assert amazon_address(url) is None


def test_certificates_are_kept_up_to_a_bound() -> None:
    amazon = Amazon()
    many = [
        signed(NOTIFICATION) | {"SigningCertURL": CERTIFICATE.replace("0123", f"{number:04}")}
        for number in range(CERTIFICATES_MAX + 1)
    ]
    assert all(amazon.judge(*many, many[-1], many[0]))
    assert len(amazon.asked) == CERTIFICATES_MAX + 2


def test_what_is_no_message_of_sns_is_none() -> None:
    for body in (b"", b"[]", b"{}", b'{"Type":"Notification"}', b"\xff"):
        assert decode_sns(body) is None
