"""A sender and a deliver lane in the test's own process, with a provider whose answers the test gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from helpers.feeding import PARTITIONS, System, now_ms

from connectors.changes import Changes
from connectors.control import Scope
from connectors.log.interface import Log, Record
from connectors.providers.channel import CheckResult, Delivery, Result
from flows.steps.deliver.strategy import DeliverStrategy
from flows.steps.lanes.parts import LaneParts
from flows.steps.lanes.steps import Lanes
from flows.steps.sending.late import LastLook
from flows.steps.sending.queue import ProviderLane
from flows.steps.sending.sender import Sender, SenderParts
from state.model.registry import load_registry

TOPICS = ("deliver.push", "deliver.sms", "deliver.email")


class Provider:
    """A channel that answers as it was told, and knows what it was sent."""

    name = "provider"

    def __init__(self, answer: Callable[[], Awaitable[Result]]) -> None:
        self.keys: list[str] = []
        self._answer = answer

    def provider_id(self, key: str) -> str:
        return f"id-{key}"

    async def connect(self) -> None:
        """Nothing to connect to."""

    async def check(self) -> CheckResult:
        return CheckResult(True, "")

    async def send(self, delivery: Delivery) -> Result:
        self.keys.append(delivery.key)
        return await self._answer()

    async def close(self) -> None:
        """Nothing to close."""


def last_look(log: Log, is_stopped: Callable[[Scope], bool] = lambda _scope: False) -> LastLook:
    """A last look before sends that knows of no change but kill switches."""
    return LastLook(is_stopped, Changes(log, now_ms=now_ms()), load_registry())


@contextmanager
def running_lanes(
    system: System, provider: Provider, *, open_max: int = 100, **parts: Any
) -> Iterator[tuple[Lanes, Sender]]:
    """Lanes over a sender that pushes through the provider."""
    given: dict[str, Any] = {
        "log": system.log, "lanes": {"push": ProviderLane(provider, 50, 1_000.0)}, "last_look": last_look(system.log),
        "now_ms": now_ms, "uniform": lambda low, _high: low,
    }  # fmt: skip
    sender = Sender(SenderParts(**(given | parts)))
    sender.start()
    of_lanes = LaneParts(
        station="deliver",
        directory=system.directory / "state" / "deliver",
        log=system.log,
        sender=sender,
        topics=TOPICS,
        lanes=PARTITIONS,
        now_ms=now_ms,
        run_ms=now_ms(),
    )
    lanes = Lanes(of_lanes, DeliverStrategy, open_max=open_max)
    try:
        yield lanes, sender
    finally:
        sender.close()
        lanes.close()


def read(system: System, partition: int) -> list[Record]:
    """What a partition of `deliver.push` holds."""
    reader = system.log.reader({("deliver.push", partition): 0})
    records = reader.poll(10_000, timedelta())
    reader.close()
    return list(records)
