"""Who may change where decide's key groups are kept, and who waits for whom."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.logs import captured_logs

from flows.process.cluster import ClusterPlace
from flows.recovery.slots import DecideSlot, PlacementLock, settle_placement
from state.decide.moving import Layout, move_groups, publish_offsets, read_layout
from state.disk.lock import StateLock
from state.model.errors import ConfigurationError, StateDamagedError, StateLockedError

ONE, TWO = Layout(1, 1), Layout(2, 1)
AT_ONCE, PATIENT = timedelta(), timedelta(seconds=15)


@contextmanager
def _for_a_moment(lock: PlacementLock) -> Iterator[list[float]]:
    """Somebody else's lock, given back after 0.3 s; when that was."""
    freed: list[float] = []

    def free() -> None:
        time.sleep(0.3)
        freed.append(time.monotonic())
        lock.close()

    other = threading.Thread(target=free)
    other.start()
    yield freed
    other.join()


def test_many_live_by_a_placement_and_one_alone_changes_it(tmp_path: Path) -> None:
    first, second = PlacementLock(tmp_path / "decide"), PlacementLock(tmp_path / "decide")
    assert [first.share(), second.share(), first.own()] == [True, True, False]
    second.free()
    assert [first.own(), second.share(), second.own()] == [True, False, False]
    first.close()
    assert second.own()
    second.close()


def test_a_placement_that_is_settled_is_left_alone(tmp_path: Path) -> None:
    move_groups(tmp_path, TWO)
    other = PlacementLock(tmp_path)
    assert other.share()
    with captured_logs() as told:
        settle_placement(tmp_path, TWO, others_end_within=AT_ONCE).close()
    assert told == []
    other.close()


@pytest.mark.parametrize(("before", "told_before"), [(None, None), (ONE, 1)])
def test_groups_are_moved_where_they_are_placed_otherwise(
    tmp_path: Path, before: Layout | None, told_before: int | None
) -> None:
    if before is not None:
        move_groups(tmp_path, before)
    with captured_logs() as told:
        lock = settle_placement(tmp_path, TWO, others_end_within=AT_ONCE)
    assert read_layout(tmp_path) == TWO
    assert [(each["before"], each["processes"], each["workers"]) for each in told] == [(told_before, 2, 1)]
    others = PlacementLock(tmp_path)
    assert [others.share(), others.own()] == [True, False], "shared from then on, and held"
    lock.close()
    others.close()


def test_who_lives_by_another_placement_is_waited_for(tmp_path: Path) -> None:
    move_groups(tmp_path, ONE)
    alive = PlacementLock(tmp_path)
    assert alive.share()
    with _for_a_moment(alive) as freed:
        settle_placement(tmp_path, TWO, others_end_within=PATIENT).close()
        assert freed
    assert read_layout(tmp_path) == TWO


@pytest.mark.parametrize("names", [["decide, process 0 of 1"], []])
def test_who_does_not_end_is_named(tmp_path: Path, names: list[str]) -> None:
    move_groups(tmp_path, ONE)
    alive = PlacementLock(tmp_path)
    assert alive.share()
    owners = [StateLock.acquire(tmp_path / "0", name) for name in names]
    with pytest.raises(StateLockedError) as refused:
        settle_placement(tmp_path, TWO, others_end_within=AT_ONCE)
    last_seen = str(refused.value).partition("Last seen: ")[2]
    assert last_seen.partition(" ")[2] == names[0] if names else last_seen == "unknown"
    assert read_layout(tmp_path) == ONE
    for owner in owners:
        owner.release()
    alive.close()
    assert PlacementLock(tmp_path).own(), "who was refused holds nothing"


def test_who_moves_groups_is_waited_for(tmp_path: Path) -> None:
    """Also by one who waits for nobody that lives by a placement: a move ends by itself."""
    move_groups(tmp_path, TWO)
    mover = PlacementLock(tmp_path)
    assert mover.own()
    with _for_a_moment(mover) as freed:
        settle_placement(tmp_path, TWO, others_end_within=AT_ONCE).close()
        assert freed


def test_a_slot_is_one_process_and_its_groups(tmp_path: Path) -> None:
    slot = DecideSlot(tmp_path, ClusterPlace(1, 2, 1), others_end_within=AT_ONCE)
    assert slot.groups == {group for group in range(240) if group % 2}
    with pytest.raises(StateLockedError, match="process 1 of 2"):
        DecideSlot(tmp_path, ClusterPlace(1, 2, 1), others_end_within=AT_ONCE)
    slot.publish()
    assert json.loads((tmp_path / "1" / "offsets.json").read_text())["next"] == {str(each): 0 for each in slot.groups}
    with pytest.raises(StateDamagedError, match="key group 0"):
        slot.first_offset(0, 4)
    publish_offsets(tmp_path, 0, {group: 1000 + group for group in range(0, 240, 2)})
    publish_offsets(tmp_path, 1, {group: 500 + group for group in range(1, 240, 2)})
    assert [slot.first_offset(partition, 4) for partition in range(4)] == [501, 561, 621, 681]
    slot.close()
    DecideSlot(tmp_path, ClusterPlace(1, 2, 1), others_end_within=AT_ONCE).close()


def test_a_number_of_workers_that_does_not_divide_the_groups_takes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="evenly"):
        DecideSlot(tmp_path, ClusterPlace(0, 7, 1))
    assert list(tmp_path.iterdir()) == []
