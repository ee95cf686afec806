"""The laws of connectors.providers.channel, over every channel and the real sandbox servers."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from helpers.channel_cases import CASES, CHAT, NAMES, Case, web, web_port, with_addresses
from helpers.dkim import verifies
from helpers.records import now_ms
from helpers.sandbox_process import Sandbox, running_sandbox
from helpers.waiting import wait_for

from connectors.providers.channel import Channel, Delivery, Failed, Rejected, Result, Sent, Throttled
from connectors.providers.email.mail import dkim_signer
from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.push.fcm import FcmChannel
from connectors.providers.push.webpush import WebPushChannel
from connectors.providers.web.posting import PostingChannel
from connectors.providers.web.webhook import WebhookChannel
from connectors.sandbox.options import browser_address
from connectors.sandbox.ports import read_ports
from connectors.sandbox.watch import Watcher
from state.model.content import EmailContent, PushContent


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, sandbox: Sandbox) -> Case:
    found = CASES[request.param]
    return with_addresses(sandbox, found) if found.kind in ("webhook", "chat") else found


_count = iter(range(1_000_000))


def delivery(case: Case, channel: Channel, address: str, **changes: Any) -> Delivery:
    key = changes.pop("key", f"em_{next(_count)}/u1/{case.kind}/d1")
    values: dict[str, Any] = {
        "key": key, "attempt": 1, "provider_id": channel.provider_id(key), "user": "u1", "channel": case.kind,
        "device": "d1", "platform": "ios", "address": case.address(channel, address), "registered_at": 1_000,
        "content": case.content, "priority": "P1", "expires_at": time.time_ns() // 1_000_000 + 3_600_000,
    }  # fmt: skip
    return Delivery(**(values | changes))


@asynccontextmanager
async def connected(
    case: Case, sandbox: Sandbox, deadline: timedelta = timedelta(seconds=10)
) -> AsyncIterator[Channel]:
    channel = case.make(sandbox, deadline)
    await channel.connect()
    try:
        yield channel
    finally:
        await channel.close()


def send_one(case: Case, sandbox: Sandbox, address: str, deadline_s: float = 10, **changes: Any) -> Result:
    async def run() -> Result:
        async with connected(case, sandbox, timedelta(seconds=deadline_s)) as channel:
            return await channel.send(delivery(case, channel, address, **changes))

    return asyncio.run(run())


def test_what_is_sent_arrives_once_under_its_id(case: Case, sandbox: Sandbox) -> None:
    key = f"em_arrives/{case.name}/{case.kind}/d"

    async def run() -> tuple[Result, str]:
        async with connected(case, sandbox) as channel:
            return await channel.send(delivery(case, channel, case.good, key=key)), channel.provider_id(key)

    result, identity = asyncio.run(run())
    assert isinstance(result, Sent)
    entries = [entry for entry in sandbox.journal(case.name) if entry["id"] == identity]
    assert [entry["status"] in (200, 201, 250) for entry in entries] == [True]
    assert entries[0]["to"] == case.good


def test_a_watcher_is_shown_what_was_taken_and_the_journal_keeps_its_hash(case: Case, sandbox: Sandbox) -> None:
    watcher = Watcher(sandbox.directory / "sandbox")
    try:
        send_one(case, sandbox, case.refuses)
        send_one(case, sandbox, case.good)
        shown = watcher.take()
    finally:
        watcher.close()
    said = {"push": "Ann liked your photo", "sms": "Your code is 123456", "email": "Your code | Your code is 123456"}
    said |= {"webhook": "Your code is 123456", "voice": "Your code is 123456", "chat": CHAT.text}
    assert [(each.provider, each.to, each.text) for each in shown] == [(case.name, case.good, said[case.kind])]
    assert said[case.kind] not in (sandbox.directory / "sandbox" / f"{case.name}.ndjson").read_text()
    send_one(case, sandbox, case.good)  # and nobody watches


def test_the_same_key_gives_the_same_id_and_another_key_another(case: Case, sandbox: Sandbox) -> None:
    first, again = (case.make(sandbox, timedelta(seconds=1)) for _ in range(2))
    assert first.provider_id("k") == again.provider_id("k") != first.provider_id("l")


def test_an_answer_that_never_comes_is_ambiguous_and_ends_at_the_deadline(case: Case, sandbox: Sandbox) -> None:
    began = time.monotonic()
    result = send_one(case, sandbox, case.hangs, deadline_s=2)
    assert isinstance(result, Failed)
    assert result.ambiguous
    assert time.monotonic() - began < 12
    assert len(sandbox.to(case.name, case.hangs)) == 1, "the fault did not bite"


def test_a_connection_that_breaks_before_the_answer_is_ambiguous(case: Case, sandbox: Sandbox) -> None:
    result = send_one(case, sandbox, case.breaks, deadline_s=3)
    assert isinstance(result, Failed)
    assert result.ambiguous
    assert len(sandbox.to(case.name, case.breaks)) == 1, "sent again by itself"


def test_a_refusal_may_be_tried_again_and_is_not_ambiguous(case: Case, sandbox: Sandbox) -> None:
    result = send_one(case, sandbox, case.refuses)
    assert isinstance(result, Failed)
    assert (result.retryable, result.ambiguous) == (True, False)


def test_after_a_refusal_the_same_channel_goes_on(case: Case, sandbox: Sandbox) -> None:
    async def run() -> list[Result]:
        async with connected(case, sandbox) as channel:
            first = await channel.send(delivery(case, channel, case.fails_once))
            return [first, await channel.send(delivery(case, channel, case.fails_once))]

    first, second = asyncio.run(run())
    assert isinstance(first, Failed | Throttled)
    assert isinstance(second, Sent)


def test_an_unknown_address_is_rejected_for_good_as_of_its_registration(case: Case, sandbox: Sandbox) -> None:
    result = send_one(case, sandbox, case.unknown, registered_at=4_711)
    assert isinstance(result, Rejected)
    assert result.token_gone == 4_711


def at_port(case: Case, sandbox: Sandbox, deadline: timedelta, port: int) -> tuple[Case, Channel]:
    """The channel as if its provider were there."""
    channel = case.make(sandbox, deadline)
    options: Any = channel
    if case.name in ("smtp", "smpp"):
        options.options = dataclasses.replace(options.options, port=port)
    elif case.name == "ses":
        options.options = dataclasses.replace(options.options, endpoint=f"https://127.0.0.1:{port}")
    elif case.name == "webpush":
        options.options = dataclasses.replace(options.options, hosts=(f"127.0.0.1:{port}",))
        options.egress = dataclasses.replace(options.egress, ports=(port,))
    elif isinstance(channel, PostingChannel):
        channel.egress = dataclasses.replace(channel.egress, ports=(port,))
        case = dataclasses.replace(case, good=f"https://127.0.0.1:{port}/hooks/a")
    else:
        scheme = "https" if case.kind == "push" else "http"
        options.options = dataclasses.replace(options.options, origin=f"{scheme}://127.0.0.1:{port}")
    return case, channel


def test_a_provider_that_is_down_is_an_unambiguous_failure(case: Case, sandbox: Sandbox) -> None:
    """Nothing listens at the port: certainly nothing was taken."""
    case, channel = at_port(case, sandbox, timedelta(seconds=2), 1)

    async def run() -> Result:
        await channel.connect()
        return await channel.send(delivery(case, channel, case.good))

    result = asyncio.run(run())
    assert isinstance(result, Failed)
    assert (result.retryable, result.ambiguous) == (True, False)


@pytest.mark.parametrize("waiting", [0, 2])
def test_a_provider_that_takes_no_connection_or_never_speaks_is_given_up_in_time(
    case: Case, sandbox: Sandbox, waiting: int
) -> None:
    """With so many connections that nobody accepts the kernel drops the packets of others, as a network that is cut."""

    async def run(port: int) -> Result:
        its, channel = at_port(case, sandbox, timedelta(seconds=1), port)
        options: Any = channel
        name = "egress" if hasattr(channel, "egress") else "options"
        setattr(options, name, dataclasses.replace(getattr(options, name), connect_timeout=timedelta(milliseconds=200)))
        async with asyncio.timeout(10):
            await channel.connect()
            result = await channel.send(delivery(its, channel, its.good))
            await channel.close()
            return result

    with ExitStack() as opened, socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        for _ in range(waiting):
            one = opened.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        result = asyncio.run(run(silent.getsockname()[1]))
    assert isinstance(result, Failed)
    assert (result.retryable, result.ambiguous) == (True, case.name == "twilio" and not waiting), (
        "it speaks without TLS"
    )


def test_many_at_once_arrive_once_each(case: Case, sandbox: Sandbox) -> None:
    async def run() -> tuple[list[Result], set[str]]:
        async with connected(case, sandbox) as channel:
            batch = [delivery(case, channel, case.good) for _ in range(200)]
            return await asyncio.gather(*map(channel.send, batch)), {entry.provider_id for entry in batch}

    results, identities = asyncio.run(run())
    assert all(isinstance(result, Sent) for result in results)
    seen = [entry["id"] for entry in sandbox.journal(case.name) if entry["id"] in identities]
    assert sorted(map(str, seen)) == sorted(identities)


def test_a_result_never_tells_address_or_content(case: Case, sandbox: Sandbox) -> None:
    for address in (case.refuses, case.unknown, case.fails_once):
        text = repr(send_one(case, sandbox, address))
        assert address not in text
        assert "123456" not in text


def test_check_reaches_the_provider_and_sends_nothing(case: Case, sandbox: Sandbox) -> None:
    async def run() -> bool:
        async with connected(case, sandbox) as channel:
            return (await channel.check()).ok

    before = len(sandbox.journal(case.name))
    assert asyncio.run(run())
    assert len(sandbox.journal(case.name)) == before


def test_sends_in_progress_end_as_ambiguous_when_the_channel_closes(case: Case, sandbox: Sandbox) -> None:
    async def run() -> Result:
        channel = case.make(sandbox, timedelta(seconds=40))
        await channel.connect()
        before = len(sandbox.to(case.name, case.hangs))
        sending = asyncio.create_task(channel.send(delivery(case, channel, case.hangs)))
        await asyncio.to_thread(wait_for, lambda: len(sandbox.to(case.name, case.hangs)) > before)
        await channel.close()
        return await sending

    result = asyncio.run(run())
    assert isinstance(result, Failed)
    assert result.ambiguous


def test_apns_gone_carries_the_providers_time(sandbox: Sandbox) -> None:
    before = time.time_ns() // 1_000_000
    result = send_one(CASES["apns"], sandbox, "gone-" + "b" * 20)
    assert isinstance(result, Rejected)
    assert result.token_gone is not None
    assert before <= result.token_gone <= time.time_ns() // 1_000_000


def test_apns_too_many_requests_is_throttled_with_its_wait(sandbox: Sandbox) -> None:
    result = send_one(CASES["apns"], sandbox, "429-" + "b" * 20)
    assert result == Throttled(timedelta(seconds=1), "TooManyRequests", of_address=True)


def test_apns_a_long_body_is_cut_to_what_apns_takes(sandbox: Sandbox) -> None:
    for body in ("ü" * 5000, '"' * 6000, "x" * 10_000, "\u2028" * 4000):
        content = PushContent("title", body)
        assert isinstance(send_one(CASES["apns"], sandbox, "c" * 64, content=content), Sent)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gone", Rejected("UNREGISTERED", token_gone=1_000)),
        ("429", Throttled(timedelta(seconds=12), "QUOTA_EXCEEDED")),
        ("403", Rejected("SENDER_ID_MISMATCH", token_gone=1_000)),
        ("401", Failed("THIRD_PARTY_AUTH_ERROR")),
        ("404", Failed("NOT_FOUND")),
        ("400", Rejected("INVALID_ARGUMENT")),
        ("503", Failed("UNAVAILABLE")),
        ("502", Failed("status 502")),
    ],
)
def test_fcm_answers_of_the_simulator(sandbox: Sandbox, name: str, expected: Result) -> None:
    assert send_one(CASES["fcm"], sandbox, f"{name}-{'g' * 20}") == expected
    assert len(sandbox.to("fcm", f"{name}-{'g' * 20}")) == 1


def test_fcm_a_long_body_is_cut_to_what_fcm_takes(sandbox: Sandbox) -> None:
    for body in ("ü" * 5000, '"' * 6000, "x" * 10_000, "\u2028" * 4000):
        content = PushContent("title", body)
        assert isinstance(send_one(CASES["fcm"], sandbox, "f:" + "C" * 60, content=content), Sent)


def test_fcm_a_token_that_google_has_forgotten_is_renewed_and_the_message_sent_again(tmp_path: Path) -> None:
    """A second sandbox in the same directory has the same keys and ports, and knows no token that the first granted."""
    case = CASES["fcm"]

    async def run() -> list[Result]:
        with running_sandbox(tmp_path) as first:
            channel = case.make(first, timedelta(seconds=10))
            await channel.connect()
            results = [await channel.send(delivery(case, channel, case.good))]
        with running_sandbox(tmp_path):
            results += await asyncio.gather(*(channel.send(delivery(case, channel, case.good)) for _ in range(20)))
            assert len(first.to("fcm", case.good)) == 21
        await channel.close()
        return results

    assert all(isinstance(result, Sent) for result in asyncio.run(run()))


def test_fcm_without_an_access_token_nothing_was_sent(sandbox: Sandbox) -> None:
    options = dataclasses.replace(sandbox.options.fcm, token_url="https://127.0.0.1:1/token")

    async def run() -> tuple[Result, bool]:
        channel = FcmChannel(options, clock_ms=now_ms)
        await channel.connect()
        result = await channel.send(delivery(CASES["fcm"], channel, "f:" + "D" * 60))
        checked = (await channel.check()).ok
        await channel.close()
        return result, checked

    assert asyncio.run(run()) == (Failed("access token: no connection"), False)
    assert not sandbox.to("fcm", "f:" + "D" * 60)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gone", Rejected("status 410", token_gone=1_000)),
        ("404", Rejected("status 404", token_gone=1_000)),
        ("429", Throttled(timedelta(seconds=12), "status 429", of_address=True)),
        ("403", Failed("status 403")),
        ("401", Failed("status 401")),
        ("400", Rejected("status 400")),
        ("413", Rejected("status 413")),
        ("503", Failed("status 503")),
    ],
)
def test_webpush_answers_of_the_simulator(sandbox: Sandbox, name: str, expected: Result) -> None:
    assert send_one(CASES["webpush"], sandbox, f"{name}-w") == expected
    assert len(sandbox.to("webpush", f"{name}-w")) == 1


def test_webpush_a_redirect_is_not_followed(sandbox: Sandbox) -> None:
    """S44. Where it points, the message would have been taken."""
    assert send_one(CASES["webpush"], sandbox, "307-w") == Rejected("status 307")
    assert len(sandbox.to("webpush", "307-w")) == 1
    assert not sandbox.to("webpush", "moved")
    assert isinstance(send_one(CASES["webpush"], sandbox, "moved"), Sent)


def test_webpush_a_long_body_is_cut_to_what_a_browser_takes(sandbox: Sandbox) -> None:
    for body in ("ü" * 5000, '"' * 6000, "x" * 10_000, "\u2028" * 4000):
        content = PushContent("title", body)
        assert isinstance(send_one(CASES["webpush"], sandbox, "long", content=content, collapse="c"), Sent)


@pytest.mark.parametrize(
    ("hosts", "egress", "reason"),
    [
        (("push.example.com",), {}, "subscription: is at no push service that is allowed here"),
        (("push.example.com", "127.0.0.1:*"), {"private_networks": ()}, "address not allowed"),
    ],
)
def test_webpush_a_place_that_is_not_allowed_is_never_called(
    sandbox: Sandbox, hosts: tuple[str, ...], egress: dict[str, Any], reason: str
) -> None:
    """S41 and S44: by the list of push services, and by the rules of egress. The simulator would take the message."""
    options, rules = dataclasses.replace(sandbox.options.webpush, hosts=hosts), sandbox.options.egress
    case = dataclasses.replace(
        CASES["webpush"],
        make=lambda *_: WebPushChannel(options, dataclasses.replace(rules, **egress), clock_ms=now_ms),
        address=lambda *_: browser_address(sandbox.directory / "sandbox", "unlisted"),
    )
    assert send_one(case, sandbox, "") == Rejected(reason), "a list that became shorter retires no address"
    assert not sandbox.to("webpush", "unlisted")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "127.0.0.1:*"])
def test_webpush_a_host_that_the_list_does_not_name_says_nothing_of_the_others(sandbox: Sandbox, host: str) -> None:
    """Below a domain of the list, a user may have named a host that never was there."""
    options = dataclasses.replace(sandbox.options.webpush, hosts=("push.example.com", host))
    egress = dataclasses.replace(sandbox.options.egress, ports=(1,))
    (place,) = sandbox.options.webpush.hosts
    address = browser_address(sandbox.directory / "sandbox", "x").replace(place, "127.0.0.1:1")
    case = dataclasses.replace(
        CASES["webpush"],
        make=lambda *_: WebPushChannel(options, egress, clock_ms=now_ms),
        address=lambda *_: address,
    )
    assert send_one(case, sandbox, "") == Failed("no connection", of_address="*" in host)


@pytest.mark.parametrize(
    ("case_name", "path", "expected"),
    [
        ("webhook", "gone-b", Rejected("status 410", token_gone=1_000)),
        ("webhook", "429-b", Throttled(timedelta(seconds=1), "status 429", of_address=True)),
        ("webhook", "504-b", Throttled(None, "status 504", of_address=True)),
        ("webhook", "bad-b", Failed("status 400", of_address=True)),
        ("webhook", "slow300-b", Sent("")),
        ("chat", "gone-b", Rejected("no_service", token_gone=1_000)),
        ("chat", "bad-b", Rejected("action_prohibited")),
        ("chat", "429-b", Throttled(timedelta(seconds=1), "status 429", of_address=True)),
        ("chat", "500-b", Failed("rollup_error", of_address=True)),
    ],
)
def test_web_answers_of_the_simulators(sandbox: Sandbox, case_name: str, path: str, expected: Result) -> None:
    address = web(sandbox, case_name, path)
    result = send_one(CASES[case_name], sandbox, address)
    assert result == expected or (isinstance(result, Sent) and isinstance(expected, Sent))
    assert len(sandbox.to(case_name, address)) == 1


def test_webhook_a_receiver_takes_what_one_of_two_secrets_signed_and_nothing_else(sandbox: Sandbox) -> None:
    good, options = sandbox.options.webhook.secret, sandbox.options.webhook
    address = web(sandbox, "webhook", "signed")

    def result(clock_ms: Callable[[], int] = now_ms, **secrets: Any) -> Result:
        case = dataclasses.replace(
            CASES["webhook"],
            make=lambda box, _: WebhookChannel(
                dataclasses.replace(options, **secrets), box.options.egress, clock_ms=clock_ms
            ),
        )
        return send_one(case, sandbox, address)

    assert isinstance(result(secret="n" * 40, secret_before=good), Sent)
    assert result(secret="n" * 40) == Failed("status 401", of_address=True)
    assert result(lambda: now_ms() - 301_000) == Failed("status 401", of_address=True)
    assert result(lambda: now_ms() + 301_000) == Failed("status 401", of_address=True)


@pytest.mark.parametrize("name", ["webhook", "chat"])
def test_web_a_receiver_that_is_silent_takes_no_request_away_from_others(sandbox: Sandbox, name: str) -> None:
    case = CASES[name]
    hangs, good = web(sandbox, name, "hang-silent"), f"https://localhost:{web_port(sandbox, name)}/hooks/a"

    async def run() -> list[Result]:
        async with connected(case, sandbox, timedelta(seconds=1)) as channel:
            before = await asyncio.gather(*(channel.send(delivery(case, channel, hangs)) for _ in range(5)))
            assert all(isinstance(result, Failed) and result.ambiguous for result in before)
            return [
                await channel.send(delivery(case, channel, hangs)),
                await channel.send(delivery(case, channel, good)),
                await channel.send(delivery(case, channel, hangs, priority="P0")),
            ]

    paused, other, urgent = asyncio.run(run())
    assert isinstance(paused, Throttled)
    assert paused.of_address
    assert paused.retry_after is not None
    assert isinstance(other, Sent)
    assert isinstance(urgent, Failed)
    assert len(sandbox.to(name, hangs)) == 6


def test_web_an_address_that_is_none_or_leads_to_us_is_rejected_and_nothing_is_sent(sandbox: Sandbox) -> None:
    for name in ("webhook", "chat"):
        assert send_one(CASES[name], sandbox, "a phone") == Rejected("no web address", token_gone=1_000)
        port = read_ports(sandbox.directory / "sandbox").webhook
        for place in (f"127.0.0.2:{port}", f"[::1]:{port}", "127.0.0.1:443", "169.254.169.254"):
            result = send_one(CASES[name], sandbox, f"https://{place}/hooks/a")
            assert result == Rejected("address not allowed")


def test_smtp_the_mail_arrives_as_two_parts_under_its_message_id(sandbox: Sandbox) -> None:
    key = "em_parts/u/email/d"
    assert isinstance(send_one(CASES["smtp"], sandbox, "parts@example.com", key=key), Sent)
    (entry,) = sandbox.to("smtp", "parts@example.com")
    raw = _received(sandbox, entry)
    assert hashlib.sha256(raw).hexdigest() == entry["body_sha256"]
    assert b"text/plain" in raw
    assert b"text/html" in raw
    assert b"List-Unsubscribe" not in raw
    assert b"DKIM-Signature" not in raw


def test_smtp_a_signature_is_still_good_when_the_mail_arrives(sandbox: Sandbox, tmp_path: Path) -> None:
    file, key = tmp_path / "key.pem", Ed25519PrivateKey.generate()
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    options = dataclasses.replace(sandbox.options.smtp, dkim_key=file, dkim_selector="mail1")
    signing = dataclasses.replace(CASES["smtp"], make=lambda *_: SmtpChannel(options, clock_s=time.time))
    content = EmailContent("Grüße", ".\n..\nfrom here on\n\n\n", "<p>.</p>", "https://x.example/u")
    assert isinstance(send_one(signing, sandbox, "signed@example.com", content=content), Sent)
    (entry,) = sandbox.to("smtp", "signed@example.com")
    signer = dkim_signer(options)
    assert signer is not None
    assert verifies(_received(sandbox, entry), signer.dns_record()[1])


def _received(sandbox: Sandbox, entry: dict[str, Any]) -> bytes:
    name = hashlib.sha256(str(entry["id"]).encode()).hexdigest()[:40]
    return Path(sandbox.directory / "sandbox" / "mail" / f"{name}.eml").read_bytes()
