"""Decide's exports by key group: of any slot, the newest sound one that fits, and exactly its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from helpers.replacing import replaced
from rocksdict import Rdict, WriteOptions

from state.decide import codec
from state.decide import exports as group_exports
from state.decide.checkpoint import FORMAT
from state.decide.exports import clear_group, group_rows, group_source, newest_per_group, restore_groups
from state.disk.exports import Export, ingest_export, write_export
from state.disk.packing import pack, u32, u64
from state.disk.rocksdb import open_database

ANY = range(1, 1 << 40)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[Rdict]]:
    made = [open_database(tmp_path / f"slot{slot}", FORMAT) for slot in range(3)]
    yield made
    for each in made:
        each.close()


def _decide(database: Rdict, group: int, offset: int) -> None:
    """What a group has after so many records, as rows of several kinds."""
    clear_group(database, group)
    for kind in (b"U", b"G", b"V", b"E", b"F"):
        for number in range(3):
            value = pack([group, offset, number])
            database[codec.checkpoint_key(kind, group, u32(number + offset))] = value
    database[codec.checkpoint_key(b"M", group)] = pack([offset, 0])


def _rows(database: Rdict, group: int) -> dict[bytes, bytes]:
    return dict(group_rows(database, group))


def _export(tmp_path: Path, slot: int, database: Rdict) -> Export:
    written = write_export(tmp_path / "exports", group_source(slot, database), at=1)
    assert written is not None
    return written


def test_each_group_comes_from_where_it_was_decided_last(tmp_path: Path, stores: list[Rdict]) -> None:
    """Groups 1 to 3 were in slot 0, then 2 and 3 moved to slot 1."""
    for group in (1, 2, 3):
        _decide(stores[0], group, 10)
    _export(tmp_path, 0, stores[0])
    for group in (2, 3):
        _decide(stores[1], group, 20 + group)
    _export(tmp_path, 1, stores[1])
    chosen = newest_per_group(tmp_path / "exports", dict.fromkeys((1, 2, 3, 4), ANY))
    assert {group: (each.manifest.store, each.number) for group, each in chosen.items()} == {
        1: ("decide/0", 1), 2: ("decide/1", 1), 3: ("decide/1", 1),
    }  # fmt: skip
    restored = restore_groups(stores[2], chosen, tmp_path / "scratch")
    assert restored == {1: 10, 2: 22, 3: 23}
    assert _rows(stores[2], 1) == _rows(stores[0], 1)
    assert [_rows(stores[2], group) for group in (2, 3)] == [_rows(stores[1], group) for group in (2, 3)]
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("groups", [(1, 2, 3), (1, 3)])
def test_a_restore_takes_the_place_of_what_was_there(
    groups: tuple[int, ...], tmp_path: Path, stores: list[Rdict]
) -> None:
    """All groups of an export go as tables, some of them row by row: to the same rows."""
    for group in (1, 2, 3):
        _decide(stores[0], group, 10 + group)
        _decide(stores[1], group, 5)
    untouched = _rows(stores[1], 2)
    skipped = codec.checkpoint_key(b"X", 1, u64(4))
    stores[1][skipped] = b"\x01{}"
    _export(tmp_path, 0, stores[0])
    chosen = newest_per_group(tmp_path / "exports", dict.fromkeys(groups, ANY))
    restore_groups(stores[1], chosen, tmp_path / "scratch")
    for group in groups:
        found = _rows(stores[1], group)
        if group == 1:
            assert found.pop(skipped) == b"\x01{}", "what a group skips it skips for ever"
        assert found == _rows(stores[0], group)
    if 2 not in groups:
        assert _rows(stores[1], 2) == untouched


def test_an_offset_outside_of_the_range_is_not_taken(tmp_path: Path, stores: list[Rdict]) -> None:
    for offset in (10, 20, 30):
        _decide(stores[0], 1, offset)
        _export(tmp_path, 0, stores[0])

    def newest(low: int, high: int) -> int | None:
        found = newest_per_group(tmp_path / "exports", {1: range(low, high)}).get(1)
        return None if found is None else found.offset("work", 1)

    assert [newest(1, 31), newest(1, 30), newest(10, 11), newest(11, 20), newest(31, 99)] == [30, 20, 10, None, None]


def test_a_damaged_one_is_passed_over(tmp_path: Path, stores: list[Rdict]) -> None:
    _decide(stores[0], 1, 10)
    _export(tmp_path, 0, stores[0])
    _decide(stores[0], 1, 20)
    last = _export(tmp_path, 0, stores[0])
    table = last.directory / "0000.sst"
    table.write_bytes(table.read_bytes()[:-1])
    told: list[Path] = []
    chosen = newest_per_group(tmp_path / "exports", {1: ANY}, lambda path, _: told.append(path))
    assert chosen[1].offset("work", 1) == 10
    assert told == [last.directory]


class _KilledError(Exception):
    """Stands for the end of the process."""


class _Killer:
    """Ends the process at a step of a restore: before each row that is written, and around the tables taken in."""

    def __init__(self) -> None:
        self.left = 1 << 40
        """Steps until the end."""

        def ingested(export: Export, database: Rdict) -> None:
            self._step()
            ingest_export(export, database)
            self._step()

        def about_to_write() -> WriteOptions:
            self._step()
            return WriteOptions()  # no power goes: what is written is there

        self.at_work = replaced(group_exports, ingest_export=ingested, synced=about_to_write, _BATCH_BYTES=1)
        """Around restores that may be killed."""

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _KilledError


@pytest.fixture
def killer() -> Iterator[_Killer]:
    made = _Killer()
    with made.at_work:
        yield made


@pytest.mark.parametrize(("groups", "every"), [((1, 2, 3), 1), ((1, 3), 3)])
def test_a_restore_that_is_killed_leaves_no_group_half(
    groups: tuple[int, ...], every: int, tmp_path: Path, stores: list[Rdict], killer: _Killer
) -> None:
    """A group whose meta row is there is whole, as it was or as it is to be; the next start does the rest."""
    source, target, _ = stores
    for group in (1, 2, 3):
        _decide(source, group, 10 + group)
    _export(tmp_path, 0, source)
    chosen = newest_per_group(tmp_path / "exports", dict.fromkeys(groups, ANY))
    new, seen = {group: _rows(source, group) for group in groups}, Counter[str]()
    for steps in count(step=every):
        killer.left = 1 << 40
        for group in groups:
            _decide(target, group, 5)
        old = {group: _rows(target, group) for group in groups}
        killer.left = steps
        try:
            restore_groups(target, chosen, tmp_path / "scratch")
        except _KilledError:
            pass
        else:
            break
        for group in groups:
            found = _rows(target, group)
            kind = "old" if found == old[group] else "new" if found == new[group] else "none"
            assert kind != "none" or codec.checkpoint_key(b"M", group) not in found, (steps, group)
            seen[kind] += 1
        killer.left = 1 << 40
        restore_groups(target, chosen, tmp_path / "scratch")
        assert {group: _rows(target, group) for group in groups} == new
    assert seen.keys() == {"old", "new", "none"}
    assert seen["none"] > 3 * len(groups)
