"""One session for all messages: opened with the first, again whenever it ended, unbound at the end."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from helpers.deliveries import delivery

from connectors.providers.channel import CheckResult, Failed, Result, Sent
from connectors.providers.sms.smpp import SmppChannel
from connectors.providers.sms.smpp_heard import Heard
from connectors.providers.sms.smpp_links import SmscLink
from connectors.providers.sms.smpp_options import SmppOptions
from connectors.providers.sms.smpp_pdu import (
    ANSWER,
    BIND_TRANSCEIVER,
    BIND_TRANSMITTER,
    DELIVER_SM,
    ENQUIRE_LINK,
    GENERIC_NACK,
    LATER,
    OK,
    SUBMIT_SM,
    UNBIND,
    Pdu,
    PduReader,
    read_message,
)
from connectors.providers.sms.smpp_receipts import Receipt, SentText
from connectors.providers.sms.smpp_session import TAKING_MAX, SmscSession
from state.model.content import SmsContent

Judge = Callable[["Peer", Pdu], int | None]
"""The status to answer; None: nothing."""
OPTIONS = SmppOptions(
    host="127.0.0.1",
    security="none",
    system_id="me",
    password="pw",
    sender="72404",
    timeout=timedelta(seconds=5),  # no secret
)
WAIT_S = 60


class Peer:
    """An SMSC that does as it is told, and counts what it read."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.read, self.writers = judge, Counter[int](), list[asyncio.StreamWriter]()
        self.came = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        pdus = PduReader()
        while data := await reader.read(65_536):
            for pdu in pdus.feed(data):
                status = self.judge(self, pdu)
                if status is not None:
                    writer.write(Pdu(pdu.command | ANSWER, status, pdu.sequence, b"id\0").encode())
                async with self.came:
                    self.read[pdu.command] += 1
                    self.came.notify_all()
        writer.close()

    async def until(self, command: int, times: int) -> None:
        async with asyncio.timeout(WAIT_S), self.came:
            await self.came.wait_for(lambda: self.read[command] >= times)


def takes_all(_peer: Peer, _pdu: Pdu) -> int | None:
    return 0


async def takes_messages(_body: bytes) -> int:
    return OK


async def notes(_provider: str, _text: SentText, _receipt: Receipt) -> None:
    """Takes what receipts say."""


@asynccontextmanager
async def peer_and_channel(
    judge: Judge, listener: Heard | None = notes, **changes: Any
) -> AsyncIterator[tuple[Peer, SmppChannel]]:
    peer = Peer(judge)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    options = replace(OPTIONS, port=server.sockets[0].getsockname()[1], **changes)
    channel = SmppChannel(options, clock_ms=lambda: 1_700_000_000_000)
    channel.heard = listener
    await channel.connect()
    try:
        yield peer, channel
    finally:
        await channel.close()
        server.close()


def send(channel: SmppChannel, text: str = "Hello") -> Awaitable[Result]:
    return channel.send(delivery(SmsContent(text), address="+14155550100"))


def test_many_messages_share_a_session_and_never_exceed_the_window() -> None:
    most, open_now = 0, 0

    def judge(peer: Peer, pdu: Pdu) -> int | None:
        nonlocal most, open_now
        if pdu.command != SUBMIT_SM:
            return 0
        open_now += 1
        most = max(most, open_now)
        asyncio.get_running_loop().call_later(0.01, answer, peer, pdu)
        return None

    def answer(peer: Peer, pdu: Pdu) -> None:
        nonlocal open_now
        open_now -= 1
        peer.writers[0].write(Pdu(pdu.command | ANSWER, 0, pdu.sequence, b"id\0").encode())

    async def run() -> tuple[Peer, list[Result]]:
        async with peer_and_channel(judge, concurrency_max=4) as (peer, channel):
            return peer, await asyncio.gather(*(send(channel) for _ in range(30)))

    peer, results = asyncio.run(run())
    assert (set(results), most) == ({Sent("id")}, 4)
    assert peer.read == {BIND_TRANSCEIVER: 1, SUBMIT_SM: 30, UNBIND: 1}


