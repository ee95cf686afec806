"""A key is changed for another: browsers that subscribed with the earlier one are reached all the same."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from helpers.deliveries import delivery
from helpers.sandbox_process import Sandbox

from connectors.providers.channel import Delivery, Failed, Result, Sent
from connectors.providers.push.webpush import WebPushChannel
from connectors.sandbox.options import browser_address
from state.model.content import PushContent


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def other_key(directory: Path) -> Path:
    path = directory / "other.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def sent(sandbox: Sandbox, browser: str, key: Path | None, earlier: Path | None, times: int = 1) -> list[Result]:
    """To one browser, which subscribed with the simulator's key."""
    options = dataclasses.replace(sandbox.options.webpush, signing_key=key, earlier_signing_key=earlier)
    address = browser_address(sandbox.directory / "sandbox", browser)

    async def run() -> list[Result]:
        channel = WebPushChannel(options, sandbox.options.egress, clock_ms=now_ms)
        await channel.connect()
        try:
            return [await channel.send(given(channel, str(number))) for number in range(times)]
        finally:
            await channel.close()

    def given(channel: WebPushChannel, name: str) -> Delivery:
        return delivery(
            PushContent("t", "b"), key=name, provider_id=channel.provider_id(name), address=address,
            expires_at=now_ms() + 60_000,
        )  # fmt: skip

    return asyncio.run(run())


def statuses(sandbox: Sandbox, browser: str) -> list[object]:
    return [each["status"] for each in sandbox.to("webpush", browser)]


def test_a_browser_of_the_earlier_key_is_sent_to_with_it_and_that_is_remembered(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    results = sent(sandbox, "old", other_key(tmp_path), sandbox.options.webpush.signing_key, 3)
    assert [type(each) for each in results] == [Sent] * 3
    assert statuses(sandbox, "old") == [403, 201, 201, 201]


def test_a_browser_of_the_present_key_is_asked_once(sandbox: Sandbox, tmp_path: Path) -> None:
    sent(sandbox, "new", sandbox.options.webpush.signing_key, other_key(tmp_path), 2)
    assert statuses(sandbox, "new") == [201, 201]


def test_where_both_are_refused_no_subscription_is_retired(sandbox: Sandbox, tmp_path: Path) -> None:
    key = other_key(tmp_path)
    assert sent(sandbox, "none", key, key) == [Failed("status 403")]
    assert statuses(sandbox, "none") == [403, 403]
