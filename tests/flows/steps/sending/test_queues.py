"""A provider that is many services: each push service of browsers has a breaker and a rate of its own."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

from helpers.feeding import PARTITIONS, System
from helpers.lanes_in_process import Provider, read, running_lanes
from helpers.subscriptions import stored
from helpers.waiting import wait_for
from prometheus_client import REGISTRY

from connectors.log.interface import NewRecord
from connectors.providers.channel import Delivery, Failed, Result, Sent
from flows.steps.sending.queue import ProviderBounds, ProviderQueue
from flows.steps.sending.queues import SERVICES_MAX, ProviderQueues
from flows.steps.sending.rate import SendRate
from flows.steps.sending.task import SendTask
from operators.attempts import DeliveryHistory
from state.model.addresses import WEB
from state.model.delivery import DeviceAddress
from state.model.keys import key_group, partition_of_group
from state.model.subscriptions import service_of_subscription

USER = "u1"
LANE = partition_of_group(key_group(USER), PARTITIONS)
PLACE = ("push", WEB)


def browser(host: str, name: str = "b") -> DeviceAddress:
    return DeviceAddress(name, platform=WEB, address=stored(f"https://{host}/push/{name}"))


def bounds(channel: object, rate_per_s: float = 1_000.0) -> ProviderBounds:
    rate = SendRate("webpush", rate_per_s)
    return ProviderBounds(cast("Any", channel), 50, rate, waiting_max=30, service_of=service_of_subscription)


def queues_of(made: list[ProviderQueue]) -> ProviderQueues:
    return ProviderQueues({PLACE: [bounds(SimpleNamespace(name="webpush"))]}, made.append)


def task(device: DeviceAddress) -> SendTask:
    emission = SimpleNamespace(priority="P1", valid_until=10**9)
    siblings = cast("Any", SimpleNamespace(emission=emission, for_many=False, channel="push"))
    return SendTask(siblings, device, device.id, DeliveryHistory(), known=False)


def of(queues: ProviderQueues, host: str) -> ProviderQueue:
    (queue,) = queues.of("push", browser(host))
    return queue


def test_each_host_has_a_queue_and_what_is_no_subscription_shares_one() -> None:
    made: list[ProviderQueue] = []
    queues = queues_of(made)
    one, other, again = (of(queues, host) for host in ("a.example", "b.example", "a.example"))
    assert (one is again, one is other) == (True, False)
    assert of(queues, "a.example:8443") is not one
    (shared,) = queues.of("push", DeviceAddress("d", platform=WEB, address="no subscription"))
    assert [each.service for each in made] == ["", "a.example", "b.example", "a.example:8443"]
    assert (made[0], set(queues)) == (shared, set(made))


def test_a_failing_service_has_an_open_breaker_and_the_others_their_own_rate() -> None:
    queues = queues_of([])
    away, other = of(queues, "a.example"), of(queues, "b.example")
    for _ in range(20):
        away.answered(task(browser("a.example")), Failed("503"), 0)
    assert (away.state, other.state) == ("open", "closed")
    for queue, host in ((away, "a.example"), (other, "b.example")):
        for _ in range(200):
            queue.put(task(browser(host)), 0)
    taken = len(other.take(999, 0))
    assert taken == 50, "in flight at once"
    assert REGISTRY.get_sample_value("carillon_deliveries_in_flight", {"provider": "webpush"}) == 50
    assert REGISTRY.get_sample_value("carillon_deliveries_waiting", {"provider": "webpush"}) == 350
    assert REGISTRY.get_sample_value("carillon_breaker_state", {"provider": "webpush"}) == 3


def test_so_many_are_remembered_and_the_one_that_was_idle_for_longest_goes() -> None:
    queues = queues_of([])
    hosts = [f"h{number}.example" for number in range(SERVICES_MAX)]
    kept = [of(queues, host) for host in hosts]
    kept[0].put(task(browser(hosts[0])), 0)
    of(queues, "new.example")
    assert of(queues, hosts[0]) is kept[0], "something waits there"
    assert of(queues, hosts[2]) is kept[2]
    assert of(queues, hosts[1]) is not kept[1], "which drops another"
    assert len(list(queues)) == 1 + SERVICES_MAX


def test_where_all_are_busy_the_others_share_a_queue() -> None:
    queues = queues_of([])
    for number in range(SERVICES_MAX):
        of(queues, f"h{number}.example").put(task(browser(f"h{number}.example")), 0)
    shared = of(queues, "new.example")
    assert (shared.service, of(queues, "newer.example") is shared) == ("", True)
    assert shared.of_provider() == SERVICES_MAX


def push(system: System, host: str, number: int) -> NewRecord:
    address = stored(f"https://{host}/push/{number}")
    return system.emission(USER, "push", [("d1", address, WEB)])


def test_pushes_to_other_browsers_go_on_while_the_service_of_one_is_away(system: System) -> None:
    seen: list[str] = []

    async def answer(delivery: Delivery) -> Result:
        host = str(json.loads(delivery.address)["endpoint"]).split("/")[2]
        seen.append(host)
        return Failed("503") if host == "a.example" else Sent("id")

    given = {PLACE: [bounds(Provider(answer))]}
    with running_lanes(system, channels={}, providers=given, open_max=200) as (lanes, _):
        lane, start = lanes.lane(LANE), 0
        for host, count, until in (("a.example", 20, 20), ("b.example", 40, 60)):
            system.feed([push(system, host, number) for number in range(start, start + count)])
            lane.accept(read(system, LANE, start=start))
            start += count
            wait_for(lambda until=until: len(seen) >= until, what=lambda: str(seen))
        system.feed([push(system, "a.example", number) for number in range(60, 80)])
        lane.accept(read(system, LANE, start=60))
        system.feed([push(system, "b.example", 80)])
        lane.accept(read(system, LANE, start=80))
        wait_for(lambda: seen.count("b.example") == 41, what=lambda: str(seen))
    assert seen.count("a.example") == 20
