"""A sender and the lanes of deliver or of transactional in the test's own process, with providers that the test is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from helpers.feeding import PARTITIONS, System, now_ms

from connectors.changes import Changes
from connectors.control import Scope
from connectors.log.interface import Record
from connectors.providers.channel import CheckResult, Delivery, Result
from flows.config.settings import load_settings
from flows.steps.deliver.strategy import DeliverStrategy
from flows.steps.lanes.lane import MakeStrategy
from flows.steps.lanes.parts import LaneParts
from flows.steps.lanes.steps import Lanes
from flows.steps.sending.dispatcher import Dispatcher, DispatcherParts
from flows.steps.sending.late import LastLook
from flows.steps.sending.queue import ProviderBounds
from flows.steps.sending.rate import SendRate
from flows.steps.transactional.strategy import DecisionRules, TransactionalStrategy
from state.model.addresses import ANY, Place
from state.model.registry import Registry
from state.model.topics import DELIVER

Station = Literal["deliver", "transactional"]
TOPICS: Mapping[Station, tuple[str, ...]] = {
    "deliver": tuple(DELIVER.values()),
    "transactional": ("events.p0",),
}
Answer = Callable[[Delivery], Awaitable[Result]]


class Provider:
    """A channel that answers as it was told, and knows what it was sent."""

    name = "provider"

    def __init__(self, answer: Answer) -> None:
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
        return await self._answer(delivery)

    async def close(self) -> None:
        """Nothing to close."""


def registry_of(system: System) -> Registry:
    """By carillon.toml, if the test has written one."""
    path = system.directory / "carillon.toml"
    environment = {"CARILLON_CONFIG": str(path)} if path.exists() else {}
    return load_settings(data_dir=system.directory, environment=environment).registry()


def last_look(system: System, is_stopped: Callable[[Scope], bool] = lambda _scope: False) -> LastLook:
    """A last look before sends that knows of no change but kill switches."""
    return LastLook(is_stopped, Changes(system.log, now_ms=now_ms()), registry_of(system))


def strategy_of(system: System, station: Station) -> MakeStrategy:
    """What makes the strategies of a station's lanes."""
    if station == "deliver":
        return DeliverStrategy
    return partial(TransactionalStrategy, rules=DecisionRules(registry_of(system), retention_ms=86_400_000))


def _place(name: str | Place) -> Place:
    return (name, ANY) if isinstance(name, str) else name


@contextmanager
def running_lanes(
    system: System,
    *,
    station: Station = "deliver",
    open_max: int = 100,
    lane_clock: Callable[[], int] = now_ms,
    make: MakeStrategy | None = None,
    channels: Mapping[str, Provider] | Mapping[Place, Provider],
    **parts: Any,
) -> Iterator[tuple[Lanes, Dispatcher]]:
    """Lanes over a dispatcher with these channels. What was not handed out at the end is lost, as after a kill."""
    given: dict[str, Any] = {
        "log": system.log,
        "providers": {
            _place(name): [ProviderBounds(each, 50, SendRate(each.name, 1_000.0))] for name, each in channels.items()
        },
        "last_look": last_look(system), "now_ms": now_ms, "uniform": lambda low, _high: low,
    }  # fmt: skip
    dispatcher = Dispatcher(DispatcherParts(**(given | parts)))
    dispatcher.start()
    of_lanes = LaneParts(
        station=station,
        directory=system.directory / "state" / station,
        log=system.log,
        dispatcher=dispatcher,
        topics=TOPICS[station],
        lanes=PARTITIONS,
        now_ms=lane_clock,
        run_ms=now_ms(),
    )
    lanes = Lanes(of_lanes, make or strategy_of(system, station), open_max=open_max)
    try:
        yield lanes, dispatcher
    finally:
        dispatcher.close()
        lanes.close()


def read(system: System, partition: int, topic: str = "deliver.push", start: int = 0) -> list[Record]:
    """What a partition holds."""
    reader = system.log.reader({(topic, partition): start})
    records = reader.poll(10_000, timedelta())
    reader.close()
    return list(records)
