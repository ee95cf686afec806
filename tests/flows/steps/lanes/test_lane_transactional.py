"""A P0 lane that ends at a chosen instant and starts again, in this process; the provider says what it is told to."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from helpers.feeding import System, now_ms, token
from helpers.lanes_in_process import last_look
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord, Record
from connectors.providers.channel import CheckResult, Delivery, Failed, Result, Sent
from flows.config.settings import load_settings
from flows.steps.lanes.lane import Lane
from flows.steps.lanes.parts import LaneParts
from flows.steps.sending.queue import ProviderLane
from flows.steps.sending.sender import Sender, SenderParts
from flows.steps.transactional.strategy import TOPIC, DecisionRules, TransactionalStrategy
from operators.retry import BUDGETS
from operators.transactional import HURRY_MS
from state.disk.poison import STARTS_MAX
from state.model.keys import key_group, partition_of_group

USER = "u1"


class Provider:
    """Answers every message alike, or none, and keeps the keys of what it was given."""

    def __init__(self, name: str, answer: Result | None) -> None:
        self.name, self._answer = name, answer
        self.given: list[str] = []

    def provider_id(self, key: str) -> str:
        return f"id-{key}"

    async def connect(self) -> None:
        pass

    async def check(self) -> CheckResult:
        return CheckResult(True, "")

    async def send(self, delivery: Delivery) -> Result:
        self.given.append(delivery.key)
        if self._answer is None:
            await asyncio.sleep(3600)
        return self._answer or Sent("too late")

    async def close(self) -> None:
        pass


class Lanes:
    """Starts of the one lane that the user is in, on one directory."""

    def __init__(self, system: System, *, config: str = "", behind_ms: int = 0) -> None:
        (system.directory / "carillon.toml").write_text(config)
        environment = {"CARILLON_CONFIG": str(system.directory / "carillon.toml")}
        self._registry = load_settings(data_dir=system.directory, environment=environment).registry()
        self.system, self._behind_ms = system, behind_ms
        self.number = partition_of_group(key_group(USER), system.log.partitions("events.p0"))
        self._read = 0

    def clock(self) -> int:
        return now_ms() - self._behind_ms

    @contextmanager
    def started(self, **providers: Provider) -> Iterator[Lane]:
        """What is not handed out at the end is lost, as after a kill."""
        log = self.system.log
        sender = Sender(
            SenderParts(
                log=log,
                lanes={name: ProviderLane(provider, 50, 1000.0) for name, provider in providers.items()},
                last_look=last_look(log),
                now_ms=now_ms,
                uniform=random.uniform,
            )
        )
        sender.start()
        parts = LaneParts(
            station="transactional", directory=self.system.directory / "state" / "transactional", log=log,
            sender=sender, topics=[TOPIC], lanes=log.partitions(TOPIC), now_ms=self.clock, run_ms=now_ms(),
        )  # fmt: skip
        rules = DecisionRules(self._registry, retention_ms=86_400_000)
        lane = Lane(parts, self.number, partial(TransactionalStrategy, rules=rules))
        try:
            yield lane
        finally:
            sender.close()
            lane.close()

    def new_events(self) -> list[Record]:
        """What was fed since the last call."""
        reader = self.system.log.reader({("events.p0", self.number): self._read})
        records = reader.poll(100, timedelta(seconds=1))
        reader.close()
        self._read += len(records)
        return records


def settle(lane: Lane) -> list[NewRecord]:
    """Collect until every delivery has ended."""
    records = lane.collect()

    def over() -> bool:
        records.extend(lane.collect())
        return not lane.open

    wait_for(over, 10)
    return records


def answers(system: System) -> int:
    """How many stand in `attempts`."""
    return sum(value["state"] == "answer" for value in system.values("attempts"))


def test_what_was_answered_is_not_sent_again_however_the_epochs_fell(system: System) -> None:
    """The row of the last event is open yet when the one before it is closed."""
    system.feed([system.endpoint(USER, "push", "d1", token("a"))])
    lanes, push = Lanes(system), Provider("push", Sent("p"))
    with lanes.started(push=push) as lane:
        for _ in range(2):
            system.feed([system.p0(USER)])
            lane.accept(lanes.new_events())
            settle(lane)
            lane.epoch()
    assert len(push.given) == 2
    with lanes.started(push=push) as lane:
        settle(lane)
    assert len(push.given) == 2


def test_push_first_sends_the_text_message_once_however_often_it_starts(system: System) -> None:
    """Its timer came before the first kill; the decision stays open, since the push is to be tried again."""
    system.feed([
        system.endpoint(USER, "push", "d1", token("a")),
        system.endpoint(USER, "sms", "s", "+14155550101"),
    ])  # fmt: skip
    lanes = Lanes(system, config='[types.otp]\npolicy = "push_first"\n', behind_ms=HURRY_MS - 200)
    push, sms = Provider("push", Failed("503", retry_after=timedelta(seconds=20))), Provider("sms", Sent("p"))
    system.feed([system.p0(USER, ingested_at=lanes.clock())])
    with lanes.started(push=push, sms=sms) as lane:
        lane.accept(lanes.new_events())
        wait_for(lambda: sms.given)
        wait_for(lambda: answers(system) == 2)
    for _ in range(3):
        with lanes.started(push=push, sms=sms) as lane:
            lane.collect()
            time.sleep(0.2)
            assert lane.open
    assert (len(push.given), len(sms.given)) == (1, 1)


def test_a_dead_letter_is_in_the_log_before_its_event_is_passed(system: System) -> None:
    """What the lane hands out is lost in a kill; the event is not read again."""
    event = system.p0(USER)
    system.feed([event._replace(value=event.value[:-5])])
    lanes = Lanes(system)
    with lanes.started() as lane:
        lane.accept(lanes.new_events())
    with lanes.started() as lane:
        lane.collect()
    (letter,) = system.values("dead_letters")
    assert (letter["kind"], letter["source"]) == ("malformed", ["events.p0", lanes.number, 0])


def test_a_code_that_is_never_answered_is_not_sent_at_every_start_for_ever(system: System) -> None:
    """Its budget and the starts that poison may cost are one bound: each start finds the last intent open."""
    system.feed([system.endpoint(USER, "push", "d1", token("a"))])
    lanes, push = Lanes(system), Provider("push", None)
    tries = 1 + BUDGETS["P0"].retries + STARTS_MAX
    system.feed([system.p0(USER)])
    with lanes.started(push=push) as lane:
        lane.accept(lanes.new_events())
        wait_for(lambda: push.given)
    (intent,) = system.read("attempts")
    for attempt in range(2, tries):  # as so many starts would
        value = json.dumps(json.loads(intent.value) | {"attempt": attempt}).encode()
        system.feed([NewRecord("attempts", intent.partition, intent.key, value, intent.headers)])
    with lanes.started(push=push):
        wait_for(lambda: len(push.given) == 2)
    with lanes.started(push=push) as lane:
        records = settle(lane)
    assert len(push.given) == 2
    (ended,) = [value for record in records if (value := json.loads(record.value)).get("kind") == "delivery"]
    assert (ended["outcome"], ended["reason"], len(ended["attempts"])) == ("DEAD_LETTER", "interrupted", tries)


def test_the_counts_of_a_lane_that_drains_are_those_of_its_end(system: System) -> None:
    """However short a time it is since the ones before."""
    system.feed([system.endpoint(USER, "push", "d1", token("a"))])
    lanes, push = Lanes(system), Provider("push", Sent("p"))
    counts: list[dict[str, int]] = []
    with lanes.started(push=push) as lane:
        for _ in range(3):
            system.feed([system.p0(USER)])
            lane.accept(lanes.new_events())
            settle(lane)
            counts += [
                value for record in lane.collect(last=True) if "in_flight" in (value := json.loads(record.value))
            ]
    assert [(each["resolved"], each["in_flight"]) for each in counts[-2:]] == [(2, 0), (3, 0)]
