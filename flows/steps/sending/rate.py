"""How much of a provider's rate this process may use now (RULES 4, "Rate").

Alone, a process has its part of the rate for itself. Where a bucket is shared, it leases tokens of it in batches and
ahead of need: one question for a twentieth of a second's worth of messages, and no message waits for an answer that is
late, since a bucket that does not answer leaves the process with its own part. Who sends P0 waits for nobody: it has
the whole rate, and says afterwards what it used, so that others use less.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from connectors.metrics import RATE_SHARED
from operators.breaker import Pace
from state.model.dead_letter import error_text
from state.model.errors import StoreUnavailableError

if TYPE_CHECKING:
    from connectors.rates.redis import RedisBucket  # with the client of Redis, which is heavy, and rarely needed

_BATCHES_PER_S = 20
_LEASE_S = 1.0
"""What was leased and not used for so long is void: it would be sent at once some day."""
_ALONE_S = 1.0
"""So long a bucket that did not answer is not asked again."""
_logger = structlog.get_logger(__name__)


def _nothing() -> None:
    """Nobody waits."""


def _unbounded(_now: int) -> float:
    return math.inf


class SendRate:
    """For one provider; for one event loop, where a bucket is shared. Times given are milliseconds."""

    def __init__(
        self,
        name: str,
        rate_per_s: float,
        *,
        part: float = 1.0,
        shared: RedisBucket | None = None,
        urgent: bool = False,
        rates: Mapping[str, float] | None = None,
        most_per_s: Callable[[int], float] = _unbounded,
    ) -> None:
        """`part` of the rate is this process's own; `urgent`: it sends P0, and nothing else. `rates` are those of
        services that have another one; `most_per_s` bounds all but P0 besides, by the time.
        """
        self.more: Callable[[], None] = _nothing
        """Called when there may be room again after there was none."""
        self._name, self._rate, self._part, self._shared, self._urgent = name, rate_per_s, part, shared, urgent
        self.alone = shared is None
        """It has its own part: nothing is shared, or the bucket does not answer."""
        self._rates, self._most_per_s, self._most = rates or {}, most_per_s, math.inf
        self._slowed = 1.0
        self._pace = Pace(self._per_s)
        self._batch = max(1, int(rate_per_s / _BATCHES_PER_S))
        self._on_hand = self._spent = 0
        self._leased_at = 0.0
        self._asking: asyncio.Task[None] | None = None
        if shared is not None:
            RATE_SHARED.labels(name).set(1)

    def of(self, service: str) -> SendRate:
        """That of one of the provider's services, which has as much where it has no rate of its own."""
        rate = self._rates.get(service, self._rate)
        shared = None if self._shared is None else self._shared.of(service, rate)
        return SendRate(
            self._name, rate, part=self._part, shared=shared, urgent=self._urgent, most_per_s=self._most_per_s
        )

    @property
    def own_per_s(self) -> float:
        """What this process may send by itself, without regard to the breaker."""
        return self._rate * self._part

    def slow(self, share: float) -> None:
        """From now on only this part of it, by the breaker's state."""
        self._slowed = share
        self._pace.change(self._per_s)

    def room(self, now: int) -> int:
        """How many may go now."""
        if not self._urgent and (most := self._most_per_s(now)) != self._most:
            self._most = most
            self._pace.change(self._per_s)
        own = self._pace.room(now)
        if self._shared is None or self._urgent:
            return own
        if asyncio.get_running_loop().time() - self._leased_at > _LEASE_S:
            self._on_hand = 0
        if 2 * self._on_hand < self._batch:
            self._ask(self._lease, self._shared)
        return own if self.alone else min(own, self._on_hand)

    def take(self, count: int) -> None:
        """So many went, at most what there was room for."""
        self._pace.take(count)
        if self._shared is None or not count:
            return
        if not self._urgent:
            self._on_hand = max(0, self._on_hand - count)
        else:
            self._spent += count
            self._ask(self._tell, self._shared)

    async def close(self) -> None:
        """Free the connection to the shared bucket."""
        if self._asking is not None:
            self._asking.cancel()
        if self._shared is not None:
            await self._shared.close()

    @property
    def _per_s(self) -> float:
        bounded = self._most < self._rate
        part = self._part if self.alone or self._urgent or bounded else 1.0
        return min(self._rate, self._most) * part * self._slowed

    def _ask(self, work: Callable[[RedisBucket], Coroutine[Any, Any, None]], bucket: RedisBucket) -> None:
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(work(bucket))
            self._asking.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            self.more()
            task.result()  # what it should not have raised is told by the loop

    async def _lease(self, bucket: RedisBucket) -> None:
        """One question; the next one comes with the next look for room."""
        try:
            lease = await bucket.lease(self._batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, this process goes on with its own part
            self._turn(alone=True, error=error_text(error))
            self.more()
            await asyncio.sleep(_ALONE_S)
        else:
            self._turn(alone=False)
            self._on_hand += lease.given
            self._leased_at = asyncio.get_running_loop().time()
            self.more()
            if lease.given < self._batch:  # else it would ask for each that comes back
                await asyncio.sleep(min(max(lease.wait_ms / 1000, 1 / _BATCHES_PER_S), _ALONE_S))

    async def _tell(self, bucket: RedisBucket) -> None:
        """What P0 spent, a few times a second."""
        wait_s = 1 / _BATCHES_PER_S
        while self._spent:
            await asyncio.sleep(wait_s)
            spent, self._spent = self._spent, 0
            try:
                await bucket.spent(spent)
            except StoreUnavailableError as error:
                self._turn(alone=True, error=str(error))
                wait_s = _ALONE_S
            else:
                self._turn(alone=False)
                wait_s = 1 / _BATCHES_PER_S

    def _turn(self, *, alone: bool, error: str = "") -> None:
        if alone == self.alone:
            return
        self.alone, self._on_hand = alone, 0
        self._pace.change(self._per_s)
        RATE_SHARED.labels(self._name).set(not alone)
        if alone:
            _logger.warning("rate_alone", provider=self._name, own_per_s=self.own_per_s, error=error)
        else:
            _logger.info("rate_shared", provider=self._name)
