"""deliver and transactional as processes that share the rates of providers through a real Redis."""

from __future__ import annotations

import redis
from helpers.feeding import Device, System, token
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for

from connectors.sandbox.options import browser_address
from infra.services import start_redis


def configure(system: System, url: str) -> None:
    (system.directory / "carillon.toml").write_text(f'[redis]\nurl = "{url}"\nprefix = "test"\n')


def test_both_take_from_one_bucket_of_each_provider_and_push_service(system: System, sandbox: Sandbox) -> None:
    browser: Device = ("d2", browser_address(sandbox.directory / "sandbox", "laptop"), "web")
    server = start_redis()
    try:
        configure(system, server.url)
        system.feed([
            system.endpoint("u2", "sms", "s", "+14155550101"),
            system.emission("u1", "push", [("d1", token(1)), browser]),
            system.emission("u1", "sms", [("s", "+14155550100")]),
        ])  # fmt: skip
        with system.flow("deliver"), system.flow("transactional"), redis.Redis.from_url(server.url) as client:
            system.feed([system.p0("u2")])
            wait_for(lambda: len(system.deliveries()) == 4)
            port = sandbox.options.egress.ports[-1]
            names = {"test:r:push:*:apns", "test:r:sms:*:twilio", f"test:r:push:web:webpush:127.0.0.1:{port}"}
            wait_for(lambda: names == {key.decode() for key in client.keys("test:*")}, what=lambda: str(client.keys()))
    finally:
        server.stop()
    assert {record["outcome"] for record in system.deliveries().values()} == {"DELIVERED"}


def test_they_start_and_send_while_redis_is_away(system: System, sandbox: Sandbox) -> None:
    server = start_redis()
    server.stop()
    configure(system, server.url)
    system.feed([
        system.endpoint("u2", "sms", "s", "+14155550101"), system.emission("u1", "push", [("d1", token(1))]),
    ])  # fmt: skip
    with system.flow("deliver"), system.flow("transactional"):
        system.feed([system.p0("u2")])
        wait_for(lambda: len(system.deliveries()) == 2)
    assert {record["outcome"] for record in system.deliveries().values()} == {"DELIVERED"}
    assert len(sandbox.to("apns", token(1))) == 1
