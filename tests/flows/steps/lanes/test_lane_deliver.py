"""A lane and its dispatcher by themselves: bounds, deadlines, and what is judged again before a send."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import accumulate
from typing import Any

import pytest
from helpers.feeding import System, addresses, now_ms, token
from helpers.heap import no_collector
from helpers.histories import fold
from helpers.lanes_in_process import Provider, last_look, read, running_lanes
from helpers.waiting import wait_for
from prometheus_client import REGISTRY

from connectors.changes import Changes
from connectors.log.interface import NewRecord
from connectors.providers.channel import Delivery, Failed, Rejected, Result, Sent
from flows.steps.deliver.redelivery import AttemptSearch
from flows.steps.lanes.lane import Lane
from flows.steps.sending.task import SendTask
from operators.attempts import resume
from state.model.addresses import ANY, Place
from state.model.delivery import ATTEMPT, Attempt
from state.model.envelope import schema_of


async def takes(_delivery: Delivery) -> Result:
    return Sent("taken")


def test_what_is_handed_out_again_beyond_the_bound_before_a_start_does_not_hold_the_start_up(system: System) -> None:
    emissions = [system.emission("u1", "push", [("d1", token(n))]) for n in range(12)]
    system.feed([e._replace(headers=(*e.headers, ("again", b"replay/1"))) for e in emissions])
    partition, provider = emissions[0].partition, Provider(takes)
    with running_lanes(system, channels={"push": provider}, open_max=5) as (lanes, _):
        lane, unread = lanes.lane(partition), read(system, partition)

        def turn() -> bool:
            if unread and "deliver.push" not in lanes.full(partition):
                lane.accept([unread.pop(0)])
            lane.collect()
            lane.epoch()
            return len(provider.keys) == 12 and not lane.open

        wait_for(turn)


def test_how_long_a_delivery_took_since_its_decision_is_measured_by_class(system: System) -> None:
    def measured(what: str) -> float:
        return REGISTRY.get_sample_value(f"carillon_decided_to_provider_seconds_{what}", {"priority": "P1"}) or 0.0

    emission, before = system.emission("u1", "push", [("d1", token("a"))]), (measured("count"), measured("sum"))
    value = json.loads(emission.value)
    value["decided_at"] = now_ms() - 20_000
    with running_lanes(system, channels={"push": Provider(takes)}) as (lanes, _):
        system.feed([emission._replace(value=json.dumps(value).encode())])
        lane = lanes.lane(emission.partition)
        lane.accept(read(system, emission.partition))
        collected(lane)
    assert measured("count") == before[0] + 1
    assert 20 <= measured("sum") - before[1] < 60


def test_ended_deliveries_are_let_go_of_without_pythons_collector(system: System) -> None:
    """It stops the process for each hundred thousand objects that it has to look at."""
    emissions = [system.emission("u1", "push", [(f"d{d}", token(f"{n}{d}")) for d in range(n + 1)]) for n in range(4)]
    system.feed(emissions)

    with no_collector(SendTask) as left, running_lanes(system, channels={"push": Provider(takes)}) as (lanes, _):
        lane = lanes.lane(emissions[0].partition)
        lane.accept(read(system, emissions[0].partition))
        wait_for(lambda: lane.collect() is not None and not lane.open)
        wait_for(lambda: left() <= 0)


def test_each_device_is_sent_to_by_the_provider_of_its_platform(system: System) -> None:
    emission = system.emission("u1", "push", [(name, token(name)) for name in ("phone", "tablet", "old", "tv")])
    value = json.loads(emission.value)
    for device, platform in zip(value["devices"], ("ios", "Android", None, "tvos"), strict=True):
        device["platform"] = platform
    android, other = Provider(takes), Provider(takes)
    with running_lanes(system, channels={("push", ANY): other, ("push", "android"): android}) as (lanes, _):
        system.feed([emission._replace(value=json.dumps(value).encode())])
        lane = lanes.lane(emission.partition)
        lane.accept(read(system, emission.partition))
        wait_for(lambda: len(other.keys) + len(android.keys) == 4)
    prefix = f"{value['emission_id']}/u1/push"
    assert android.keys == [f"{prefix}/tablet"]
    assert sorted(other.keys) == [f"{prefix}/old", f"{prefix}/phone", f"{prefix}/tv"]


def test_what_fails_by_mail_goes_on_to_an_android_phone_where_no_other_push_is_served(system: System) -> None:
    rest = [{"channel": "push", "devices": addresses([("d1", token("a"), "android")])}]
    emission = system.emission("u1", "email", [("m", "ann@example.org")], rest=rest)
    mail, android = Provider(refuses), Provider(takes)
    with running_lanes(system, channels={("email", ANY): mail, ("push", "android"): android}) as (lanes, _):
        system.feed([emission])
        lane = lanes.lane(emission.partition)
        lane.accept(read(system, emission.partition, emission.topic))
        wait_for(lambda: len(android.keys) == 1)
    assert len(mail.keys) == 1


def test_a_device_that_is_another_phone_now_is_sent_to_by_the_provider_of_that_one(system: System) -> None:
    emission = system.emission("u1", "push", [("d1", token("a"))])
    system.feed([system.endpoint("u1", "push", "d1", "f:" + "A" * 60, platform="android")])
    changes = Changes(system.log, now_ms=now_ms()).start()
    apple, android = Provider(takes), Provider(takes)
    providers: dict[Place, Provider] = {("push", ANY): apple, ("push", "android"): android}
    look = replace(last_look(system), changes=changes)
    try:
        wait_for(lambda: changes.endpoint("u1", "push", "d1"))
        with running_lanes(system, channels=providers, last_look=look) as (lanes, _):
            system.feed([emission])
            lanes.lane(emission.partition).accept(read(system, emission.partition))
            wait_for(lambda: apple.keys or android.keys)
    finally:
        changes.close()
    assert (len(apple.keys), len(android.keys)) == (0, 1)


async def refuses(_delivery: Delivery) -> Result:
    return Rejected("data 550")


async def does_not_answer(_delivery: Delivery) -> Result:
    return Failed("no answer within the deadline", retryable=True, ambiguous=True)


def collected(lane: Lane) -> list[NewRecord]:
    """What the lane tells when its deliveries have ended, without counts."""
    told: list[NewRecord] = []

    def ended() -> bool:
        told.extend(record for record in lane.collect() if schema_of(record.headers) != "counts/1+json")
        return bool(told)

    wait_for(ended)
    return told


def attempts_of_an_unknown(system: System) -> list[Attempt]:
    """Everything that `attempts` holds after a provider took a message perhaps."""
    emission, provider = system.emission("u1", "push", [("d1", token("a"))]), Provider(does_not_answer)
    with running_lanes(system, channels={"push": provider}) as (lanes, _):
        system.feed([emission])
        lane = lanes.lane(emission.partition)
        lane.accept(read(system, emission.partition))
        collected(lane)
    return [ATTEMPT.decode(record.value) for record in system.read("attempts")]


def test_wherever_the_storing_of_an_ambiguous_answer_ends_it_is_not_sent_again(system: System) -> None:
    stored = attempts_of_an_unknown(system)
    assert sorted(attempt.state for attempt in stored) == ["answer", "closed", "intent"]
    found = [fold(part)[stored[0].key] for part in accumulate([attempt] for attempt in stored)]
    assert [resume(history, "P1") for history in found] == ["unknown", "over", "over"]
    assert (found[-1].outcome, found[-1].made[-1].answer) == ("UNKNOWN", "failed: no answer within the deadline")


def test_a_search_takes_an_answer_behind_its_end_for_no_new_delivery(system: System) -> None:
    stored = attempts_of_an_unknown(system)
    ended: list[str] = []
    partition = next(record.partition for record in system.read("attempts"))
    search = AttemptSearch(system.log, partition, 0, now_ms(), ended.extend)
    wait_for(search.ready)
    assert (ended, search.histories) == ([stored[0].key], {})


class StaleFence:
    """Of a process that was stopped between an intent and its send: the look is old, and nobody took over."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def is_fresh(self) -> bool:
        return False

    def check(self) -> None:
        self._meanwhile()


