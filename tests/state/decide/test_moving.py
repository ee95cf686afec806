"""Key groups move between the slots of decide's processes, whole, through any crash."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import work_log
from helpers.flow_bench import PARTITIONS, REGISTRY
from helpers.places import ROOT

from flows.steps.decide.group import GroupDecider
from state.decide import codec
from state.decide.checkpoint import FORMAT, GroupStore
from state.decide.exports import copy_group, group_rows
from state.decide.moving import Layout, move_groups, publish_offsets, published_offset, read_layout
from state.disk.packing import pack, u32, unpack
from state.disk.poison import PoisonJournal
from state.disk.rocksdb import open_database
from state.model.errors import ConfigurationError, StateDamagedError
from state.model.keys import KEY_GROUPS, groups_of_partition, key_group

Rows = dict[int, dict[bytes, bytes]]
LAYOUTS = [Layout(1, 1), Layout(2, 2), Layout(4, 1), Layout(3, 1), Layout(1, 1)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an only process: rows of every kind."""
    directory = tmp_path_factory.mktemp("stored")
    store = GroupStore(directory / "0" / "rocksdb")
    journal = PoisonJournal.open(directory / "poison")
    deciders = [GroupDecider(group, store, REGISTRY, journal, partitions=PARTITIONS) for group in range(KEY_GROUPS)]
    records = work_log.day(random.Random(3))
    for offset, record in enumerate(records[: len(records) // 2]):
        for group in [int(record.key)] if record.key else groups_of_partition(record.partition, PARTITIONS):
            deciders[group].decide([(offset, record.value)])
    deciders[key_group("u1")].decide([(len(records), b"no record")])
    for decider in deciders:
        decider.settle()
        decider.collect()
    store.commit()
    store.close()
    (directory / "poison").unlink()
    return directory


@pytest.fixture
def directory(stored: Path, tmp_path: Path) -> Path:
    shutil.copytree(stored, tmp_path / "decide")
    return tmp_path / "decide"


def _rows(directory: Path) -> dict[int, Rows]:
    """By slot and group."""
    found: dict[int, Rows] = {}
    for path in directory.glob("*/rocksdb"):
        database = open_database(path, FORMAT)
        of_slot = {group: dict(group_rows(database, group)) for group in range(KEY_GROUPS)}
        # A slot may still know what groups skipped that went away: only a whole group counts.
        found[int(path.parent.name)] = {
            group: rows for group, rows in of_slot.items() if {key[:1] for key in rows} - {b"X"}
        }
        database.close()
    return found


def _assert_placed(directory: Path, layout: Layout, expected: Rows) -> None:
    found = _rows(directory)
    assert set(found) == set(range(layout.processes))
    for slot, groups in found.items():
        assert groups.keys() == expected.keys() & set(layout.groups_of(slot))
        assert groups == {group: expected[group] for group in groups}


def test_groups_move_with_all_that_is_theirs(directory: Path) -> None:
    expected = _rows(directory)[0]
    assert {key[:1] for rows in expected.values() for key in rows} >= {b"M", b"G", b"V", b"E", b"X"}
    before = LAYOUTS[0]
    for layout in LAYOUTS:
        elsewhere = [group for group in expected if before.slot_of(group) != layout.slot_of(group)]
        assert move_groups(directory, layout) == len(elsewhere)
        assert read_layout(directory) == layout
        _assert_placed(directory, layout, expected)
        before = layout
    assert move_groups(directory, before) == 0


def test_where_there_is_nothing_yet_nothing_moves(tmp_path: Path) -> None:
    assert move_groups(tmp_path / "decide", Layout(2, 1)) == 0
    _assert_placed(tmp_path / "decide", Layout(2, 1), {})


def test_a_state_that_an_earlier_release_rebuilt_is_taken_over(directory: Path) -> None:
    """Releases until 2026-11-28 left it outside of every slot: it must not be begun anew."""
    expected = _rows(directory)[0]
    (directory / "0" / "rocksdb").rename(directory / "rocksdb")
    (directory / "0").rmdir()
    move_groups(directory, Layout(2, 1))
    _assert_placed(directory, Layout(2, 1), expected)
    assert not (directory / "rocksdb").exists()


def test_the_layout_says_where_the_engine_sends_a_group() -> None:
    layout = Layout(3, 2)
    assert [layout.slot_of(group) for group in range(8)] == [0, 0, 1, 1, 2, 2, 0, 0]
    assert sorted(group for slot in range(3) for group in layout.groups_of(slot)) == list(range(KEY_GROUPS))
    for total in (1, 2, 3, 4, 5, 6, 8, 10, 12, 240):
        Layout(total, 1).validate()
    for uneven in (Layout(7, 1), Layout(0, 1), Layout(4, 4 * 5 * 7)):
        with pytest.raises(ConfigurationError, match="evenly"):
            uneven.validate()


@pytest.mark.parametrize(("newer", "by", "moved"), [(0, 5, 0), (1, 5, 1), (1, 0, 0)])
def test_of_two_copies_the_later_one_holds(directory: Path, newer: int, by: int, moved: int) -> None:
    """Of two that are as late, the one in its place."""
    layout = Layout(2, 1)
    move_groups(directory, layout)
    slots = [open_database(directory / slot / "rocksdb", FORMAT) for slot in ("0", "1")]
    copy_group(slots[0], slots[1], 0)
    meta = unpack(slots[newer][b"M\x00"] or b"", "meta")
    slots[newer][b"M\x00"] = pack([meta[0] + by, *meta[1:]])
    for database in slots:
        database.close()
    expected = {group: rows for slot in (1 - newer, newer) for group, rows in _rows(directory)[slot].items()}
    assert move_groups(directory, layout) == moved
    _assert_placed(directory, layout, expected)


def test_what_a_killed_move_left_without_its_meta_row_goes(directory: Path) -> None:
    """Else it lies below what an export of that slot brings back later."""
    layout = Layout(2, 1)
    move_groups(directory, layout)
    stray = open_database(directory / "0" / "rocksdb", FORMAT)
    stray[codec.checkpoint_key(b"U", 1, u32(9))] = b"old"
    stray.close()
    move_groups(directory, layout)
    cleared = open_database(directory / "0" / "rocksdb", FORMAT)
    assert not list(group_rows(cleared, 1))
    cleared.close()


_MOVE = """
import sys
from pathlib import Path
from state.decide import moving

def told(step):
    def run(*arguments):
        print("begins", flush=True)
        return step(*arguments)
    return run

moving.copy_group, moving.clear_group = told(moving.copy_group), told(moving.clear_group)
moving.move_groups(Path(sys.argv[1]), moving.Layout(int(sys.argv[2]), 1))
"""


def test_kill_9_at_any_moment_of_a_move_loses_nothing(directory: Path) -> None:
    expected, choose = _rows(directory)[0], random.Random(9)
    for target in (4, 3, 2):
        for _ in range(3):
            with _move(directory, target) as child:
                assert child.stdout is not None
                for _step in range(choose.randrange(1, 40)):
                    assert child.stdout.readline() == b"begins\n"
                time.sleep(choose.uniform(0, 0.002))
                child.kill()
                assert child.wait(60) == -signal.SIGKILL
            assert read_layout(directory) is None
        with _move(directory, target) as last:
            assert last.communicate(timeout=60)[0]
            assert last.returncode == 0
        _assert_placed(directory, Layout(target, 1), expected)


def _move(directory: Path, processes: int) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", _MOVE, str(directory), str(processes)]
    return subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)


def test_an_unfinished_or_damaged_placement_is_none(directory: Path) -> None:
    assert read_layout(directory) is None
    move_groups(directory, Layout(2, 1))
    path = directory / "placement.json"
    text = path.read_text()
    others = {text.replace("true", "false"), text[:20], "[]", ""}
    for field, value in (("version", 1), ("processes", 2), ("workers", 1)):
        others |= {text.replace(f'"{field}": {value}', f'"{field}": "{value}"')}
    others |= {text.replace('"version": 1', '"version": 2')}
    assert len(others - {text}) == 8
    for other in others:
        path.write_text(other)
        assert read_layout(directory) is None


def test_offsets_are_known_to_the_others(tmp_path: Path) -> None:
    layout = Layout(2, 1)
    publish_offsets(tmp_path, 0, {0: 7, 2: 9})
    assert [published_offset(tmp_path, layout, group) for group in (0, 2)] == [7, 9]
    with pytest.raises(StateDamagedError, match="key group 1"):
        published_offset(tmp_path, layout, 1)


def test_what_an_epoch_staged_is_committed_when_the_next_record_comes(tmp_path: Path) -> None:
    """A process that reads no partition of `work` itself hears of no epoch but through its groups' records."""
    store, journal = GroupStore(tmp_path / "rocksdb"), PoisonJournal.open(tmp_path / "poison")
    decider = GroupDecider(0, store, REGISTRY, journal, partitions=PARTITIONS)
    for offset in range(3):
        [tick, *_] = work_log.ticks(1000 + offset)
        decider.decide([(offset, tick.value)])
        assert store.next_offset(0) == offset
        decider.settle()
        decider.collect()
    store.close()
