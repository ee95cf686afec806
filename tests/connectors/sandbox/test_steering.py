"""The sandbox is steered while it runs: over HTTP, each misbehaviour as our connectors meet it."""

from __future__ import annotations

import asyncio
import dataclasses
import resource
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from helpers.deliveries import delivery
from helpers.sandbox_process import Sandbox, running_sandbox
from helpers.steering import PATH, Steering
from helpers.waiting import wait_for

from connectors.providers.channel import Channel, Failed, Rejected, Result, Sent, Throttled
from connectors.providers.email.ses import SesChannel
from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.push.apns import ApnsChannel
from connectors.providers.push.fcm import FcmChannel
from connectors.providers.push.webpush import WebPushChannel
from connectors.providers.sms.smpp import SmppChannel
from connectors.providers.sms.twilio import TwilioChannel
from connectors.providers.web.chat import ChatChannel
from connectors.providers.web.webhook import WebhookChannel
from connectors.sandbox.options import browser_address
from connectors.sandbox.ports import read_ports
from state.model.content import ChatContent, EmailContent, PushContent, SmsContent, WebhookContent

NAMES = ["apns", "fcm", "webpush", "twilio", "smpp", "smtp", "ses", "webhook", "chat"]
TLS = ["apns", "fcm", "webpush", "smpp", "ses", "webhook", "chat"]
WAIT, SHORT = timedelta(seconds=20), timedelta(seconds=1)


@pytest.fixture
def sandbox(sandbox: Sandbox) -> Iterator[Sandbox]:
    """As if nobody had asked for anything."""
    sandbox.begin()
    yield sandbox
    sandbox.steering().lift()


@pytest.fixture
def steering(sandbox: Sandbox) -> Steering:
    return sandbox.steering()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _channel(sandbox: Sandbox, name: str, deadline: timedelta) -> Channel:
    options = dataclasses.replace(getattr(sandbox.options, name), timeout=deadline)
    egress = sandbox.options.egress
    made: dict[str, Any] = {
        "apns": lambda: ApnsChannel(options),
        "fcm": lambda: FcmChannel(options, clock_ms=_now_ms),
        "webpush": lambda: WebPushChannel(options, egress, clock_ms=_now_ms),
        "twilio": lambda: TwilioChannel(options, clock_ms=_now_ms),
        "smpp": lambda: SmppChannel(options, clock_ms=_now_ms),
        "smtp": lambda: SmtpChannel(options, clock_s=time.time),
        "ses": lambda: SesChannel(options, clock_s=time.time),
        "webhook": lambda: WebhookChannel(options, egress, clock_ms=_now_ms),
        "chat": lambda: ChatChannel(options, egress),
    }
    channel: Channel = made[name]()
    return channel


def _to(sandbox: Sandbox, name: str, number: int) -> dict[str, Any]:
    """Somebody whose name asks for nothing."""
    push, hook = PushContent("Carillon", "Hello"), WebhookContent("otp", 1_700_000_000_000, {"text": "Hello"})
    ports = read_ports(sandbox.directory / "sandbox")
    known: dict[str, tuple[str, Any, str]] = {
        "apns": ("push", push, f"{number:064x}"),
        "fcm": ("push", push, "f:" + f"{number:060}"),
        "webpush": ("push", push, browser_address(sandbox.directory / "sandbox", f"browser {number}")),
        "twilio": ("sms", SmsContent("Hello"), f"+1415555{number:04}"),
        "smpp": ("sms", SmsContent("Hello"), f"+1415555{number:04}"),
        "smtp": ("email", EmailContent("Hello", "Hello\n", "<p>Hello</p>"), f"ann{number}@example.com"),
        "ses": ("email", EmailContent("Hello", "Hello\n", "<p>Hello</p>"), f"ann{number}@example.com"),
        "webhook": ("webhook", hook, f"https://127.0.0.1:{ports.webhook}/hooks/a{number}"),
        "chat": ("chat", ChatContent("Hello"), f"https://127.0.0.1:{ports.chat}/hooks/a{number}"),
    }
    kind, content, address = known[name]
    return {"channel": kind, "content": content, "address": address, "device": "d1", "user": "u1"}


def send(sandbox: Sandbox, name: str, count: int = 1, deadline: timedelta = WAIT) -> list[Result]:
    async def run() -> list[Result]:
        channel = _channel(sandbox, name, deadline)
        await channel.connect()
        try:
            return [await _send_one(channel, sandbox, name, number) for number in range(count)]
        finally:
            await channel.close()

    return asyncio.run(run())


