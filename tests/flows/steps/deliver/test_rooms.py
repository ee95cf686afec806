"""Mails that wait, as a warm-up makes them wait, keep no push waiting in the log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from helpers.feeding import System, now_ms, token
from helpers.lanes_in_process import TOPICS, Provider, read, running_lanes
from helpers.waiting import wait_for

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord
from connectors.log.read_to_ends import end_of_records
from connectors.log.source import LogSource
from connectors.providers.channel import Delivery, Rejected, Result, Sent
from flows.steps.lanes.parts import lane_path
from flows.steps.lanes.steps import Lanes
from flows.steps.sending.queue import ProviderBounds
from flows.steps.sending.rate import SendRate
from state.deliver.store import SendingStore
from state.model.addresses import ANY


async def takes(_delivery: Delivery) -> Result:
    return Sent("taken")


async def refuses(_delivery: Delivery) -> Result:
    return Rejected("no such device")


class Reading:
    """Of one lane: twenty pushes are its room, five mails of which one goes in a minute; a look takes five records."""

    def __init__(self, system: System, lanes: Lanes, partition: int) -> None:
        source = LogSource(
            lambda: EmbeddedLog(system.directory, clock=now_ms), TOPICS["deliver"], start=lambda _topic, _number: 0,
            budget=5, has_room=lanes.has_room, full=lanes.full, wait=lambda: timedelta(milliseconds=5),
        )  # fmt: skip
        self.lane, self._part = lanes.lane(partition), source.build_part("emissions", f"p{partition:03}", None)

    def turn(self) -> None:
        for records in self._part.next_batch():
            assert isinstance(records, list)
            self.lane.accept(records)
        self._part.snapshot()  # the next five
        self.lane.collect()
        self.lane.epoch()

    def close(self) -> None:
        self._part.close()


@contextmanager
def reading(system: System, partition: int, push: Provider, mail: Provider) -> Iterator[Reading]:
    """Whoever has a browser is not reached there."""
    bounds = {
        ("push", ANY): [ProviderBounds(push, 50, SendRate("push", 1_000.0))],
        ("push", "web"): [ProviderBounds(Provider(refuses), 50, SendRate("first", 1_000.0))],
        ("email", ANY): [ProviderBounds(mail, 50, SendRate("mail", 1 / 60))],
    }
    with running_lanes(system, channels={}, providers=bounds, open_max=20) as (lanes, _):
        of_lane = Reading(system, lanes, partition)
        yield of_lane
        of_lane.close()


def falling_back(system: System, count: int) -> list[NewRecord]:
    rest = [{"channel": "email", "devices": [{"id": "m", "address": "u@example.org", "registered_at": 1}]}]
    return [system.emission("u1", "push", [("w", token(n), "web")], rest=rest) for n in range(count)]


@pytest.mark.parametrize("by", ["mail", "falling back to mail"])
def test_a_push_does_not_wait_behind_mails_that_wait_for_their_rate(system: System, by: str) -> None:
    push, mail = Provider(takes), Provider(takes)
    mails = [system.emission("u1", "email", [("m", f"u{n}@example.org")]) for n in range(30)]
    slow = mails if by == "mail" else falling_back(system, 30)
    system.feed(slow)
    with reading(system, slow[0].partition, push, mail) as lane:
        for _ in range(40):
            lane.turn()
        system.feed([system.emission("u1", "push", [("d", token("now"))])])

        def sent() -> bool:
            lane.turn()
            return bool(push.keys)

        wait_for(sent, 40)
        assert len(mail.keys) <= 1
        assert lane.lane.open < 30 or by != "mail", "the bound for mails holds"


def test_what_falls_back_to_a_slow_channel_is_bounded_too(system: System) -> None:
    """By all rooms together, which are forty; and what was read in one look."""
    slow, mail = falling_back(system, 60), Provider(takes)
    system.feed(slow)
    with reading(system, slow[0].partition, Provider(takes), mail) as lane:

        def many() -> bool:
            lane.turn()
            return lane.lane.open >= 40

        wait_for(many, 40)
        for _ in range(20):
            lane.turn()
            time.sleep(0.01)
        assert lane.lane.open <= 45
        assert len(mail.keys) <= 1


def test_what_is_taken_back_takes_room_of_push_alone(system: System) -> None:
    """Nineteen wait for one push whose end the lane has not been told: more than the room of any other channel."""
    phone = ("d", token("d"))
    shown = system.emission("u1", "push", [phone])
    system.feed([shown, *(system.withdrawal("u1", [phone]) for _ in range(19))])
    with running_lanes(system, channels={"push": Provider(takes)}, open_max=20) as (lanes, _):
        lane = lanes.lane(shown.partition)
        lane.accept(read(system, shown.partition))
        assert (lane.open, list(lanes.full(shown.partition))) == (20, ["deliver.push"])


def attempts_from(system: System, partition: int) -> int:
    """Where a start would begin to read `attempts`."""
    store = SendingStore(lane_path(system.directory / "state" / "deliver", partition))
    found = store.load().attempts_from[partition]
    store.close()
    return found


def test_a_start_with_a_full_channel_is_over_before_that_channel_is_read(system: System) -> None:
    """Thirty mails, one of which goes in a minute: what is handed out again goes at once, and no attempt is kept."""
    push, mail = Provider(takes), Provider(takes)
    mails = [system.emission("u1", "email", [("m", f"u{n}@example.org")]) for n in range(30)]
    partition = mails[0].partition
    system.feed([*mails, *(system.emission("u1", "push", [("d", token(str(n)))]) for n in range(10))])
    with reading(system, partition, push, mail) as lane:

        def sent() -> bool:
            lane.turn()
            return len(push.keys) == 10

        wait_for(sent, 40)
        for _ in range(5):
            lane.turn()
    known = end_of_records(system.log, ("attempts", partition), 0)
    lost = system.emission("u1", "push", [("d", token("lost"))])
    system.feed([lost._replace(headers=(*lost.headers, ("again", b"1")))])
    for _ in range(2):  # what it then has open it reads again, however much that is
        with reading(system, partition, push, mail) as lane:

            def sent_again() -> bool:
                lane.turn()
                return len(push.keys) == 11 and set(lane.lane.full(20)) == {"deliver.email"}

            wait_for(sent_again, 40)
            for _ in range(5):
                lane.turn()
            assert lane.lane.open < 20
    assert attempts_from(system, partition) >= known
    assert len(mail.keys) == len(set(mail.keys))
