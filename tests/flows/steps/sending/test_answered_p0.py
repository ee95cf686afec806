"""P0 whose tries at one provider are spent goes to the next one of its channel, before the next channel (RULES 4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from helpers.feeding import PARTITIONS, System, now_ms, token
from helpers.lanes_in_process import Answer, Provider, read, running_lanes
from helpers.waiting import wait_for
from prometheus_client import REGISTRY

from connectors.log.interface import NewRecord
from connectors.providers.channel import Delivery, Failed, Rejected, Result, Sent
from flows.steps.lanes.lane import Lane
from flows.steps.sending.queue import ProviderBounds
from flows.steps.sending.rate import SendRate
from operators.retry import BUDGETS
from operators.transactional import HURRY_MS
from state.model.addresses import ANY
from state.model.delivery import ATTEMPT, Attempt
from state.model.envelope import schema_of
from state.model.keys import key_group, partition_of_group

USER = "u1"
LANE = partition_of_group(key_group(USER), PARTITIONS)
SPENT = Failed("503", retry_after=timedelta(milliseconds=BUDGETS["P0"].within_ms + 1))
"""It asks for more time than there is for retries."""
REFUSED = Failed("InvalidProviderToken", retryable=False)


def provider(name: str, answer: Result | Answer) -> Provider:
    async def always(_delivery: Delivery) -> Result:
        assert not callable(answer)
        return answer

    made = Provider(answer if callable(answer) else always)
    made.name = name
    return made


class Sending:
    """One person with a phone and a number, two providers of push and one of text messages."""

    def __init__(
        self, system: System, policy: str, first: Result | Answer, second: Result, *, behind_ms: int = 0
    ) -> None:
        (system.directory / "carillon.toml").write_text(f'[types.otp]\npolicy = "{policy}"\n')
        system.feed(
            [system.endpoint(USER, "push", "d1", token("a")), system.endpoint(USER, "sms", "s", "+14155550101")]
        )
        self.system, self._behind_ms, self._read = system, behind_ms, 0
        self.first, self.second, self.sms = provider("a", first), provider("b", second), provider("sms", Sent("id"))
        self.told: list[dict[str, Any]] = []

    def clock(self) -> int:
        return now_ms() - self._behind_ms

    @contextmanager
    def running(self) -> Iterator[Lane]:
        given = {
            place: [ProviderBounds(each, 50, SendRate(each.name, 1_000.0)) for each in providers]
            for place, providers in {("push", ANY): [self.first, self.second], ("sms", ANY): [self.sms]}.items()
        }
        with running_lanes(
            self.system, station="transactional", channels={}, providers=given, lane_clock=self.clock
        ) as (lanes, _):
            lane = lanes.lane(LANE)
            events = read(self.system, LANE, "events.p0", self._read)
            self._read += len(events)
            self.hear(lane.accept(events))
            yield lane

    def hear(self, records: list[NewRecord]) -> None:
        self.told += [json.loads(each.value) for each in records if schema_of(each.headers) == "delivery/1+json"]

    def settle(self, lane: Lane) -> None:
        def over() -> bool:
            self.hear(lane.collect())
            return not lane.open

        wait_for(over)


@pytest.mark.parametrize("result", [SPENT, REFUSED])
def test_the_next_provider_comes_before_the_next_channel(system: System, result: Failed) -> None:
    sending = Sending(system, "first", result, Sent("id"))
    system.feed([system.p0(USER)])
    with sending.running() as lane:
        sending.settle(lane)
    (told,) = sending.told
    assert [each["provider"] for each in told["attempts"]] == ["a", "b"]
    assert (told["channel"], told["outcome"], sending.sms.keys) == ("push", "DELIVERED", [])


def test_and_the_next_channel_after_the_last_provider(system: System) -> None:
    sending = Sending(system, "first", SPENT, SPENT)
    system.feed([system.p0(USER)])
    with sending.running() as lane:
        sending.settle(lane)
    assert [(each["channel"], each["outcome"]) for each in sending.told] == [
        ("push", "FELL_BACK"),
        ("sms", "DELIVERED"),
    ]
    assert (len(sending.first.keys), len(sending.second.keys)) == (1, 1)


def test_where_every_channel_fails_a_code_ends_as_a_dead_letter_of_which_an_alert_is_given(system: System) -> None:
    def letters() -> float:
        return REGISTRY.get_sample_value("carillon_dead_letters_total", {"stage": "transactional"}) or 0.0

    sending, before = Sending(system, "first", SPENT, SPENT), letters()
    sending.sms = provider("sms", SPENT)
    system.feed([system.p0(USER)])
    with sending.running() as lane:
        sending.settle(lane)
    ends = [(each["channel"], each["outcome"]) for each in sending.told]
    assert ends == [("push", "FELL_BACK"), ("sms", "DEAD_LETTER")]
    assert letters() == before + 1, "what the alert goes by"


def test_what_lies_with_the_address_is_handed_to_nobody(system: System) -> None:
    sending = Sending(system, "first", Rejected("BadDeviceToken"), Sent("id"))
    system.feed([system.p0(USER)])
    with sending.running() as lane:
        sending.settle(lane)
    assert (sending.second.keys, len(sending.sms.keys)) == ([], 1)


def test_a_code_that_the_next_provider_takes_in_time_needs_no_text_message_and_a_late_one_does(system: System) -> None:
    """The ten seconds of push_first run on whoever is tried."""
    sending = Sending(system, "push_first", SPENT, Sent("id"))
    system.feed([system.p0(USER)])
    with sending.running() as lane:
        wait_for(lambda: sending.second.keys)
        assert sending.sms.keys == []
        assert lane.open, "the timer"
    late = Sending(System(system.directory / "late"), "push_first", SPENT, SPENT, behind_ms=HURRY_MS - 500)
    late.system.feed([late.system.p0(USER, ingested_at=late.clock())])
    with late.running():
        wait_for(lambda: late.sms.keys)
    assert (len(late.first.keys), len(late.second.keys), len(late.sms.keys)) == (1, 1, 1)


def test_a_code_that_no_start_could_finish_is_handed_on(system: System) -> None:
    """Its tries ended without an answer, each with the process."""

    async def never(_delivery: Delivery) -> Result:
        raise AssertionError("it is spent")

    sending = Sending(system, "first", never, Sent("id"))
    system.feed([system.p0(USER)])
    sending.first = provider("a", Failed("503", retry_after=timedelta(seconds=50)))
    with sending.running():
        wait_for(lambda: [each for each in system.values("attempts") if each["state"] == "answer"])
    (key,) = {each["key"] for each in system.values("attempts")}
    intents = [
        Attempt(state="intent", key=key, attempt=number, provider="a", provider_id="x", at=now_ms())
        for number in range(2, BUDGETS["P0"].retries + 2)
    ]
    schema = ATTEMPT.headers
    system.feed([NewRecord("attempts", LANE, key.encode(), msgspec.json.encode(each), schema) for each in intents])
    sending.first = provider("a", never)
    with sending.running() as lane:
        sending.settle(lane)
    (told,) = sending.told
    attempts = told["attempts"]
    assert (attempts[-2]["answer"], attempts[-1]["provider"]) == ("failed: interrupted", "b")
    assert (told["outcome"], told["channel"], sending.first.keys) == ("DELIVERED", "push", [])
