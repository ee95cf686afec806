"""FAULTS S22: what providers say of addresses is counted by how long ago these were registered."""

from __future__ import annotations

import pytest
from helpers.feeding import System, now_ms, token
from helpers.lanes_in_process import Provider, read, running_lanes
from helpers.waiting import wait_for

from connectors.metrics import ADDRESS_ANSWERS
from connectors.providers.channel import Delivery, Rejected, Result, Sent
from operators.late import GIVEN_ADDRESS

DAY_MS = 86_400_000


async def answers(delivery: Delivery) -> Result:
    return Rejected("gone", token_gone=now_ms()) if delivery.device == "invented" else Sent("taken")


def counted() -> dict[tuple[str, str], float]:
    return {
        (registered, result): ADDRESS_ANSWERS.labels("push", registered, result)._value.get()
        for registered in ("day", "week", "older")
        for result in ("taken", "gone")
    }


@pytest.mark.parametrize(("days", "registered"), [(0.9, "day"), (1.1, "week"), (7.1, "older")])
def test_answers_are_counted_by_the_age_of_the_address(system: System, days: float, registered: str) -> None:
    """That of an event itself was not registered."""
    registered_at = now_ms() - int(days * DAY_MS)
    phones = [(name, token(name)) for name in ("invented", "true", "other", GIVEN_ADDRESS)]
    emission, before = system.emission("u1", "push", phones), counted()
    value = emission.value.replace(b'"registered_at": 1000', b'"registered_at": %d' % registered_at)
    system.feed([emission._replace(value=value)])
    with running_lanes(system, channels={"push": Provider(answers)}) as (lanes, _):
        lane = lanes.lane(emission.partition)
        lane.accept(read(system, emission.partition))

        def ended() -> bool:
            lane.collect()
            lane.epoch()
            return not lane.open

        wait_for(ended)
    more = {name: number - before[name] for name, number in counted().items() if number != before[name]}
    assert more == {(registered, "taken"): 2, (registered, "gone"): 1}
