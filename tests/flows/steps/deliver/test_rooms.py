"""Mails that wait, as a warm-up makes them wait, keep no push waiting in the log."""

from __future__ import annotations

from datetime import timedelta

import pytest
from helpers.feeding import System, now_ms, token
from helpers.lanes_in_process import TOPICS, Provider, running_lanes
from helpers.waiting import wait_for

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.source import LogSource
from connectors.providers.channel import Delivery, Rejected, Result, Sent
from flows.steps.sending.queue import ProviderBounds
from flows.steps.sending.rate import SendRate
from state.model.addresses import ANY


async def takes(_delivery: Delivery) -> Result:
    return Sent("taken")


async def refuses(_delivery: Delivery) -> Result:
    return Rejected("no such device")


@pytest.mark.parametrize("by", ["mail", "falling back to mail"])
def test_a_push_does_not_wait_behind_mails_that_wait_for_their_rate(system: System, by: str) -> None:
    """Twenty pushes are the lane's room, five mails; forty mails come first, and one goes in a minute."""
    push, first, mail = Provider(takes), Provider(refuses), Provider(takes)
    bounds = {
        ("push", ANY): [ProviderBounds(push, 50, SendRate("push", 1_000.0))],
        ("push", "web"): [ProviderBounds(first, 50, SendRate("first", 1_000.0))],
        ("email", ANY): [ProviderBounds(mail, 50, SendRate("mail", 1 / 60))],
    }
    if by == "mail":
        slow = [system.emission("u1", "email", [("m", f"u{n}@example.org")]) for n in range(40)]
    else:
        rest = [{"channel": "email", "devices": [{"id": "m", "address": "u@example.org", "registered_at": 1}]}]
        slow = [system.emission("u1", "push", [("w", token(n), "web")], rest=rest) for n in range(40)]
    system.feed(slow)
    partition = slow[0].partition
    with running_lanes(system, channels={}, providers=bounds, open_max=20) as (lanes, _):
        source = LogSource(
            lambda: EmbeddedLog(system.directory, clock=now_ms), TOPICS["deliver"], start=lambda _topic, _number: 0,
            budget=5, has_room=lanes.has_room, full=lanes.full, wait=lambda: timedelta(milliseconds=5),
        )  # fmt: skip
        lane, part = lanes.lane(partition), source.build_part("emissions", f"p{partition:03}", None)

        def turn() -> None:
            for records in part.next_batch():
                assert isinstance(records, list)
                lane.accept(records)
            part.snapshot()  # the next five
            lane.collect()
            lane.epoch()

        for _ in range(40):
            turn()
        system.feed([system.emission("u1", "push", [("d", token("now"))])])

        def sent() -> bool:
            turn()
            return bool(push.keys)

        wait_for(sent, 10)
        assert len(mail.keys) <= 1
        assert lane.open < 40 or by != "mail", "the bound for mails holds"
        part.close()
