"""The token bucket of one provider in Redis, for processes that share its rate (RULES 4, "Rate").

    PREFIX:r:<channel>:<platform>:<provider>[:<service>]    hash: l tokens, a when that was so

A token is one message. Tokens come at the provider's rate, and a tenth of a second's worth of them is kept, one at
least. Who sends P1 and P2 leases tokens in batches and leaves the part that is reserved; who sends P0 asks nobody and
says afterwards what it spent, which may leave the bucket in debt, at most for a second.

Times are microseconds of Redis's own clock, so those of the hosts need not agree. Redis's expiry only clears up: a
bucket unused for a minute is full. Every call ends within its deadline (`connectors.redis_client`).
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

from connectors.admission.options import RedisOptions
from connectors.redis_client import RedisClient
from state.model.addresses import Place

_MOVE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local per_us, size, keep = tonumber(ARGV[1]) / 1000000, tonumber(ARGV[2]), tonumber(ARGV[3])
local count, spent, debt = tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local found = redis.call('HMGET', KEYS[1], 'l', 'a')
local level, at = tonumber(found[1] or size), tonumber(found[2] or now)
level = math.min(size, level + math.max(0, now - at) * per_us)
local given = count
if not spent then given = math.max(0, math.min(count, math.floor(level - keep))) end
level = math.max(-debt, level - given)
redis.call('HSET', KEYS[1], 'l', string.format('%.6f', level), 'a', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], 60000)
return {given, math.max(0, math.ceil((keep + 1 - level) / per_us / 1000))}
"""


class Lease(NamedTuple):
    """How many tokens were given, and when it is worth to ask for more."""

    given: int
    wait_ms: int
    """Until there is one to be had."""


class RedisBucket:
    """See the module. For one event loop."""

    def __init__(
        self,
        options: RedisOptions,
        place: Place,
        name: str,
        *,
        rate_per_s: float,
        p0_share: float,
        client: RedisClient | None = None,
    ) -> None:
        """`p0_share` is the part of the bucket that leases leave; connects at the first call."""
        self._client = client or RedisClient(options)
        self._again = partial(RedisBucket, options, place, p0_share=p0_share)
        self._name = name
        self._move = self._client.redis.register_script(_MOVE)
        self._key = f"{options.prefix}:r:{place[0]}:{place[1]}:{name}"
        size = max(1.0, rate_per_s / 10)
        self._bucket = (rate_per_s, size, min(size * p0_share, size - 1))
        self._debt = rate_per_s

    def of(self, service: str, rate_per_s: float) -> RedisBucket:
        """That of one of the provider's services, over the same connections."""
        return self._again(f"{self._name}:{service}", rate_per_s=rate_per_s, client=self._client)

    async def lease(self, count: int) -> Lease:
        """Take so many tokens, or as many as there are beyond the reserve.

        :raises StoreUnavailableError: no answer within the deadline; what was taken perhaps is lost.
        """
        return await self._call(count, spent=False)

    async def spent(self, count: int) -> None:
        """So many messages went, whatever was there.

        :raises StoreUnavailableError: no answer within the deadline.
        """
        await self._call(count, spent=True)

    async def close(self) -> None:
        """Free it."""
        await self._client.close()

    async def _call(self, count: int, *, spent: bool) -> Lease:
        call = self._move(keys=[self._key], args=[*self._bucket, count, int(spent), self._debt])
        given, wait_ms = await self._client.answer(call)
        return Lease(int(given), math.ceil(wait_ms))
