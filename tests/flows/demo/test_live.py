"""The live view's bookkeeping, and the view over messages that the simulated providers really took."""

import asyncio
import time
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from helpers.sandbox_process import running_sandbox
from rich.console import Console

from connectors.log.interface import Record
from connectors.providers.channel import Channel, Delivery, Sent
from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.push.apns import ApnsChannel
from connectors.providers.sms.twilio import TwilioChannel
from connectors.sandbox.options import SandboxOptions
from connectors.sandbox.watch import Taken, Watcher
from flows.demo.live import LiveLine, LiveState, Sample, percentile
from flows.demo.people import people, star
from flows.demo.view import picture, race
from flows.demo.workload import Feeding
from flows.process.open import clock_ms
from operators.render import render
from state.model.delivery import ToDeliver


def record(topic: str, row: dict[str, Any]) -> Record:
    return Record(topic, 0, 0, 0, b"", orjson.dumps(row), (("schema", b"x/1+json"),))


def decision(event: str, outcome: str, *, at: int = 0, priority: str = "P1", reason: str | None = None) -> Record:
    row = {
        "kind": "decision", "event_id": event, "user": "u", "outcome": outcome, "reason": reason, "type": "like",
        "ingested_at": at, "priority": priority,
    }  # fmt: skip
    return record("ledger", row)


def emission(event: str, *, at: int) -> Record:
    row = {
        "kind": "emission", "emission_id": f"em-{event}", "user": "u", "type": "like", "actors": ["ada"],
        "count": 1, "object": "photo", "decided_at": at,
    }  # fmt: skip
    return record("ledger", row)


def delivery(event: str, *, at: int, device: str = "d1", outcome: str = "DELIVERED") -> Record:
    row = {
        "kind": "delivery", "emission_id": f"em-{event}", "first_event_id": event, "user": "u", "channel": "push",
        "device": device, "outcome": outcome, "type": "like", "at": at,
    }  # fmt: skip
    return record("ledger", row)


def test_a_decision_counts_once_as_it_stands_now() -> None:
    seen = LiveState()
    seen.take([decision("e1", "HELD"), decision("e2", "HELD"), decision("e1", "EMITTED")])
    assert +seen.outcomes == {"HELD": 1, "EMITTED": 1}


def test_suppressions_show_their_reason() -> None:
    seen = LiveState()
    seen.take([decision("e1", "SUPPRESSED", reason="muted")])
    assert seen.reasons == {"muted": 1}
    assert seen.take_fresh() == [LiveLine("suppressed", "u", "like (muted)")]
    assert seen.take_fresh() == []


def test_a_batch_of_decisions_counts_row_by_row() -> None:
    rows = [orjson.loads(decision(event, "EMITTED").value) for event in ("a", "b", "c")]
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    batch = Record("ledger", 0, 0, 0, b"", sink.getvalue().to_pybytes(), (("schema", b"decision/1+arrow"),))
    seen = LiveState()
    seen.take([batch])
    assert seen.outcomes == {"EMITTED": 3}


def test_a_message_is_shown_once_however_many_devices_and_apart_on_the_watched_phone() -> None:
    ada, grace = (next(document for _, _, document in person.endpoints()) for person in people()[:2])
    seen = LiveState()
    seen.show([Taken("apns", ada["address"], "Eve follows you"), Taken("apns", ada["address"], "Eve follows you")])
    seen.show([Taken("apns", grace["address"], "Ada and 48 others liked your photo"), Taken("twilio", "+1", "Hello")])
    seen.show([Taken("webpush", "grace", "Ada and 48 others liked your photo")])
    assert seen.take_fresh() == [
        LiveLine("push", "ada", "Eve follows you"),
        LiveLine("phone", "grace", "Ada and 48 others liked your photo"),
        LiveLine("sms", "+1", "Hello"),
    ]


def test_what_a_p0_event_overtook() -> None:
    seen = LiveState()
    seen.take([decision("slow", "EMITTED", at=100), emission("slow", at=110)])
    seen.take([decision("late", "EMITTED", at=100), emission("late", at=60_100)])  # its window delayed it, no queue
    seen.take([decision("otp", "EMITTED", at=150, priority="P0")])
    seen.take([delivery("otp", at=190), delivery("slow", at=900), delivery("late", at=60_200)])
    assert [sample.latency_ms for sample in seen.urgent] == [40]
    assert seen.overtaken(seen.urgent[0]) == 1
    assert "overtook 1 others" in "\n".join(race(seen))


