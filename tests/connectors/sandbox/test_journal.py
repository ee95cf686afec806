"""What a journal says of pushes that remove others: the real servers, by the product's own connectors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from helpers.deliveries import delivery
from helpers.sandbox_process import Sandbox

from connectors.providers.channel import Channel, Delivery, Result, Sent
from connectors.providers.push.apns import ApnsChannel
from connectors.providers.push.fcm import FcmChannel
from connectors.providers.push.webpush import WebPushChannel
from connectors.sandbox.options import browser_address
from state.model.content import Content, PushContent, WithdrawalContent


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def webpush(sandbox: Sandbox) -> Channel:
    return WebPushChannel(sandbox.options.webpush, sandbox.options.egress, clock_ms=now_ms)


MAKE: dict[str, Callable[[Sandbox], Channel]] = {
    "apns": lambda sandbox: ApnsChannel(sandbox.options.apns),
    "fcm": lambda sandbox: FcmChannel(sandbox.options.fcm, clock_ms=now_ms),
    "webpush": webpush,
}


def address(sandbox: Sandbox, name: str) -> str:
    if name == "webpush":
        return browser_address(sandbox.directory / "sandbox", "laptop")
    return {"apns": "a" * 64, "fcm": "f:" + "A" * 60}[name]


@pytest.mark.parametrize("name", MAKE)
def test_a_withdrawal_is_taken_and_the_journal_says_so(name: str, sandbox: Sandbox) -> None:
    async def run(*contents: Content) -> list[Result]:
        channel = MAKE[name](sandbox)
        await channel.connect()
        try:
            return [await channel.send(given(channel, str(number), each)) for number, each in enumerate(contents)]
        finally:
            await channel.close()

    def given(channel: Channel, key: str, content: Content) -> Delivery:
        identity = channel.provider_id(key)
        where = address(sandbox, name)
        return delivery(content, key=key, provider_id=identity, address=where, expires_at=now_ms() + 60_000)

    replacement = PushContent("Shop", "Bob liked it", replaces=True)
    results = asyncio.run(run(WithdrawalContent(), PushContent("Shop", 'Ann wrote "withdraw":true'), replacement))
    assert all(isinstance(result, Sent) for result in results)
    withdrawn, said, replaced = sandbox.journal(name)
    assert [each.get("replaces") for each in (withdrawn, said, replaced)] == [None, None, True]
    assert withdrawn["id"] == MAKE[name](sandbox).provider_id("0")
    assert (withdrawn.get("withdraws"), said.get("withdraws")) == (True, None)
