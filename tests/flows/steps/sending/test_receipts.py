"""Receipts of a simulated SMSC become outcomes in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from helpers.deliveries import delivery
from helpers.feeding import System, now_ms
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for

from connectors.log.grouped import BatchingAppender
from connectors.log.interface import NewRecord
from connectors.log.read_to_ends import stored_records
from connectors.providers.channel import Sent
from connectors.providers.sms.smpp import SmppChannel
from connectors.providers.sms.smpp_options import SmppOptions
from connectors.providers.sms.smpp_receipts import Receipt, SentText
from flows.steps.sending.receipts import ReceiptNotes, StoredTexts
from state.model.content import SmsContent
from state.model.delivery import ATTEMPT, Attempt, delivery_key
from state.model.errors import LogUnavailableError
from state.model.keys import emission_id
from state.model.topics import OUTCOMES

TEXT = SentText("em_1", "ann", "s")


@pytest.fixture
def appender(system: System) -> Iterator[BatchingAppender]:
    with closing(BatchingAppender(system.log)) as open_one:
        yield open_one


def outcomes(system: System) -> list[dict[str, Any]]:
    places = [(OUTCOMES, partition) for partition in range(system.log.partitions(OUTCOMES))]
    ends = {place: system.log.end_offset(*place) for place in places}
    found = stored_records(system.log, dict.fromkeys(places, 0), ends)
    return [msgspec.json.decode(record.value) for record in found]


async def send_and_wait(
    system: System, options: SmppOptions, notes: ReceiptNotes, texts: list[tuple[str, str]], count: int
) -> None:
    """Until there are outcomes of so many."""
    channel = SmppChannel(options, clock_ms=now_ms)
    channel.heard = notes
    await channel.connect()
    for n, (number, text) in enumerate(texts):
        message = delivery(
            SmsContent(text), key=f"em_{n}/ann/sms/s", user="ann", channel="sms", device="s", address=number,
            expires_at=now_ms() + 600_000, first_event_id=f"e{n}",
        )  # fmt: skip
        assert isinstance(await channel.send(message), Sent)
    await asyncio.to_thread(wait_for, lambda: len({each["emission_id"] for each in outcomes(system)}) >= count)
    await channel.close()


def test_receipts_are_noted_with_what_they_are_about(
    system: System, sandbox: Sandbox, appender: BatchingAppender
) -> None:
    notes = ReceiptNotes(appender, system.log.partitions, now_ms=now_ms)
    kinds = [("+19970000001", "none"), ("+19971000001", "lost"), ("+19972000001", "twice"), ("+19974000001", "early"),
             ("+14155550171", "a" * 400), ("+19973000001", "late")]  # fmt: skip
    asyncio.run(send_and_wait(system, sandbox.options.smpp, notes, kinds, 5))
    found = outcomes(system)
    about = [(each["emission_id"], each["outcome"], each["reason"]) for each in found]
    assert set(about) == {
        ("em_1", "undelivered", "UNDELIV 001"), ("em_2", "delivered", None),
        ("em_3", "delivered", None), ("em_4", "delivered", None), ("em_5", "delivered", None),
    }  # fmt: skip
    assert about[-1][0] == "em_5"
    lost = next(each for each in found if each["emission_id"] == "em_1")
    assert (lost["user"], lost["channel"], lost["device"], lost["provider"]) == ("ann", "sms", "s", "smpp")
    assert (lost["first_event_id"], lost["question"]) == ("e1", "receipt")


def test_a_receipt_with_a_number_of_another_form_is_found(
    system: System, sandbox: Sandbox, appender: BatchingAppender
) -> None:
    notes = ReceiptNotes(appender, system.log.partitions, now_ms=now_ms)
    options = replace(sandbox.options.smpp, receipt_ids="decimal")
    asyncio.run(send_and_wait(system, options, notes, [("+19976000001", "Hello")], 1))
    assert [each["outcome"] for each in outcomes(system)] == ["delivered"]


def test_nothing_is_asked_for_where_no_receipts_are_wanted(
    system: System, sandbox: Sandbox, appender: BatchingAppender
) -> None:
    notes = ReceiptNotes(appender, system.log.partitions, now_ms=now_ms)
    silent = replace(sandbox.options.smpp, receipts=False)
    asyncio.run(send_and_wait(system, silent, notes, [("+14155550172", "Hello")], 0))
    asyncio.run(send_and_wait(system, sandbox.options.smpp, notes, [("+14155550173", "Hello")], 1))
    assert len(outcomes(system)) == 1


class _Away(BatchingAppender):
    """A log that does not answer."""

    async def append(self, records: Sequence[NewRecord], *, urgent: bool = False) -> list[int]:
        raise LogUnavailableError(f"{len(records)} records were not stored, though {urgent=}")


def test_what_cannot_be_noted_is_an_error_that_is_told(system: System) -> None:

    with closing(_Away(system.log)) as away:
        notes = ReceiptNotes(away, system.log.partitions, now_ms=now_ms)
        with pytest.raises(LogUnavailableError):
            asyncio.run(notes("smpp", TEXT, Receipt("1", "delivered")))
        asyncio.run(notes("smpp", TEXT, Receipt("1", None)))
    assert outcomes(system) == []


def store(system: System, user: str, number: int, *, provider: str = "smpp", channel: str = "sms") -> str:
    """What a process stores of a message that its provider took as this number; gives the emission."""
    emission = emission_id(user, "otp", None, f"e{number}")
    key = delivery_key(emission, user, channel, "s")
    intent = Attempt(state="intent", key=key, at=now_ms(), attempt=1, provider=provider, provider_id="ours")
    answer = Attempt(state="answer", key=key, at=now_ms(), attempt=1, result="sent", provider_id=f"{number:010x}")
    system.feed(
        [NewRecord("attempts", 0, key.encode(), ATTEMPT.encode(each), ATTEMPT.headers) for each in (intent, answer)]
    )
    return emission


def test_what_any_process_stored_is_given_once_and_as_it_comes(system: System) -> None:
    texts = StoredTexts(system.log, [0, 1], "smpp", now_ms=now_ms)
    assert asyncio.run(texts()) == []
    store(system, "a/sms/b", 1)
    store(system, "ann", 2, provider="twilio")
    store(system, "ann", 3, channel="push")
    ((name, text),) = asyncio.run(texts())
    assert (name, text.user, text.device) == ("0000000001", "a/sms/b", "s")
    assert asyncio.run(texts()) == []
    store(system, "ann", 4)
    assert [name for name, _ in asyncio.run(texts())] == ["0000000004"]
    tomorrow = StoredTexts(system.log, [0, 1], "smpp", now_ms=lambda: now_ms() + 86_400_000)
    assert asyncio.run(tomorrow()) == [], "of the last day alone"


@pytest.mark.parametrize("stored_first", [True, False])
def test_a_receipt_finds_what_another_process_sent(
    system: System, sandbox: Sandbox, appender: BatchingAppender, stored_first: bool
) -> None:
    """Both are bound, and the SMSC gives the receipt to who came last; he may have it before the other's answer."""

    async def run() -> str:
        sender, hearer = (SmppChannel(sandbox.options.smpp, clock_ms=now_ms) for _ in range(2))
        sender.heard = _hears_nothing
        hearer.heard = ReceiptNotes(appender, system.log.partitions, now_ms=now_ms)
        hearer.stored = StoredTexts(system.log, [0, 1], "smpp", now_ms=now_ms)
        await sender.connect()
        await hearer.connect()
        assert (await sender.check()).ok
        assert (await hearer.check()).ok
        number = "+19973000009" if stored_first else "+14155550179"
        result = await sender.send(delivery(SmsContent("Hello"), address=number, expires_at=now_ms() + 600_000))
        assert isinstance(result, Sent)
        emission = store(system, "ann", int(result.provider_id, 16))
        await asyncio.to_thread(wait_for, lambda: outcomes(system))
        await sender.close()
        await hearer.close()
        return emission

    emission = asyncio.run(run())
    (found,) = outcomes(system)
    assert (found["emission_id"], found["outcome"], found["user"]) == (emission, "delivered", "ann")


async def _hears_nothing(_provider: str, _text: SentText, _receipt: Receipt) -> None:
    raise AssertionError("the SMSC gives receipts to who bound last")
