"""A lane and its sender by themselves: bounds, deadlines, and what is judged again before a send."""

from __future__ import annotations

from delivery.feeding import System, token, wait_for
from delivery.in_process import Provider, read, running_lanes

from connectors.channel import Result, Sent


async def takes() -> Result:
    return Sent("taken")


def test_what_is_handed_out_again_beyond_the_bound_before_a_start_does_not_hold_the_start_up(system: System) -> None:
    emissions = [system.emission("u1", "push", [("d1", token(n))]) for n in range(12)]
    system.feed([e._replace(headers=(*e.headers, ("again", b"replay/1"))) for e in emissions])
    partition, provider = emissions[0].partition, Provider(takes)
    with running_lanes(system, provider, open_max=5) as (lanes, _):
        lane, unread = lanes.lane(partition), read(system, partition)

        def turn() -> bool:
            if unread and lanes.has_room(partition):
                lane.accept([unread.pop(0)])
            lane.collect()
            lane.epoch()
            return len(provider.keys) == 12 and not lane.open

        wait_for(turn, 5)