def test_percentiles() -> None:
    samples = [Sample(0, latency) for latency in range(1, 101)]
    assert percentile(samples, 0.5) == 51
    assert percentile(samples, 0.99) == 100
    assert percentile([], 0.5) is None


CONTENTS: dict[str, dict[str, Any]] = {
    "push": {"type": "like", "actors": ("ada",), "actor_count": 49, "count": 49, "payload": {"actor_name": "Ada"}},
    "sms": {"type": "otp", "payload": {"code": "482913"}, "priority": "P0", "locale": "de"},
    "email": {"type": "announcement", "payload": {"title": "Öffnungszeiten", "body": "Offen! " * 400}, "locale": "de"},
}


async def send(options: SandboxOptions) -> None:
    """One message on every channel to the star of the demo, as deliver would send it."""
    channels: list[Channel] = [
        ApnsChannel(options.apns),
        TwilioChannel(options.twilio, clock_ms=clock_ms),
        SmtpChannel(options.smtp, clock_s=time.time),
    ]
    for channel, (kind, device, document) in zip(channels, star().endpoints(), strict=True):
        emission = ToDeliver(
            emission_id="em", user="grace", first_event_id="e", channel=kind, devices=(), decided_at=1, valid_until=2,
            **({"priority": "P1"} | CONTENTS[kind]),
        )  # fmt: skip
        key = f"em/grace/{kind}/{device}"
        await channel.connect()
        values = {
            "key": key, "attempt": 1, "provider_id": channel.provider_id(key), "user": "grace", "channel": kind,
            "device": device, "platform": "ios", "address": document["address"], "registered_at": 1,
            "content": render(emission, kind), "priority": emission.priority, "expires_at": clock_ms() + 60_000,
        }  # fmt: skip
        result = await channel.send(Delivery(**values))
        await channel.close()
        assert isinstance(result, Sent), result


def shown(seen: LiveState, feeding: Feeding, *troubles: str, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, record=True, file=StringIO())
    console.print(picture(seen, feeding, "Ctrl-C stops   API http://127.0.0.1:8700/v1", troubles))
    return console.export_text().splitlines()


def test_the_view_shows_what_phone_mailbox_and_text_message_got_in_80_by_24(tmp_path: Path) -> None:
    seen, feeding = LiveState(), Feeding()
    with running_sandbox(tmp_path) as sandbox:
        watcher = Watcher(tmp_path / "sandbox")
        asyncio.run(send(sandbox.options))
        seen.show(watcher.take())
        watcher.close()
    seen.take([decision("e", "EMITTED"), emission("e", at=5), delivery("e", at=9)])
    feeding.answers.update({"202": 12345, "200": 67})
    lines = shown(seen, feeding, "exit decide (7) code -9")
    assert len(lines) == 24
    assert max(map(len, lines)) <= 80
    for expected in (
        "Ada and 48 others liked your photo",
        "     grace 482913 ist Ihr Bestätigungscode. Geben Sie ihn niemandem weiter.",
        "     grace Öffnungszeiten | Hallo",
        "Other phones; pushes to all: 1 ──",
        "12345 events accepted (67 repeats)",
        "1 EMITTED",
        "exit decide (7) code -9",
    ):
        assert any(line.startswith(expected) for line in lines), (expected, lines)
    assert any(line.endswith("…") for line in lines), "a long mail is cut, not wrapped"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (30, 8)])
def test_a_view_of_nothing_yet_fits(width: int, height: int) -> None:
    lines = shown(LiveState(), Feeding(), width=width, height=height)
    assert len(lines) == height
    assert "Layout" not in "".join(lines)


def test_demo_people_differ_in_what_they_want() -> None:
    everybody = people()
    tokens = [document["address"] for person in everybody for _, _, document in person.endpoints()]
    assert len(tokens) == len(set(tokens))
    assert all(len(address) >= 8 for address in tokens)