def test_a_session_that_ends_is_opened_again_though_nothing_is_sent() -> None:
    async def run() -> Peer:
        async with peer_and_channel(takes_all) as (peer, channel):
            assert await send(channel) == Sent("id")
            peer.writers[0].close()
            await peer.until(BIND_TRANSCEIVER, 2)
            assert await send(channel) == Sent("id")
            peer.writers[1].write(Pdu(UNBIND, 0, 7).encode())
            await peer.until(UNBIND | ANSWER, 1)
            await peer.until(BIND_TRANSCEIVER, 3)
            return peer

    asyncio.run(run())


@pytest.mark.parametrize("when", ["behind unbind", "behind our answer to it", "never"])
def test_an_smsc_that_unbinds_may_still_answer_what_it_has_taken(when: str) -> None:
    asked: list[Pdu] = []

    def answer(peer: Peer) -> None:
        for pdu in asked:
            peer.writers[0].write(Pdu(pdu.command | ANSWER, OK, pdu.sequence, b"late\0").encode())

    def judge(peer: Peer, pdu: Pdu) -> int | None:
        if pdu.command == SUBMIT_SM and len(peer.writers) == 1:
            asked.append(pdu)
            if len(asked) == 3:
                peer.writers[0].write(Pdu(UNBIND, 0, 7).encode())
            if len(asked) == 3 and when == "behind unbind":
                answer(peer)
            return None
        if pdu.command == UNBIND | ANSWER:
            if when == "behind our answer to it":
                answer(peer)
            peer.writers[0].close()
            return None
        return 0

    async def run() -> list[Result]:
        async with peer_and_channel(judge) as (peer, channel):
            sent = await asyncio.gather(*(send(channel) for _ in range(3)))
            await peer.until(BIND_TRANSCEIVER, 2)
            return sent

    lost = Failed("connection lost", ambiguous=True)
    assert asyncio.run(run()) == [lost if when == "never" else Sent("late")] * 3


def test_an_smsc_that_unbinds_and_stays_is_waited_for_no_longer_than_moments() -> None:
    def judge(peer: Peer, pdu: Pdu) -> int | None:
        if pdu.command == SUBMIT_SM:
            peer.writers[0].write(Pdu(UNBIND, 0, 7).encode())
        return None if pdu.command == SUBMIT_SM else 0

    async def run() -> Result:
        async with peer_and_channel(judge, timeout=timedelta(seconds=30)) as (_, channel), asyncio.timeout(20):
            return await send(channel)

    assert asyncio.run(run()) == Failed("connection lost", ambiguous=True)


@pytest.mark.parametrize("asked", ["a message", "a look"])
def test_who_could_not_bind_at_first_is_bound_as_soon_as_it_can_be_though_nothing_is_sent(asked: str) -> None:
    """Else an SMSC that is away while we start keeps the receipts of earlier messages until somebody sends one."""

    def judge(peer: Peer, pdu: Pdu) -> int | None:
        return 0x0E if pdu.command == BIND_TRANSCEIVER and len(peer.writers) == 1 else 0

    async def run() -> Peer:
        async with peer_and_channel(judge) as (peer, channel):
            if asked == "a look":
                assert await channel.check() == CheckResult(False, "bind 0xe; look at password")
            else:
                assert await send(channel) == Failed("bind 0xe", of_credential=True)
            await peer.until(BIND_TRANSCEIVER, 2)
            return peer

    assert len(asyncio.run(run()).writers) == 2


