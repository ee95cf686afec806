"""The client of Redis: no retries, short deadlines, a bounded pool, so that no call can hold up who makes it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from connectors.admission.options import RedisOptions
from state.model.errors import StoreUnavailableError


class RedisClient:
    """One connection pool and the deadline of its calls. For one event loop; connects at the first call."""

    def __init__(self, options: RedisOptions) -> None:
        seconds = options.deadline.total_seconds()
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            options.url,
            max_connections=options.connections_max,
            timeout=seconds,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
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
