"""Group commit: coroutines share appends, and each gets its own answer."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.log_harness import Harness, read_all, values
from helpers.waiting import wait_for

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.grouped import QUEUE_MAX, BatchingAppender
from connectors.log.interface import NewRecord, TopicSpec
from state.model.errors import LogError, LogUnavailableError, UnknownTopicError


class Counting(EmbeddedLog):
    """An embedded log that counts appends and may be held up or broken."""

    appends = 0
    broken = False
    gate: threading.Event | None = None
    at_gate = threading.Event()
    """Whether an append has come to the gate since `hold_up`."""

    def hold_up(self) -> threading.Event:
        """From now on appends wait until this gate is set."""
        self.at_gate = threading.Event()
        self.gate = threading.Event()
        return self.gate

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        self.appends += 1
        if self.gate:
            self.at_gate.set()
            assert self.gate.wait(40)
        if self.broken:
            raise LogUnavailableError("broken on purpose")
        return super().append(records)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Counting]:
    opened = Counting(tmp_path, clock=lambda: time.time_ns() // 1_000_000)
    yield opened
    opened.close()


@pytest.fixture
def topic(log: Counting, tmp_path: Path) -> str:
    return Harness("embedded", str(tmp_path)).topic(log, 2)


@pytest.fixture
def group(log: Counting) -> Iterator[BatchingAppender]:
    appender = BatchingAppender(log)
    yield appender
    if log.gate:
        log.gate.set()
    appender.close()


def test_every_caller_gets_the_offsets_of_its_own_records(log: Counting, topic: str, group: BatchingAppender) -> None:
    async def caller(number: int) -> None:
        records = [NewRecord(topic, part, b"", f"{number}.{part}".encode()) for part in (0, 1, 0)[: 1 + number % 3]]
        offsets = await group.append(records)
        answers.update(
            zip(
                [(r.partition, offset) for r, offset in zip(records, offsets, strict=True)],
                values(records),
                strict=True,
            )
        )

    async def everyone() -> None:
        await asyncio.gather(*(caller(number) for number in range(400)))

    answers: dict[tuple[int, int], bytes] = {}
    asyncio.run(everyone())
    stored = {(r.partition, r.offset): r.value for part in (0, 1) for r in read_all(log, topic, part)}
    assert answers == stored
    assert log.appends < 100, "callers share appends"


def test_urgent_records_go_before_what_waits_and_keep_nobody_waiting_for_ever(
    log: Counting, topic: str, group: BatchingAppender
) -> None:
    async def run() -> list[bytes]:
        gate = log.hold_up()
        calls = [asyncio.create_task(group.append([NewRecord(topic, 0, b"k", b"first")]))]
        await asyncio.to_thread(log.at_gate.wait, 20)
        for name, urgent in ((b"a", False), (b"b", False), (b"urgent", True)):
            calls.append(asyncio.create_task(group.append([NewRecord(topic, 0, b"k", name)], urgent=urgent)))
        await asyncio.sleep(0.1)
        log.at_gate.clear()
        gate.set()
        await asyncio.gather(*calls)
        gate = log.hold_up()
        calls = [asyncio.create_task(group.append([NewRecord(topic, 0, b"k", b"more")], urgent=True))]
        await asyncio.to_thread(log.at_gate.wait, 20)
        for name, urgent in ((b"urgent", True), (b"c", False)):
            calls.append(asyncio.create_task(group.append([NewRecord(topic, 0, b"k", name)], urgent=urgent)))
        await asyncio.sleep(0.1)
        gate.set()
        await asyncio.gather(*calls)
        return values(read_all(log, topic, 0))

    assert asyncio.run(run()) == [b"first", b"urgent", b"a", b"b", b"more", b"c", b"urgent"]


def test_one_impossible_record_does_not_hurt_the_others(log: Counting, topic: str, group: BatchingAppender) -> None:
    async def everyone() -> list[object]:
        log.gate = threading.Event()
        calls = [asyncio.ensure_future(group.append([NewRecord(topic, number, b"", b"x")])) for number in (0, 0, 9, 0)]
        await asyncio.sleep(0.05)
        log.gate.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second, impossible, last = asyncio.run(everyone())
    assert (first, second, last) == ([0], [1], [2])
    assert isinstance(impossible, UnknownTopicError)


def test_a_failed_append_reaches_every_caller(log: Counting, topic: str, group: BatchingAppender) -> None:
    async def everyone() -> list[object]:
        calls = [group.append([NewRecord(topic, 0, b"", b"x")]) for _ in range(5)]
        return await asyncio.gather(*calls, return_exceptions=True)

    log.broken = True
    assert all(isinstance(answer, LogUnavailableError) for answer in asyncio.run(everyone()))
    log.broken = False
    assert all(isinstance(answer, list) for answer in asyncio.run(everyone()))


def test_while_the_log_is_down_callers_are_refused_soon(log: Counting, topic: str) -> None:
    group = BatchingAppender(log, down_after=timedelta(seconds=5))

    async def caller(value: bytes) -> float:
        began = time.monotonic()
        with pytest.raises(LogUnavailableError):
            await group.append([NewRecord(topic, 0, b"", value)])
        return time.monotonic() - began

    async def outage() -> None:
        log.broken = True
        await caller(b"first")
        log.broken = False
        gate = log.hold_up()
        probing = asyncio.ensure_future(caller(b"probe"))
        await asyncio.to_thread(log.at_gate.wait, 40)
        waits = await asyncio.gather(*(caller(b"refused") for _ in range(20)))
        assert max(waits) < 4.5
        assert await probing < 4.5, "it is told before it is known whether it is stored"
        gate.set()
        assert await once_it_is_up() == [1]

    async def once_it_is_up() -> list[int]:
        while True:
            with contextlib.suppress(LogUnavailableError):
                return await group.append([NewRecord(topic, 0, b"", b"after")])
            await asyncio.sleep(0.05)

    asyncio.run(outage())
    group.close()
    assert values(read_all(log, topic)) == [b"probe", b"after"], "who was refused in the queue is not stored"


@pytest.mark.parametrize("refuses", [False, True])
def test_an_append_that_takes_long_refuses_others_only_where_asked(log: Counting, topic: str, refuses: bool) -> None:
    group = BatchingAppender(log, down_after=timedelta(milliseconds=50) if refuses else None)

    async def scenario() -> list[object]:
        gate = log.hold_up()
        under_way = asyncio.ensure_future(group.append([NewRecord(topic, 0, b"", b"long")]))
        await asyncio.to_thread(log.at_gate.wait, 40)
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_later(1.5, gate.set)
        other = group.append([NewRecord(topic, 0, b"", b"other")])
        return list(await asyncio.gather(under_way, other, return_exceptions=True))

    answers = asyncio.run(scenario())
    group.close()
    assert answers[0] == [0]
    assert isinstance(answers[1], LogUnavailableError) if refuses else answers[1] == [1]


def test_a_full_queue_refuses_at_once(log: Counting, topic: str, group: BatchingAppender) -> None:
    many = QUEUE_MAX // 10 + 1

    async def flood() -> list[object]:
        log.gate = threading.Event()
        calls = [asyncio.ensure_future(group.append([NewRecord(topic, 0, b"", b"x")] * many)) for _ in range(20)]
        await asyncio.sleep(0.1)
        refused = [call for call in calls if call.done()]
        assert 10 <= len(refused) <= 11
        log.gate.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(flood())
    assert sum(isinstance(answer, LogUnavailableError) for answer in answers) == 20 - log.end_offset(topic, 0) // many


def test_a_cancelled_caller_disturbs_nobody(log: Counting, topic: str, group: BatchingAppender) -> None:
    async def both() -> list[int]:
        log.gate = threading.Event()
        cancelled = asyncio.ensure_future(group.append([NewRecord(topic, 0, b"", b"x")]))
        other = asyncio.ensure_future(group.append([NewRecord(topic, 0, b"", b"y")]))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        log.gate.set()
        return await other

    assert asyncio.run(both()) == [1]


def test_closing_stores_what_waits_and_refuses_the_rest(log: Counting, topic: str) -> None:
    appender = BatchingAppender(log)

    async def scenario() -> None:
        gate = log.hold_up()
        under_way = asyncio.ensure_future(appender.append([NewRecord(topic, 0, b"", b"x")]))
        await asyncio.to_thread(log.at_gate.wait, 40)
        waiting = asyncio.ensure_future(appender.append([NewRecord(topic, 0, b"", b"x")]))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(asyncio.to_thread(appender.close))
        await asyncio.to_thread(wait_for, lambda: not appender._open)
        with pytest.raises(LogUnavailableError):
            await appender.append([NewRecord(topic, 0, b"", b"y")])
        gate.set()
        await closing
        assert (await under_way, await waiting) == ([0], [1])

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a b", "ä"])
def test_bad_topic_names_are_refused(log: Counting, name: str) -> None:
    with pytest.raises(LogError):
        log.ensure_topics([TopicSpec(name, 1)])
    with pytest.raises(UnknownTopicError):
        log.partitions(name)