@pytest.mark.parametrize("held_s", [60.0, 0.0])
def test_an_smsc_that_ends_each_session_is_asked_less_and_less_until_one_holds(held_s: float) -> None:
    """It was asked twice a second, for ever."""
    began, binds = list[float](), list[float]()

    def ends_four(peer: Peer, pdu: Pdu) -> int | None:
        if pdu.command == BIND_TRANSCEIVER:
            binds.append(asyncio.get_running_loop().time())
            if len(binds) <= 4:
                asyncio.get_running_loop().call_soon(peer.writers[-1].close)
        return OK

    async def run() -> None:
        peer = Peer(ends_four)
        async with await asyncio.start_server(peer.serve, "127.0.0.1", 0) as server:
            options = replace(OPTIONS, port=server.sockets[0].getsockname()[1])
            link = SmscLink(options, None, takes_messages, uniform=lambda low, _high: low, wait_s=0.1, held_s=held_s)
            began.append(asyncio.get_running_loop().time())  # the first wait counts from here
            await link.session()
            await peer.until(BIND_TRANSCEIVER, 5)
            await link.session()
            assert link._wait_s == pytest.approx(1.6 if held_s else 0.1)
            await link.close()

    asyncio.run(run())
    gaps = [later - earlier for earlier, later in itertools.pairwise([*began, *binds[1:]])]
    assert all(gap >= wait for gap, wait in zip(gaps, (0.1, 0.12, 0.24, 0.48) if held_s else (0.1,) * 4, strict=True))


def test_an_smsc_that_falls_silent_is_found_out_and_bound_to_again() -> None:
    def judge(peer: Peer, pdu: Pdu) -> int | None:
        return None if pdu.command == ENQUIRE_LINK and len(peer.writers) == 1 else 0

    async def run() -> None:
        short: dict[str, Any] = {"enquire_every": timedelta(milliseconds=50), "timeout": timedelta(milliseconds=500)}
        async with peer_and_channel(judge, **short) as (peer, channel):
            assert await send(channel) == Sent("id")
            await peer.until(ENQUIRE_LINK, 1)
            await peer.until(BIND_TRANSCEIVER, 2)
            await peer.until(ENQUIRE_LINK, 4)

    asyncio.run(run())


def test_a_late_answer_is_dropped_and_harms_no_other() -> None:
    held: list[Pdu] = []

    def judge(peer: Peer, pdu: Pdu) -> int | None:
        if pdu.command == SUBMIT_SM and not held:
            held.append(pdu)
            return None
        for late in held[:1]:
            peer.writers[0].write(Pdu(late.command | ANSWER, 0x45, late.sequence, b"").encode())
        return 0

    async def run() -> list[Result]:
        async with peer_and_channel(judge, timeout=timedelta(milliseconds=300)) as (_, channel):
            return [await send(channel), await send(channel)]

    assert asyncio.run(run()) == [Failed("no answer in time", ambiguous=True), Sent("id")]


def test_what_the_smsc_asks_is_answered() -> None:
    async def run() -> None:
        async with peer_and_channel(takes_all) as (peer, channel):
            await send(channel)
            peer.writers[0].write(Pdu(ENQUIRE_LINK, 0, 11).encode() + Pdu(0x103, 0, 12).encode())
            await peer.until(ENQUIRE_LINK | ANSWER, 1)
            await peer.until(GENERIC_NACK, 1)

    asyncio.run(run())


@pytest.mark.parametrize("refused", [0x0E, 0x05])
def test_who_may_not_bind_sends_nothing_and_tries_again_later(refused: int) -> None:
    def judge(peer: Peer, pdu: Pdu) -> int | None:
        return refused if pdu.command == BIND_TRANSCEIVER and len(peer.writers) == 1 else 0

    async def run() -> list[Result]:
        async with peer_and_channel(judge) as (peer, channel):
            results = [await send(channel), await send(channel)]
            peer.judge = takes_all
            async with asyncio.timeout(WAIT_S):
                while (result := await send(channel)) == results[0]:  # noqa: ASYNC110 - time itself is waited for
                    await asyncio.sleep(0.05)
            assert peer.read[BIND_TRANSCEIVER] == 2
            return [*results, result]

    why = Failed(f"bind {refused:#x}", of_credential=refused == 0x0E)
    assert asyncio.run(run()) == [why, why, Sent("id")]


