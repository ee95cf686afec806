"""Receipts that providers post, on a real gateway process; those of text messages come from the simulated Twilio."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from helpers.deliveries import delivery
from helpers.gateway import Gateway, Reply, running
from helpers.gateway_process import LINK_KEYS
from helpers.sandbox_process import Sandbox, running_sandbox
from helpers.waiting import wait_for

from connectors.providers.channel import Sent
from connectors.providers.sms.twilio import TwilioChannel
from connectors.providers.sms.twilio_receipts import twilio_signature
from connectors.sandbox.options import AUTH_TOKEN
from state.model.content import SmsContent
from state.model.receipt import ReferenceKeys, SentDelivery

URL = "https://carillon.example/v1/callbacks/twilio"
KEYS = ReferenceKeys(LINK_KEYS)
SENT = SentDelivery("zoe", "em_1", "sms", "phone", 1_000)
FORM = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+14155550100"}


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    callbacks = {"twilio_auth_token": AUTH_TOKEN, "twilio_url": URL, "gone_per_h": 2}
    with running(tmp_path_factory.mktemp("called"), callbacks=callbacks) as gateway:
        yield gateway


def post(gateway: Gateway, form: dict[str, str], reference: str, *, secret: str = AUTH_TOKEN, **changed: Any) -> Reply:
    query = urlencode({"key": "k", "ref": reference})
    given = twilio_signature(f"{URL}?{query}", list(form.items()), secret)
    headers = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": given} | changed
    body = urlencode(form).encode()
    return gateway.call("POST", f"/v1/callbacks/twilio?{query}", body, key=None, headers=headers)


def test_a_signed_receipt_of_a_delivery_of_ours_is_noted(called: Gateway) -> None:
    before = len(called.values("outcomes"))
    assert post(called, FORM, KEYS.sign(SENT)).status == 204
    [noted] = called.values("outcomes")[before:]
    names = ("user", "emission_id", "channel", "device", "outcome", "question", "provider", "provider_id")
    assert [noted[name] for name in names] == [
        "zoe", "em_1", "sms", "phone", "delivered", "receipt", "twilio", "SM1"
    ]  # fmt: skip


def test_what_twilio_did_not_sign_is_401(called: Gateway) -> None:
    before, good = called.values("outcomes"), KEYS.sign(SENT)
    assert post(called, FORM, good, secret="another").status == 401
    assert post(called, FORM, good, **{"x-twilio-signature": ""}).status == 401
    stolen = twilio_signature(f"{URL}?{urlencode({'key': 'k', 'ref': good})}", list(FORM.items()), AUTH_TOKEN)
    changed = FORM | {"MessageStatus": "undelivered"}
    assert post(called, changed, good, **{"x-twilio-signature": stolen}).status == 401
    assert called.values("outcomes") == before


def test_what_is_about_no_delivery_of_ours_is_taken_and_changes_nothing(called: Gateway) -> None:
    before, others = called.values("outcomes"), ReferenceKeys([b"x" * 32]).sign(SENT)
    dead = FORM | {"MessageStatus": "undelivered", "ErrorCode": "30005"}
    for reference in ("", "unheard of", others):
        assert post(called, dead, reference).status == 204
    assert post(called, FORM | {"MessageStatus": "sent"}, KEYS.sign(SENT)).status == 204
    assert (called.values("outcomes"), called.values("endpoints")) == (before, [])


def test_a_number_that_is_gone_is_retired_as_of_then_and_not_too_many(called: Gateway) -> None:
    dead = FORM | {"MessageStatus": "undelivered", "ErrorCode": "30005"}
    for device in ("a", "a", "b", "c"):
        assert post(called, dead, KEYS.sign(SENT._replace(device=device))).status == 204
    retired = [(each["id"], each["gone_at"]) for each in called.values("endpoints")]
    assert sorted(retired) == [("a", 1_000), ("a", 1_000), ("b", 1_000)]


def test_other_names_and_media_types_are_refused(called: Gateway) -> None:
    for name, told in (("ses", "providers.ses.events_topic"), ("nobody", "ses and twilio")):
        headers = {"content-type": "text/plain"}
        answer = called.call("POST", f"/v1/callbacks/{name}", b"{}", key=None, headers=headers)
        assert (answer.status, told in str(answer.json)) == (404, True)
    assert called.call("POST", "/v1/callbacks/twilio", {}, key=None).status == 415


def numbers(start: str, count: int) -> list[str]:
    return [f"{start}{number:06}" for number in range(count)]


TOLD = {
    "delivered": [*numbers("+14155", 3), *numbers("+19980", 3), *numbers("+19981", 3), *numbers("+19982", 3)],
    "undelivered": numbers("+19984", 3),
    "failed": numbers("+19985", 3),
    None: numbers("+19983", 3),
}


def test_counts_are_exact_whatever_the_simulated_twilio_reports(tmp_path: Path) -> None:
    with running_sandbox(tmp_path / "twilio") as sandbox:
        with running(tmp_path) as first:
            port = first.port
        url = f"http://127.0.0.1:{port}/v1/callbacks/twilio"
        callbacks = {"twilio_auth_token": AUTH_TOKEN, "twilio_url": url}
        with running(tmp_path, port=port, callbacks=callbacks) as gateway:
            asyncio.run(send_all(sandbox, url))
            final = 3 * (1 + 2 + 1 + 3 + 1 + 1)
            wait_for(lambda: len(gateway.values("outcomes")) >= final, what="every final report is noted")
            noted = gateway.values("outcomes")
    assert len(noted) == final
    first_of: dict[str, str] = {}
    for each in noted:
        first_of.setdefault(each["emission_id"], each["outcome"])
    assert first_of == {f"em_{number}": told for told, each in TOLD.items() if told for number in each}


async def send_all(sandbox: Sandbox, url: str) -> None:
    options = dataclasses.replace(sandbox.options.twilio, status_callback=url)
    channel = TwilioChannel(options, clock_ms=lambda: int(time.time() * 1000), references=KEYS)
    await channel.connect()
    for number in (each for numbers_ in TOLD.values() for each in numbers_):
        message = delivery(
            SmsContent("hello"), key=f"em_{number}/u/sms/d", provider_id=number[1:], address=number, channel="sms",
            expires_at=int(time.time() * 1000) + 60_000,
        )  # fmt: skip
        assert isinstance(await channel.send(message), Sent)
    await channel.close()
