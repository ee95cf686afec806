"""What a lane of deliver remembers for a day goes a little in each epoch: no delivery waits until all was looked at."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from helpers.feeding import System
from helpers.lanes_in_process import running_lanes

from flows.steps.lanes.parts import lane_path
from state.deliver.store import PARTS, LaneCommit, SendingStore, key_digest


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