def test_no_place_in_the_window_is_a_failure_of_which_nothing_was_written() -> None:
    def judge(_peer: Peer, pdu: Pdu) -> int | None:
        return None if pdu.command == SUBMIT_SM else 0

    async def run() -> list[Result]:
        async with peer_and_channel(judge, concurrency_max=1, timeout=timedelta(milliseconds=400)) as (peer, channel):
            first = asyncio.ensure_future(send(channel))
            await peer.until(SUBMIT_SM, 1)
            second = asyncio.ensure_future(send(channel))
            third = asyncio.ensure_future(send(channel))
            return [await first, await second, await third]

    results = asyncio.run(run())
    assert results[0] == Failed("no answer in time", ambiguous=True)
    assert Failed("no place in the window") in results[1:]


@pytest.mark.parametrize(("listener", "receipts", "kind"), [
    (notes, True, BIND_TRANSCEIVER), (notes, False, BIND_TRANSMITTER), (None, True, BIND_TRANSMITTER),
])  # fmt: skip
def test_who_notes_no_receipts_asks_for_none_and_is_handed_none(
    listener: Heard | None, receipts: bool, kind: int
) -> None:
    """An SMSC may hand another's receipts to whoever is bound to hear of any."""
    wanted: list[int] = []

    def judge(_peer: Peer, pdu: Pdu) -> int | None:
        if pdu.command == SUBMIT_SM:
            wanted.append(read_message(pdu.body).registered_delivery)
        return 0

    async def run() -> None:
        async with peer_and_channel(judge, listener, receipts=receipts) as (peer, channel):
            assert await send(channel) == Sent("id")
            assert peer.read[kind] == 1

    asyncio.run(run())
    assert wanted == [int(kind == BIND_TRANSCEIVER)]


def test_an_smsc_that_sends_without_end_is_told_to_say_later_what_cannot_be_taken_yet() -> None:
    """Else a log that is slow to note receipts would fill the memory, or hold up the answers to what we send."""
    number, statuses = TAKING_MAX + 500, Counter[int]()

    async def run() -> None:
        may_go, refused = asyncio.Event(), asyncio.Event()

        async def slow(_body: bytes) -> int:
            await may_go.wait()
            return OK

        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"".join(Pdu(DELIVER_SM, 0, each + 1).encode() for each in range(number)))
            answers = PduReader()
            while statuses.total() < number and (data := await reader.read(65_536)):
                statuses.update(pdu.status for pdu in answers.feed(data))
                if statuses[LATER] == number - TAKING_MAX:
                    refused.set()
            writer.close()

        async with await asyncio.start_server(flood, "127.0.0.1", 0) as server, asyncio.timeout(WAIT_S):
            session = SmscSession(*await asyncio.open_connection(*server.sockets[0].getsockname()), slow)
            await refused.wait()
            may_go.set()
            await session.ended.wait()
            await session.close()

    asyncio.run(run())
    assert statuses == {OK: TAKING_MAX, LATER: number - TAKING_MAX}


def test_a_connection_that_is_lost_before_what_it_brought_is_taken_is_no_error_of_each_message() -> None:
    errors = list[dict[str, object]]()

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        came, may_go = asyncio.Event(), asyncio.Event()

        async def slow(_body: bytes) -> int:
            came.set()
            await may_go.wait()
            return OK

        async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"".join(Pdu(DELIVER_SM, 0, each).encode() for each in range(TAKING_MAX + 1)))
            await came.wait()
            writer.transport.abort()

        async with await asyncio.start_server(speak, "127.0.0.1", 0) as server, asyncio.timeout(WAIT_S):
            session = SmscSession(*await asyncio.open_connection(*server.sockets[0].getsockname()), slow)
            await session.ended.wait()
            may_go.set()
            for _ in range(100):
                await asyncio.sleep(0)
            await session.close()

    asyncio.run(run())
    gc.collect()
    assert not errors


def test_a_try_takes_no_longer_than_its_timeout_whatever_the_smsc_is_slow_with() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # takes the connection, and answers no bind
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(slow, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        channel = SmppChannel(replace(OPTIONS, port=port, timeout=timedelta(seconds=0.5)), clock_ms=lambda: 0)
        await channel.connect()
        async with asyncio.timeout(5):  # less than its 10 s to connect
            assert await send(channel) == Failed("no session in time")
        await channel.close()
        server.close()

    asyncio.run(run())
