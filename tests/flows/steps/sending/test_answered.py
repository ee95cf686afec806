"""A token that was registered again while the message to the old one was on its way (RULES 4, "Token")."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from helpers.feeding import PARTITIONS, System, now_ms, token
from helpers.lanes_in_process import Answer, Provider, read, registry_of, running_lanes
from helpers.waiting import wait_for

from connectors.changes import Changes
from connectors.providers.channel import Delivery, Rejected, Result, Sent
from flows.steps.sending.late import LastLook
from state.model.envelope import schema_of
from state.model.keys import key_group, partition_of_group

USER = "u1"
LANE = partition_of_group(key_group(USER), PARTITIONS)


@pytest.fixture
def changes(system: System) -> Iterator[Changes]:
    made = Changes(system.log, now_ms=now_ms()).start()
    yield made
    made.close()


class _Renewing:
    """Says of each token that it is gone, but for the last; by then the phone has registered the next one."""

    def __init__(self, system: System, changes: Changes, *tokens: str) -> None:
        self.system, self.changes, self.next = system, changes, [*tokens]
        self.seen: list[str] = []

    async def __call__(self, delivery: Delivery) -> Result:
        self.seen.append(delivery.address)
        if not self.next:
            return Sent("id")
        renewed = self.next.pop(0)
        self.system.feed([self.system.endpoint(USER, "push", "d1", renewed)])
        await asyncio.to_thread(wait_for, lambda: self.changes.owner("push", renewed) == USER)
        return Rejected("Unregistered", token_gone=now_ms())


async def _in_another_unit(_delivery: Delivery) -> Result:
    """A provider that says its time in microseconds, or in nanoseconds."""
    return Rejected("Unregistered", token_gone=time.time_ns())


def _told(system: System, changes: Changes, answer: Answer) -> list[dict[str, object]]:
    system.feed([system.emission(USER, "push", [("d1", token("a"))])])
    look = LastLook(lambda _scope: False, changes, registry_of(system))
    told: list[dict[str, object]] = []
    with running_lanes(system, channels={"push": Provider(answer)}, last_look=look) as (lanes, _):
        lane = lanes.lane(LANE)
        lane.accept(read(system, LANE))

        def over() -> bool:
            told.extend(json.loads(r.value) | {"schema": schema_of(r.headers)} for r in lane.collect())
            return not lane.open

        wait_for(over)
    return told


def test_it_is_sent_once_more_to_the_newer_one_which_stays_good(system: System, changes: Changes) -> None:
    answer = _Renewing(system, changes, token("b"))
    told = _told(system, changes, answer)
    assert answer.seen == [token("a"), token("b")]
    assert [each["outcome"] for each in told if each["schema"] == "delivery/1+json"] == ["DELIVERED"]
    assert not [each for each in told if each["schema"] == "endpoint/1+json"], "nothing is said of the newer one"


def test_but_only_once(system: System, changes: Changes) -> None:
    answer = _Renewing(system, changes, token("b"), token("c"))
    told = _told(system, changes, answer)
    assert answer.seen == [token("a"), token("b")]
    assert [each["outcome"] for each in told if each["schema"] == "delivery/1+json"] == ["DEAD_LETTER"]


def test_no_address_is_gone_as_of_a_time_to_come(system: System, changes: Changes) -> None:
    told = _told(system, changes, _in_another_unit)
    (verdict,) = [each for each in told if each["schema"] == "endpoint/1+json"]
    assert isinstance(gone_at := verdict["gone_at"], int)
    assert gone_at <= now_ms(), "what is registered from now on would be gone, too"