async def _send_one(channel: Channel, sandbox: Sandbox, name: str, number: int, **changes: Any) -> Result:
    to = _to(sandbox, name, number) | changes
    key = f"em_{time.time_ns()}/u1/{to['channel']}/d1"
    content = to.pop("content")
    return await channel.send(delivery(content, key=key, provider_id=channel.provider_id(key), **to))


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_refuses_its_share_and_stops_when_that_is_lifted(
    sandbox: Sandbox, steering: Steering, name: str
) -> None:
    word = "451" if name == "smtp" else "503"
    asked = steering.put(name, word, share=0.5, seed=3)
    assert asked == [{"provider": name, "name": word, "share": 0.5, "seed": 3, "retry_after_s": None}]
    results = send(sandbox, name, 12)
    failed = [each for each in results if not isinstance(each, Sent)]
    assert 0 < len(failed) < 12
    assert not any(isinstance(each, Failed) and each.ambiguous for each in failed)
    assert {each["status"] for each in sandbox.journal(name)} == {
        int(word),
        {"twilio": 201, "webpush": 201, "smtp": 250}.get(name, 200),
    }
    assert steering.lift(provider=name) == steering.asked() == []
    assert all(isinstance(each, Sent) for each in send(sandbox, name, 12))


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_that_is_away_takes_nothing_and_comes_back_at_its_port(
    sandbox: Sandbox, steering: Steering, name: str
) -> None:
    steering.put(name, "away")
    (result,) = send(sandbox, name)
    assert isinstance(result, Failed)
    assert not result.ambiguous
    assert sandbox.journal(name) == []
    steering.lift(provider=name, name="away")
    wait_for(lambda: isinstance(send(sandbox, name)[0], Sent), what="the provider's return")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "chat"])
def test_a_refused_credential_blames_no_address(sandbox: Sandbox, steering: Steering, name: str) -> None:
    steering.put(name, "credential")
    (result,) = send(sandbox, name)
    assert not isinstance(result, Sent)
    assert not (isinstance(result, Rejected) and result.token_gone), "the address is retired"
    assert {each["status"] for each in sandbox.journal(name)} <= {401, 403, 530}


@pytest.mark.parametrize(
    ("name", "word"),
    [
        *((name, "stall") for name in NAMES),
        *((name, "trickle") for name in ("apns", "webpush", "twilio", "smpp", "smtp")),
    ],
)
def test_an_answer_that_does_not_end_is_given_up_in_time(
    sandbox: Sandbox, steering: Steering, name: str, word: str
) -> None:
    steering.put(name, word)
    began = time.monotonic()
    (result,) = send(sandbox, name, deadline=SHORT)
    assert time.monotonic() - began < 10
    assert len(sandbox.journal(name)) == 1
    assert isinstance(result, Sent) or (isinstance(result, Failed) and result.ambiguous)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_says_nothing_is_not_called_a_refusal(sandbox: Sandbox, steering: Steering, name: str) -> None:
    """The provider took the message: sent or ambiguous, anything but tried again for certain."""
    steering.put(name, "garbled")
    (result,) = send(sandbox, name)
    assert isinstance(result, Sent) or (isinstance(result, Failed) and result.ambiguous), result


@pytest.mark.parametrize("name", ["fcm", "twilio", "ses", "chat"])
def test_an_error_inside_a_success_is_an_error(sandbox: Sandbox, steering: Steering, name: str) -> None:
    steering.put(name, "inside")
    (result,) = send(sandbox, name)
    assert isinstance(result, Failed)
    assert not result.ambiguous
    assert {each["status"] for each in sandbox.journal(name)} == {200}


@pytest.mark.parametrize("word", ["endless", "flood", "encoded"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("smpp", "smtp")])
def test_an_answer_that_would_swell_is_not_read_to_its_end(
    sandbox: Sandbox, steering: Steering, name: str, word: str
) -> None:
    """The provider took the message, so it is sent or ambiguous; the next one is sent as if nothing had been."""
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steering.put(name, word)
    began = time.monotonic()
    (result,) = send(sandbox, name, deadline=timedelta(seconds=5))
    assert time.monotonic() - began < 10
    assert isinstance(result, Sent) or (isinstance(result, Failed) and result.ambiguous), result
    assert len(sandbox.journal(name)) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000
    steering.lift()
    assert isinstance(send(sandbox, name)[0], Sent)


@pytest.mark.parametrize("name", TLS)
def test_an_expired_certificate_gets_no_message(sandbox: Sandbox, steering: Steering, name: str) -> None:
    steering.put(name, "certificate")
    (result,) = send(sandbox, name)
    assert isinstance(result, Failed)
    assert not result.ambiguous
    assert sandbox.journal(name) == []
    steering.lift()
    assert isinstance(send(sandbox, name)[0], Sent)