@pytest.mark.parametrize("outcome", ["EXPIRED", "SUPPRESSED", "DELIVERED"])
def test_a_send_after_a_pause_is_judged_as_of_its_end(system: System, outcome: str) -> None:
    switches: list[str] = []
    ttl_ms = 3_000 if outcome == "EXPIRED" else 60_000
    pauses = {
        "EXPIRED": lambda: time.sleep(ttl_ms / 1000 + 0.1),
        "SUPPRESSED": lambda: switches.append("on"),
        "DELIVERED": lambda: None,
    }
    emission = system.emission("u1", "push", [("d1", token("a"))], valid_until=now_ms() + ttl_ms)
    system.feed([emission])
    provider, fence = Provider(takes), StaleFence(pauses[outcome])
    given: dict[str, Any] = {"fence": fence, "last_look": last_look(system, lambda _scope: bool(switches))}
    with running_lanes(system, channels={"push": provider}, **given) as (lanes, dispatcher):
        lane = lanes.lane(emission.partition)
        lane.accept(read(system, emission.partition))
        told = collected(lane)
        assert json.loads(told[0].value)["outcome"] == outcome
        assert len(provider.keys) == (outcome == "DELIVERED")
        assert dispatcher.queues.in_flight == 0
    assert system.values("attempts")[0]["state"] == "intent", "the pause came too early"


