"""The clients of Redis: no retries, short deadlines, a bounded pool, so that no call can hold up who makes it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import timedelta
from typing import Any

import redis
import redis.asyncio
import redis.retry
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from connectors.admission.options import RedisOptions
from state.model.errors import StoreUnavailableError


class RedisClient:
    """One connection pool and the deadline of its calls. For one event loop; connects at the first call."""

    def __init__(self, options: RedisOptions) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            options.url, retry=Retry(NoBackoff(), 0), **_pool(options, options.deadline)
        )
        self.redis = redis.asyncio.Redis(connection_pool=pool)
        self.prefix = options.prefix

    async def answer(self, call: Awaitable[Any]) -> Any:
        """What Redis says.

        :raises StoreUnavailableError: nothing, within the deadline.
        """
        try:
            return await call
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailableError(f"redis: {type(error).__name__}") from error

    async def close(self) -> None:
        """Free all connections."""
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()


def blocking_redis(options: RedisOptions, deadline: timedelta | None = None) -> redis.Redis:
    """The same for threads; whoever calls it names what it raises. `deadline`: in place of that of the options."""
    pool = redis.BlockingConnectionPool.from_url(
        options.url, retry=redis.retry.Retry(NoBackoff(), 0), **_pool(options, deadline or options.deadline)
    )
    return redis.Redis(connection_pool=pool)


def eviction(memory: Mapping[str, Any]) -> str | None:
    """What is wrong with a Redis that may drop keys, by its `INFO memory`; None: it keeps them."""
    if memory.get("maxmemory") and memory.get("maxmemory_policy") != "noeviction":
        return "redis: may evict keys; set maxmemory-policy noeviction"
    return None


def no_room(memory: Mapping[str, Any]) -> str | None:
    """What is wrong with a Redis that takes nothing more, by its `INFO memory`; None: there is room."""
    if 0 < memory.get("maxmemory", 0) <= memory.get("used_memory", 0):
        return "redis: has no memory left, so it takes nothing more; raise maxmemory"
    return None


def _pool(options: RedisOptions, deadline: timedelta) -> dict[str, Any]:
    seconds = deadline.total_seconds()
    return {
        "max_connections": options.connections_max, "timeout": seconds, "socket_timeout": seconds,
        "socket_connect_timeout": seconds, "health_check_interval": 0,
    }  # fmt: skip