@pytest.mark.parametrize("name", ["apns", "fcm"])
def test_what_comes_behind_a_goaway_arrives_once_on_another_connection(
    sandbox: Sandbox, steering: Steering, name: str
) -> None:
    steering.put(name, "goaway", share=0.1, seed=5)

    async def run() -> list[Result]:
        channel = _channel(sandbox, name, WAIT)
        await channel.connect()
        results = [await _send_one(channel, sandbox, name, 0)]  # one that is trusted may have many streams
        results += await asyncio.gather(*(_send_one(channel, sandbox, name, number) for number in range(1, 60)))
        await channel.close()
        return results

    results = asyncio.run(run())
    sent = [each for each in results if isinstance(each, Sent)]
    unread = [each for each in results if not isinstance(each, Sent)]
    assert all(isinstance(each, Failed) and not each.ambiguous for each in unread)
    identities = [entry["id"] for entry in sandbox.journal(name)]
    assert len(identities) == len(set(identities)) == len(sent) > 0


@pytest.mark.parametrize("name", ["apns", "fcm"])
def test_what_was_read_before_a_goaway_and_not_answered_is_ambiguous(sandbox: Sandbox, name: str) -> None:
    async def run() -> list[Result]:
        channel = _channel(sandbox, name, WAIT)
        await channel.connect()
        await _send_one(channel, sandbox, name, 0)
        read = asyncio.create_task(_send_one(channel, sandbox, name, 1, address="hang-" + "a" * 40))
        await asyncio.to_thread(wait_for, lambda: len(sandbox.journal(name)) == 2)
        unread = await _send_one(channel, sandbox, name, 2, address="goaway-" + "a" * 40)
        results = [await read, unread]
        await channel.close()
        return results

    read, unread = asyncio.run(run())
    assert isinstance(read, Failed)
    assert read.ambiguous
    assert unread == Failed("not read by the server")
    assert len(sandbox.journal(name)) == 2


def test_a_throttling_provider_says_how_long_to_wait(sandbox: Sandbox, steering: Steering) -> None:
    for name in ("fcm", "twilio", "webpush", "webhook", "chat"):
        steering.put(name, "429", retry_after_s=17)
        (result,) = send(sandbox, name)
        assert isinstance(result, Throttled), name
        assert result.retry_after == timedelta(seconds=17), name


def test_who_is_gone_is_told_for_good(sandbox: Sandbox, steering: Steering) -> None:
    for name in ("apns", "fcm", "webpush", "twilio", "smpp", "smtp", "webhook", "chat"):
        steering.put(name, "gone")
        (result,) = send(sandbox, name)
        assert isinstance(result, Rejected), name
        assert result.token_gone is not None, name


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "field", "says"),
    [
        ("PUT", PATH, {"provider": "apsn", "name": "503"}, 400, "provider", "apns, fcm"),
        ("PUT", PATH, {"provider": "apns", "name": "explode"}, 400, "name", "hang"),
        ("PUT", PATH, {"provider": "smtp", "name": "goaway"}, 400, "name", "another word or provider"),
        ("PUT", PATH, {"provider": "ses", "name": "gone"}, 400, "name", "another word or provider"),
        ("PUT", PATH, {"provider": "apns", "name": "503", "share": 1.5}, 400, "share", "<= 1"),
        ("PUT", PATH, {"provider": "apns", "name": "503", "share": 0}, 400, "share", "> 0"),
        ("PUT", PATH, {"provider": "apns", "name": "503", "for": 3}, 400, "body", "for"),
        ("PUT", PATH, {"name": "503"}, 400, "body", "provider"),
        ("PUT", PATH, {"provider": "apns", "name": "away", "share": 0.5}, 400, "share", "leave the share out"),
        ("PUT", PATH, "no json", 400, "body", "JSON"),
        ("PUT", PATH, {"provider": "apns", "word": "503"}, 400, "body", "a document has provider, name"),
        ("DELETE", f"{PATH}?what=1", None, 400, "what", "`provider` and `name`"),
        ("DELETE", f"{PATH}?name=503", None, 400, "name", "GET"),
        ("POST", PATH, None, 404, "path", PATH),
        ("GET", "/other", None, 404, "path", PATH),
    ],
)
def test_a_wish_that_cannot_be_is_refused_with_field_and_remedy(
    steering: Steering, method: str, target: str, body: Any, status: int, field: str, says: str
) -> None:
    code, answer = steering.call(method, target, body)
    assert (code, answer["error"]["field"]) == (status, field), answer
    assert says in answer["error"]["detail"]
    assert steering.asked() == []


def test_nobody_steers_without_the_key(steering: Steering) -> None:
    for method in ("GET", "PUT", "DELETE"):
        code, answer = steering.call(method, PATH, {"provider": "apns", "name": "503"}, key="dev_another")
        assert (code, answer["error"]["field"]) == (401, "authorization")
    assert steering.asked() == []


def test_a_directory_without_credentials_cannot_be_steered(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("keyless")
    with running_sandbox(directory):
        steering = Steering(read_ports(directory / "sandbox").steering, "")
        code, answer = steering.call("GET", PATH)
    assert code == 401
    assert "credentials.json" in answer["error"]["detail"]
