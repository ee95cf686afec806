"""The dispatcher with two providers of one place, in this process."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import partial

import msgspec
import pytest
from helpers.feeding import System, now_ms, token
from helpers.lanes_in_process import Provider
from helpers.waiting import wait_for
from prometheus_client import REGISTRY

from connectors.changes import Changes
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord
from connectors.providers.channel import CheckResult, Delivery, Failed, Result, Sent
from flows.steps.sending.call import ProviderCalls
from flows.steps.sending.dispatcher import Dispatcher, DispatcherParts
from flows.steps.sending.late import LastLook
from flows.steps.sending.queue import ProviderBounds, ProviderQueue
from flows.steps.sending.rate import SendRate
from flows.steps.sending.task import SendTask, Siblings
from state.model.addresses import ANY
from state.model.content import PushContent
from state.model.delivery import DeviceAddress, ToDeliver
from state.model.registry import load_registry


class Ends:
    """A listener that counts."""

    count = 0

    def ended(self, _task: SendTask, _spawned: int) -> None:
        self.count += 1

    def hurried(self, spawned: int) -> None: ...

    def rendering(self) -> AbstractContextManager[None]:
        return nullcontext()

    def killed_by(self) -> bool:
        return False


def codes(count: int, ends: Ends, ttl_ms: int = 300_000) -> list[SendTask]:
    """Password codes for so many people."""
    tasks = []
    for number in range(count):
        emission = ToDeliver(
            emission_id=f"em{number}", user=f"u{number}", type="otp", object=None, first_event_id=f"e{number}",
            priority="P0", channel="push", devices=(DeviceAddress("d", "ios", token(str(number)), 1),), actors=("ada",),
            actor_count=1, decided_at=now_ms(), ingested_at=now_ms(), valid_until=now_ms() + ttl_ms,
            payload={"code": "123456"},
        )  # fmt: skip
        tasks += Siblings(emission, "push", emission.devices, (), 0, lambda _key: None, ends).make_tasks()
    return tasks


def started(
    system: System, bounds: Sequence[ProviderBounds], station: str = "deliver", killed: Sequence[str] = ()
) -> Dispatcher:
    """One with these providers of push, in the order in which they are tried, and types that a switch stops."""
    changes = Changes(system.log, now_ms=now_ms())
    parts = DispatcherParts(
        log=system.log, providers={("push", ANY): bounds}, now_ms=now_ms, uniform=lambda _low, high: high,
        last_look=LastLook(lambda scope: scope.type_name in killed, changes, load_registry()), station=station,
    )  # fmt: skip
    dispatcher = Dispatcher(parts)
    dispatcher.start()
    return dispatcher


async def fails(_delivery: object) -> Result:
    return Failed("503")


async def takes(_delivery: object) -> Result:
    return Sent("x")


class Asked(list[str]):
    """Types that a switch stops: none. Counts how often it is asked, and is told of the first one."""

    times = 0
    on_first: Callable[[], None]

    def __contains__(self, _name: object) -> bool:
        self.times += 1
        if self.times == 1:
            self.on_first()
        return False


def test_what_comes_does_not_wait_until_hundreds_are_looked_at(system: System) -> None:
    provider, ends, asked, seen = Provider(takes), Ends(), Asked(), list[int]()
    dispatcher = started(system, [ProviderBounds(provider, 400, SendRate(provider.name, 10_000.0))], killed=asked)
    asked.on_first = lambda: dispatcher.after(lambda: seen.append(asked.times))
    dispatcher.submit(codes(300, ends))
    wait_for(lambda: ends.count == 300)
    assert seen[0] <= 64
    dispatcher.close()


class NotedLog(EmbeddedLog):
    """Notes of how many records each append to `attempts` is, and whose the first one is."""

    appends: list[tuple[int, bytes]]

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        if records[0].topic == "attempts":
            self.appends.append((len(records), records[0].key))
        return super().append(records)


def test_the_intent_of_what_is_for_one_person_is_stored_alone_and_first(system: System) -> None:
    provider, ends, tasks = Provider(takes), Ends(), codes(12, Ends())
    for number, task in enumerate(tasks):
        task.siblings.listener = ends
        task.siblings.emission = msgspec.structs.replace(task.emission, priority="P1")
        task.siblings.for_many = number < 11
    system.log = NotedLog(system.directory, clock=now_ms)
    system.log.appends = []
    dispatcher = started(system, [ProviderBounds(provider, 400, SendRate(provider.name, 10_000.0))])
    dispatcher.submit(tasks)
    wait_for(lambda: ends.count == 12)
    dispatcher.close()
    assert system.log.appends[0] == (1, tasks[-1].key.encode())
    assert system.log.appends[1][0] >= 11


def test_what_a_person_drains_is_sent_when_he_lifts_it_though_nothing_else_comes(system: System) -> None:
    provider, ends, drained = Provider(takes), Ends(), {"P0"}
    bounds = ProviderBounds(provider, 50, SendRate(provider.name, 1000.0), drained=lambda: frozenset(drained))
    dispatcher = started(system, [bounds])
    dispatcher.submit(codes(20, ends))
    (queue,) = dispatcher.queues
    wait_for(lambda: queue.size == 20)
    looked = threading.Event()
    dispatcher.after(looked.set)
    assert looked.wait(30)
    assert (ends.count, provider.keys) == (0, [])
    drained.clear()
    wait_for(lambda: ends.count == 20)
    assert len(provider.keys) == 20
    dispatcher.close()


def test_what_a_person_drains_ends_when_its_ttl_is_over_though_nothing_else_comes(system: System) -> None:
    provider, ends = Provider(takes), Ends()
    bounds = ProviderBounds(provider, 50, SendRate(provider.name, 1000.0), drained=lambda: frozenset({"P0"}))
    dispatcher = started(system, [bounds])
    short, long = codes(3, ends, ttl_ms=500), codes(5, ends)[3:]
    dispatcher.submit([*short, *long])
    wait_for(lambda: ends.count == 3)
    assert {task.history.outcome for task in short} == {"EXPIRED"}
    (queue,) = dispatcher.queues
    assert (queue.size, provider.keys) == (2, []), "the others wait on"
    dispatcher.close()


def test_what_waits_within_a_provider_may_ask_whether_it_may_still_go(system: System) -> None:
    killed: list[str] = []

    async def waits(delivery: Delivery) -> Result:
        assert delivery.may_go is not None
        assert delivery.may_go()
        killed.append("otp")
        return Sent("x") if delivery.may_go() else Failed("changed", of_address=True)

    provider, ends = Provider(waits), Ends()
    dispatcher = started(system, [ProviderBounds(provider, 50, SendRate(provider.name, 1000.0))], killed=killed)
    (code,) = codes(1, ends)
    dispatcher.submit([code])
    wait_for(lambda: ends.count == 1)
    assert (code.history.outcome, code.history.reason, len(provider.keys)) == ("SUPPRESSED", "kill_switch", 1)
    dispatcher.close()


def test_codes_that_wait_for_their_retry_go_to_the_next_provider_though_nothing_else_comes(system: System) -> None:
    away, well, ends = Provider(fails), Provider(takes), Ends()
    away.name, well.name = "away", "well"
    bounds = [ProviderBounds(each, 50, SendRate(each.name, 1000.0)) for each in (away, well)]
    dispatcher = started(system, bounds, station="transactional")
    dispatcher.submit(codes(20, ends))
    wait_for(lambda: ends.count == 20, 20, lambda: f"20 ends; there are {ends.count}, {len(well.keys)} were asked for")
    assert len(well.keys) == 20
    dispatcher.close()


def test_a_refused_credential_is_told_until_something_is_taken(system: System) -> None:
    mended = threading.Event()

    async def judge(_delivery: object) -> Result:
        return Sent("x") if mended.is_set() else Failed("401", of_credential=True)

    provider, ends = Provider(judge), Ends()
    dispatcher = started(system, [ProviderBounds(provider, 50, SendRate(provider.name, 1000.0))])
    dispatcher.submit(codes(1, ends))
    told = partial(REGISTRY.get_sample_value, "carillon_credential_refused", {"provider": provider.name})
    wait_for(lambda: told() == 1)
    mended.set()
    wait_for(lambda: ends.count == 1)
    assert told() == 0
    dispatcher.close()


def test_a_credential_that_is_good_again_is_noticed_without_a_message(system: System) -> None:
    """The process that sends P0 may have none for hours, and the alert pages somebody as long as it is told refused."""

    class Mended(Provider):
        name, asked, good = "mended", 0, False

        async def check(self) -> CheckResult:
            self.asked += 1
            return CheckResult(self.good, "")

    async def refuses(_delivery: object) -> Result:
        return Failed("401", of_credential=True)

    async def run() -> None:
        provider, begun = Mended(refuses), list[asyncio.Task[None]]()
        look = LastLook(lambda _scope: False, Changes(system.log, now_ms=now_ms()), load_registry())
        calls = ProviderCalls(
            now_ms,
            None,
            look,
            lambda work: begun.append(asyncio.ensure_future(work)),
            ask_again=timedelta(seconds=0.02),
        )
        told = partial(REGISTRY.get_sample_value, "carillon_credential_refused", {"provider": provider.name})
        queue = ProviderQueue(ProviderBounds(provider, 50, SendRate(provider.name, 1000.0)))
        [task] = codes(1, Ends())
        await calls(queue, task, PushContent("t", "b"))
        await asyncio.to_thread(wait_for, lambda: provider.asked >= 3)
        assert told() == 1
        provider.good = True
        await asyncio.to_thread(wait_for, lambda: told() == 0)
        asked = provider.asked
        await asyncio.sleep(0.1)
        assert provider.asked == asked

    asyncio.run(run())


def test_what_is_handed_over_while_it_closes_is_not_begun(system: System, caplog: pytest.LogCaptureFixture) -> None:
    """As lanes do that end later: a task left in a loop that is stopped is an error in whoever collects it."""

    class Closing(Provider):
        async def close(self) -> None:
            dispatcher.submit(codes(200, ends))
            await asyncio.sleep(0.5)

    provider, ends = Closing(takes), Ends()
    dispatcher = started(system, [ProviderBounds(provider, 50, SendRate(provider.name, 10_000.0))])
    dispatcher.close()
    gc.collect()
    assert (provider.keys, ends.count) == ([], 0)
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []
