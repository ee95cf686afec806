"""What the bucket of a provider's rate costs a message: alone in memory, or shared by two processes through Redis.

Each takes all that there is room for, again and again, at a rate that it does not reach and at one that holds it up.
Processor time is this process's; a question is one round trip to Redis on this machine.
"""

import asyncio
import time
from datetime import timedelta

import redis

from bench.figures import record
from connectors.admission.options import RedisOptions
from connectors.rates.redis import RedisBucket
from flows.steps.sending.rate import SendRate
from infra.services import start_redis

TABLE = "rates"
MESSAGES = 200_000
_PLACE = ("push", "*")
_BATCH = 50
"""So many go at once, as where some answers came."""


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


async def spend(rate: SendRate, messages: int) -> tuple[float, float]:
    """Processor seconds and seconds until so many went."""
    began, spent = time.perf_counter(), time.process_time()
    while messages > 0:
        count = min(messages, _BATCH, rate.room(now_ms()))
        rate.take(count)
        messages -= count
        await asyncio.sleep(0)
        if not count:
            await asyncio.sleep(0.005)
    return time.process_time() - spent, time.perf_counter() - began


async def idle(messages: int) -> float:
    """Processor seconds of the loop itself."""
    spent = time.process_time()
    for _ in range(messages // _BATCH):
        now_ms()
        await asyncio.sleep(0)
    return time.process_time() - spent


async def alone() -> None:
    loop = await idle(MESSAGES)
    cpu, seconds = await spend(SendRate("bench", 10_000_000.0), MESSAGES)
    work = f"room for up to {_BATCH} messages, and taking it"
    record(TABLE, "alone_ns", (cpu - loop) / MESSAGES * 1e9, "ns", work=work, n=MESSAGES, seconds=seconds)


async def shared(url: str, rate_per_s: float) -> None:
    rates = []
    for _ in range(2):
        bucket = RedisBucket(
            RedisOptions(url, deadline=timedelta(seconds=1)),
            _PLACE,
            f"{rate_per_s}",
            rate_per_s=rate_per_s,
            p0_share=0.2,
        )
        rates.append(SendRate("bench", rate_per_s, part=0.4, shared=bucket))
    with redis.Redis.from_url(url) as client:
        client.config_resetstat()
        messages = int(min(MESSAGES, 5 * rate_per_s) / 2)
        loop = await idle(2 * messages)
        spent = time.process_time()
        found = await asyncio.gather(*(spend(each, messages) for each in rates))
        cpu, calls = time.process_time() - spent - loop, client.info("commandstats")["cmdstat_evalsha"]["calls"]
    seconds = max(each[1] for each in found)
    work = f"two processes share {rate_per_s:,.0f} a second"
    name = f"shared_{rate_per_s:.0f}"
    record(TABLE, f"{name}_us", cpu / (2 * messages) * 1e6, "us", work=work, n=2 * messages, seconds=seconds)
    record(
        TABLE,
        f"{name}_questions",
        calls / (2 * messages) * 1_000,
        "questions per 1 000 messages",
        work=work,
        n=2 * messages,
        seconds=seconds,
    )
    for each in rates:
        await each.close()


def main() -> None:
    asyncio.run(alone())
    server = start_redis()
    try:
        for rate_per_s in (100_000.0, 5_000.0, 100.0):
            asyncio.run(shared(server.url, rate_per_s))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
