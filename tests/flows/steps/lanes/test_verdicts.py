"""What a lane's deliveries say of a provider's hour, by which its words on addresses are judged."""

from dataclasses import replace

import pytest
from helpers.feeding import System, now_ms, token
from helpers.lanes_in_process import Provider, read, running_lanes
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord
from connectors.providers.channel import Delivery, Rejected, Result, Sent
from flows.steps.deliver.strategy import DeliverStrategy
from flows.steps.lanes.lane import Lane
from flows.steps.lanes.verdicts import Verdicts
from operators.brake import BrakeConfig

GONE = token("gone")


async def knows_most(delivery: Delivery) -> Result:
    return Rejected("gone", token_gone=now_ms()) if delivery.address == GONE else Sent("taken")


def told_of_one_gone(system: System, taken: int) -> list[NewRecord]:
    """What a lane tells at once of so many pushes that are taken, and of one more whose address is gone."""
    pushes = [system.emission("u1", "push", [("d1", token(number))], object=f"p{number}") for number in range(taken)]
    pushes.append(system.emission("u1", "push", [("d2", GONE)], object="last"))
    system.feed(pushes)
    partition, provider, told = pushes[0].partition, Provider(knows_most), list[NewRecord]()
    with running_lanes(system, channels={"push": provider}) as (lanes, dispatcher):
        judged = Verdicts(BrakeConfig(always=0, share=0.1))
        lane = Lane(replace(lanes.parts, verdicts=judged), partition, DeliverStrategy)

        def all_answered(count: int) -> bool:
            return len(provider.keys) == count and not dispatcher.queues.in_flight

        def is_over() -> bool:
            told.extend(lane.collect())
            return not lane.open

        records = read(system, partition)
        for count, part in ((taken, records[:-1]), (taken + 1, records[-1:])):
            lane.accept(part)
            wait_for(lambda expected=count: all_answered(expected))
        wait_for(is_over)
        lane.close()
    return told


@pytest.mark.parametrize(("taken", "believed"), [(19, 1), (0, 0)])
def test_what_was_taken_before_a_verdict_counts_also_where_both_end_together(
    system: System, taken: int, believed: int
) -> None:
    """One verdict among twenty answers is believed, the same word alone is not."""
    assert [record.topic for record in told_of_one_gone(system, taken)].count("endpoints") == believed