async def refuses_for_now(_delivery: Delivery) -> Result:
    return Failed("ServiceUnavailable", retryable=True, retry_after=timedelta(minutes=1))


@pytest.mark.parametrize(("priority", "outcome"), [("P1", "EXPIRED"), ("P0", "DEAD_LETTER")])
def test_what_fails_with_no_time_left_for_its_retry_expires(system: System, priority: str, outcome: str) -> None:
    """It is no dead letter: giving it back could not bring it to anybody. P0 is always told."""
    emission = system.emission("u1", "push", [("d1", token("a"))], valid_until=now_ms() + 30_000, priority=priority)
    system.feed([emission])
    provider = Provider(refuses_for_now)
    with running_lanes(system, channels={"push": provider}) as (lanes, _):
        lane = lanes.lane(emission.partition)
        lane.accept(read(system, emission.partition))
        told = collected(lane)
    record = json.loads(told[0].value)
    assert (record["outcome"], record["reason"], len(provider.keys)) == (outcome, "ServiceUnavailable", 1)
    assert len([each for each in told if each.topic == "dead_letters"]) == (outcome == "DEAD_LETTER")


async def hangs(_delivery: Delivery) -> Result:
    await asyncio.sleep(3_600)
    return Sent("never")


def test_all_lanes_of_a_process_drain_within_one_deadline(system: System) -> None:
    emissions = [system.emission(user, "push", [("d1", token(user))]) for user in ("u1", "u2", "u3", "u4")]
    system.feed(emissions)
    partitions, provider = {emission.partition for emission in emissions}, Provider(hangs)
    assert len(partitions) == 2
    with running_lanes(system, channels={"push": provider}) as (lanes, dispatcher):
        for partition in partitions:
            lanes.lane(partition).accept(read(system, partition))
        wait_for(lambda: len(provider.keys) == 4)
        began = time.monotonic()
        for _ in partitions:  # as each lane does at its end
            assert not dispatcher.drain(timedelta(seconds=4))
        assert 3.9 < time.monotonic() - began < 7.5
        assert dispatcher.queues.in_flight == 4


@pytest.mark.parametrize("hours", [0, 48])
def test_what_was_sent_after_the_last_commit_is_known_after_a_clock_that_was_ahead(system: System, hours: int) -> None:
    """An epoch ends before its record is read again, as it does behind a backlog."""
    first, second = (system.emission("u1", "push", [("d1", token(n))]) for n in "ab")
    provider = Provider(takes)
    system.feed([first])
    ahead_ms = hours * 3_600_000
    with running_lanes(system, channels={"push": provider}, lane_clock=lambda: now_ms() + ahead_ms) as (lanes, _):
        lane = lanes.lane(first.partition)
        lane.accept(read(system, first.partition))
        collected(lane)
        for _ in range(3):
            lane.epoch()
    system.feed([second])
    with running_lanes(system, channels={"push": provider}) as (lanes, _):
        lane = lanes.lane(first.partition)
        lane.accept(read(system, first.partition))
        collected(lane)
    with running_lanes(system, channels={"push": provider}) as (lanes, dispatcher):
        lane, passed = lanes.lane(first.partition), threading.Event()
        lane.epoch()
        dispatcher.after(passed.set)
        assert passed.wait(60)
        lane.epoch()
        lane.accept(read(system, first.partition))
        collected(lane)
    assert len(provider.keys) == 2
