"""What a lane of deliver remembers for a day goes a little in each epoch: no delivery waits until all was looked at.

Records that follow from one event for several people are told from those of several events.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from helpers.feeding import System, token
from helpers.lanes_in_process import read, running_lanes

from flows.steps.deliver.strategy import DeliverStrategy
from flows.steps.lanes.lane import Lane
from flows.steps.lanes.parts import lane_path
from flows.steps.sending.dispatcher import Dispatcher
from flows.steps.sending.task import SendTask
from state.deliver.store import PARTS, LaneCommit, SendingStore, key_digest
from state.model.keys import key_group


def remembered(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM sent").fetchone()[0])


def test_what_is_over_goes_in_many_epochs(system: System) -> None:
    path = lane_path(system.directory / "state" / "deliver", 0)
    with closing(SendingStore(path)) as store:
        keys = [key_digest(f"{number:027}/u1/push/d1") for number in range(1_000)]
        store.commit(LaneCommit({}, {}, {}, {}, {}, keys, 0))
    now = [0]
    with running_lanes(system, channels={}, lane_clock=lambda: now[0]) as (lanes, _):
        lane = lanes.lane(0)
        now[0] = 90_000_000
        lane.epoch()
        assert 900 < remembered(path) < 1_000
        for _ in range(PARTS - 1):
            lane.epoch()
        assert not remembered(path)


class Handed:
    """What a lane hands to a dispatcher, which does not get it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.for_many: list[bool] = []

    def submit(self, tasks: Sequence[SendTask]) -> None:
        self.for_many += [task.siblings.for_many for task in tasks]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dispatcher, name)


@pytest.mark.parametrize("together", [True, False])
def test_records_of_one_event_for_several_are_for_many(system: System, *, together: bool) -> None:
    first, second = [user for user in map("u{}".format, range(2_000)) if key_group(user) == 7][:2]
    records = [system.emission(user, "push", [("d1", token(user))]) for user in (first, second)]
    if together:
        records[1] = records[1]._replace(headers=(records[1].headers[0], ("seq", records[0].headers[1][1][:-1] + b"1")))
    system.feed(records)
    partition = records[0].partition
    with running_lanes(system, channels={}) as (lanes, dispatcher):
        handed = Handed(dispatcher)
        lane = Lane(replace(lanes.parts, dispatcher=cast("Dispatcher", handed)), partition, DeliverStrategy)
        lane.accept(read(system, partition))
        lane.close()
    assert handed.for_many == [together, together]
