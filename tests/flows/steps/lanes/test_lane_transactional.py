"""A lane of transactional that ends at a chosen instant and starts again, in this process; the provider says what it is
told to.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from helpers.feeding import System, now_ms, token
from helpers.heap import no_collector
from helpers.lanes_in_process import Provider, read, running_lanes
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord, Record
from connectors.providers.channel import Delivery, Failed, Result, Sent
from flows.steps.lanes.lane import Lane
from flows.steps.sending.task import SendTask
from operators.retry import BUDGETS
from operators.transactional import HURRY_MS
from state.model.keys import key_group, partition_of_group

USER = "u1"


def answers(result: Result) -> Provider:
    """Every message alike."""

    async def answer(_delivery: Delivery) -> Result:
        return result

    return Provider(answer)


async def never(_delivery: Delivery) -> Result:
    await asyncio.sleep(3600)
    return Sent("too late")


class Lanes:
    """Starts of the one lane that the user is in, on one directory."""

    def __init__(self, system: System, *, config: str = "", behind_ms: int = 0) -> None:
        (system.directory / "carillon.toml").write_text(config)
        self.system, self.behind_ms = system, behind_ms
        self.number = partition_of_group(key_group(USER), system.log.partitions("events.p0"))
        self._read = 0

    def clock(self) -> int:
        return now_ms() - self.behind_ms

    @contextmanager
    def started(self, **channels: Provider) -> Iterator[Lane]:
        running = running_lanes(self.system, station="transactional", lane_clock=self.clock, channels=channels)
        with running as (lanes, _):
            yield lanes.lane(self.number)

    def new_events(self) -> list[Record]:
        """What was fed since the last call."""
        records = read(self.system, self.number, "events.p0", self._read)
        self._read += len(records)
        return records


def settle(lane: Lane) -> list[NewRecord]:
    """Collect until every delivery has ended."""
    records = lane.collect()

    def over() -> bool:
        records.extend(lane.collect())
        return not lane.open

    wait_for(over)
    return records


def answered(system: System) -> int:
    """How many stand in `attempts`."""
    return sum(value["state"] == "answer" for value in system.values("attempts"))


def test_after_a_kill_the_records_of_what_is_open_come_before_those_of_new_events(system: System) -> None:
    """Readers drop what is not above the mark of its group: what came late would be lost."""
    system.feed([system.endpoint(USER, "push", "d1", token("a"))])
    lanes, push = Lanes(system), Provider(never)
    with lanes.started(push=push) as lane:
        system.feed([system.p0(USER, "password_reset")])
        lane.accept(lanes.new_events())  # killed before its records were in the log
    with lanes.started(push=push) as lane:
        system.feed([system.p0(USER, "password_reset")])
        records = [*lane.accept(lanes.new_events()), *lane.collect()]
    rows = [record for record in records if record.topic == "inbox"]
    assert [json.loads(row.value)["place"] for row in rows] == [0, 1]


def test_what_was_answered_is_not_sent_again_however_the_epochs_fell(system: System) -> None:
    """The row of the last event is open yet when the one before it is closed."""
    system.feed([system.endpoint(USER, "push", "d1", token("a"))])
    lanes, push = Lanes(system), answers(Sent("p"))
    with lanes.started(push=push) as lane:
        for _ in range(2):
            system.feed([system.p0(USER)])
            lane.accept(lanes.new_events())
            settle(lane)
            lane.epoch()
    assert len(push.keys) == 2
    with lanes.started(push=push) as lane:
        settle(lane)
    assert len(push.keys) == 2


def test_push_first_sends_the_text_message_once_however_often_it_starts(system: System) -> None:
    """Its timer came before the first kill; the decision stays open, since the push is to be tried again."""
    system.feed([
        system.endpoint(USER, "push", "d1", token("a")),
        system.endpoint(USER, "sms", "s", "+14155550101"),
    ])  # fmt: skip
    lanes = Lanes(system, config='[types.otp]\npolicy = "push_first"\n', behind_ms=HURRY_MS - 200)
    push, sms = answers(Failed("503", retry_after=timedelta(seconds=20))), answers(Sent("p"))
    system.feed([system.p0(USER, ingested_at=lanes.clock())])
    with lanes.started(push=push, sms=sms) as lane:
        lane.accept(lanes.new_events())
        wait_for(lambda: sms.keys)
        wait_for(lambda: answered(system) == 2)
    for _ in range(3):
        with lanes.started(push=push, sms=sms) as lane:
            lane.collect()
            time.sleep(0.2)
            assert lane.open
    assert (len(push.keys), len(sms.keys)) == (1, 1)


@pytest.mark.parametrize("policy", ["push_first", "all"])
def test_codes_that_ended_are_let_go_of_without_pythons_collector(system: System, policy: str) -> None:
    """With push_first once its timer has asked how they ended."""
    sms = system.endpoint(USER, "sms", "s", "+14155550101")
    system.feed([system.endpoint(USER, "push", "d1", token("a")), sms])
    lanes = Lanes(system, config=f'[types.otp]\npolicy = "{policy}"\n', behind_ms=HURRY_MS - 200)

    with no_collector(SendTask) as left, lanes.started(push=answers(Sent("p")), sms=answers(Sent("p"))) as lane:
        system.feed([system.p0(USER, ingested_at=lanes.clock()) for _ in range(3)])
        lane.accept(lanes.new_events())
        settle(lane)

        def let_go() -> bool:
            lane.collect()
            lane.epoch()
            return left() <= 0

        wait_for(let_go)


def test_no_code_is_too_old_because_the_clock_was_ahead_before(system: System) -> None:
    system.feed([system.endpoint(USER, "push", "d1", token("a"))])
    lanes, push = Lanes(system, behind_ms=-7_200_000), answers(Sent("p"))
    with lanes.started(push=push) as lane:
        for lanes.behind_ms in (-7_200_000, 0):
            system.feed([system.p0(USER, ingested_at=lanes.clock())])
            lane.accept(lanes.new_events())
            settle(lane)
    assert len(push.keys) == 2


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
    """Each start finds the last intent open, which was a try of its budget."""
    system.feed([system.endpoint(USER, "push", "d1", token("a"))])
    lanes, push = Lanes(system), Provider(never)
    tries = 1 + BUDGETS["P0"].retries
    system.feed([system.p0(USER)])
    with lanes.started(push=push) as lane:
        lane.accept(lanes.new_events())
        wait_for(lambda: push.keys)
    (intent,) = system.read("attempts")
    for attempt in range(2, tries):  # as so many starts would
        value = json.dumps(json.loads(intent.value) | {"attempt": attempt}).encode()
        system.feed([NewRecord("attempts", intent.partition, intent.key, value, intent.headers)])
    with lanes.started(push=push):
        wait_for(lambda: len(push.keys) == 2)
    with lanes.started(push=push) as lane:
        records = settle(lane)
    assert len(push.keys) == 2
    (ended,) = [value for record in records if (value := json.loads(record.value)).get("kind") == "delivery"]
    assert (ended["outcome"], ended["reason"], len(ended["attempts"])) == ("DEAD_LETTER", "interrupted", tries)


def test_the_counts_of_a_lane_that_drains_are_those_of_its_end(system: System) -> None:
    """However short a time it is since the ones before."""
    system.feed([system.endpoint(USER, "push", "d1", token("a"))])
    lanes, push = Lanes(system), answers(Sent("p"))
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
