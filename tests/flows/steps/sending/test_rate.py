"""The laws of a provider's rate, for processes that each have their part and for those that share a real Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from helpers.feeding import System, token
from helpers.lanes_in_process import Provider, read, running_lanes
from helpers.logs import captured_logs
from helpers.waiting import wait_for

from connectors.admission.options import RedisOptions
from connectors.providers.channel import Delivery, Result, Sent
from connectors.rates.redis import RedisBucket
from flows.steps.sending.queue import ProviderBounds
from flows.steps.sending.rate import SendRate
from infra.services import Redis, start_redis
from state.model.addresses import ANY

RATE, P0_SHARE = 1_000.0, 0.2
BURST = RATE / 10
Make = Callable[..., list[SendRate]]


def shared(url: str, prefix: Path, *, urgent: bool = False, parts: int = 1, deadline_s: float = 5.0) -> SendRate:
    options = RedisOptions(url, prefix=str(prefix), deadline=timedelta(seconds=deadline_s))
    bucket = RedisBucket(options, ("push", "*"), "apns", rate_per_s=RATE, p0_share=P0_SHARE)
    part = 1.0 if urgent else (1 - P0_SHARE) / parts
    return SendRate("apns", RATE, part=part, shared=bucket, urgent=urgent)


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes the rates of so many processes that send P1 and P2."""
    if request.param == "memory":
        return lambda number: [SendRate("apns", RATE, part=(1 - P0_SHARE) / number) for _ in range(number)]
    url = request.getfixturevalue("redis_url")
    return lambda number: [shared(url, tmp_path, parts=number) for _ in range(number)]


def test_a_service_may_have_a_rate_of_its_own_and_the_age_of_a_sender_bounds_all_but_p0() -> None:
    most, rates = {"per_s": 2.0}, {"b.example": 20.0}
    rate, urgent = (
        SendRate("smtp", RATE, part=part, urgent=part == 1, rates=rates, most_per_s=lambda _: most["per_s"])
        for part in (0.5, 1.0)
    )
    assert rate.of("a.example").own_per_s == RATE / 2
    assert rate.of("b.example").own_per_s == 20 / 2
    assert urgent.room(1_000) == BURST
    for of in (rate, rate.of("b.example")):
        of.take(of.room(1_000))
        assert of.room(1_900) == 0
        assert of.room(2_000) == 1
    most["per_s"] = 1e9
    rate.take(rate.room(2_000))
    assert rate.room(3_000) == BURST / 2


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def spend(rate: SendRate, count_max: int = 1_000_000) -> int:
    """Send what there is room for."""
    count = min(count_max, rate.room(now_ms()))
    rate.take(count)
    return count


async def spend_for(rates: list[SendRate], seconds: float) -> tuple[list[int], float]:
    """What each could send, and how long that took."""
    began, sent = time.monotonic(), [0] * len(rates)
    while time.monotonic() - began < seconds:
        for number, rate in enumerate(rates):
            sent[number] += spend(rate)
        await asyncio.sleep(0.002)
    return sent, time.monotonic() - began


async def until(rate: SendRate, count: int) -> None:
    """So many go, however long it takes."""
    deadline = time.monotonic() + 60
    while (count := count - spend(rate, count)) > 0:
        assert time.monotonic() < deadline, f"{count} still wait"
        await asyncio.sleep(0.002)


def run(work: Awaitable[None], *rates: SendRate) -> None:
    async def main() -> None:
        await work
        for rate in rates:
            await rate.close()

    asyncio.run(main())


@pytest.mark.parametrize("processes", [1, 3])
def test_all_processes_together_send_no_more_than_the_rate(make: Make, processes: int) -> None:
    rates = make(processes)

    async def main() -> None:
        sent, seconds = await spend_for(rates, 1.0)
        assert sum(sent) <= RATE * seconds + BURST + processes
        assert all(sent), "nobody is left out"

    run(main(), *rates)


def test_what_waits_goes_in_the_end(make: Make) -> None:
    (rate,) = rates = make(1)
    run(until(rate, 500), *rates)


def test_who_was_silent_has_no_more_than_a_burst(make: Make) -> None:
    (rate,) = rates = make(1)

    async def main() -> None:
        await until(rate, 10)
        await asyncio.sleep(1.5)
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < 0.2:
            sent += spend(rate)
            await asyncio.sleep(0.001)
        assert sent <= RATE * (time.monotonic() - began) + BURST + 1

    run(main(), *rates)


def test_a_breaker_that_slows_it_is_obeyed(make: Make) -> None:
    (rate,) = rates = make(1)

    async def main() -> None:
        rate.slow(0.2)
        sent, seconds = await spend_for(rates, 0.5)
        assert sum(sent) <= 0.2 * (RATE * seconds + BURST) + 1
        rate.slow(1.0)
        await until(rate, 300)

    run(main(), *rates)


def test_p0_has_room_at_once_while_others_use_all_there_is(redis_url: str, tmp_path: Path) -> None:
    others, urgent = [shared(redis_url, tmp_path) for _ in range(2)], shared(redis_url, tmp_path, urgent=True)

    async def main() -> None:
        await spend_for(others, 0.3)
        assert spend(urgent) == BURST, "it asked nobody"

    run(main(), *others, urgent)


def test_what_p0_uses_the_others_leave(redis_url: str, tmp_path: Path) -> None:
    other, urgent = shared(redis_url, tmp_path), shared(redis_url, tmp_path, urgent=True)

    async def main() -> None:
        await spend_for([other], 0.2)
        (by_other, by_p0), seconds = await spend_for([other, urgent], 1.5)
        assert by_other + by_p0 <= RATE * seconds + 3 * BURST, "what was leased before P0 said so goes too"
        assert by_p0 > by_other

    run(main(), other, urgent)


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    server = start_redis()
    yield server
    server.stop()


def test_one_question_is_for_many_messages(own_redis: Redis, tmp_path: Path) -> None:
    rate = shared(own_redis.url, tmp_path)

    async def main() -> None:
        (sent,), _ = await spend_for([rate], 1.0)
        with redis.Redis.from_url(own_redis.url) as client:
            calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        assert 0 < calls <= sent / 10 + 30, f"{calls} questions for {sent}"

    run(main(), rate)


async def takes(_delivery: Delivery) -> Result:
    return Sent("taken")


@contextmanager
def sending(system: System, rate: SendRate, number: int, **parts: Any) -> Iterator[Provider]:
    """A lane that was given so many pushes, and their provider."""
    provider, place = Provider(takes), ("push", ANY)
    pushes = [system.emission("u1", "push", [("d1", token(f"{n:x}"))]) for n in range(number)]
    system.feed(pushes)
    given = {place: [ProviderBounds(provider, 50, rate)]}
    with running_lanes(system, channels={}, providers=given, open_max=number, **parts) as (lanes, _):
        lanes.lane(pushes[0].partition).accept(read(system, pushes[0].partition))
        yield provider


def test_a_provider_that_works_gets_no_more_than_its_rate(system: System) -> None:
    """The clock stands still: a burst goes, and then what time brings."""
    clock = [1_000_000]
    with sending(system, SendRate("provider", RATE), 150, now_ms=lambda: clock[0]) as provider:
        wait_for(lambda: len(provider.keys) >= BURST)
        clock[0] += 20
        wait_for(lambda: len(provider.keys) >= BURST + 20)
        assert len(provider.keys) == BURST + 20
        clock[0] += 30
        wait_for(lambda: len(provider.keys) == 150)


def test_what_redis_gives_later_lets_the_next_ones_go(system: System, own_redis: Redis) -> None:
    with sending(system, shared(own_redis.url, system.directory, parts=2), 250) as provider:
        wait_for(lambda: len(provider.keys) == 250)


def test_a_redis_that_went_away_holds_nobody_up(system: System, own_redis: Redis) -> None:
    own_redis.stop()
    with sending(system, shared(own_redis.url, system.directory, parts=2, deadline_s=0.1), 250) as provider:
        wait_for(lambda: len(provider.keys) == 250)


async def shows(rate: SendRate, *, alone: bool) -> None:
    deadline = time.monotonic() + 60
    while rate.alone != alone:
        spend(rate, 1)
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_without_an_answer_of_redis_each_has_its_part_until_it_is_back(own_redis: Redis, tmp_path: Path) -> None:
    """It is stopped, so that connections stand and nothing answers."""
    rate = shared(own_redis.url, tmp_path, parts=2, deadline_s=0.1)
    urgent = shared(own_redis.url, tmp_path, urgent=True, deadline_s=0.1)

    async def main() -> None:
        await until(rate, 100)
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        try:
            await shows(rate, alone=True)
            assert spend(urgent) == BURST
            (sent,), seconds = await spend_for([rate], 1.0)
            assert 0 < sent <= 0.4 * (RATE * seconds + BURST) + 1
        finally:
            os.kill(own_redis.process.pid, signal.SIGCONT)
        await shows(rate, alone=False)

    with captured_logs() as logs:
        run(main(), rate, urgent)
    assert "rate_alone" in {line["event"] for line in logs}
