"""Marks of repeats on disk: they answer as if they were all in memory, and nothing stays behind."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.disk.exports import load_export, write_export
from state.disk.rocksdb import prefixed_rows
from state.sequence.repeats import RepeatEntry, RepeatIndex, RepeatKey
from state.sequence.store import SequenceState, SequenceStore

HOUR = 3_600_000
T = 472_222 * HOUR
KEYS: list[RepeatKey] = [("id", "a"), ("kind", "s", "like", None, "u", "o")]
NUMBERS = itertools.count()


class Model:
    """All entries in a dict. A crash goes back to what was committed; what was done since is done again."""

    def __init__(self) -> None:
        self.entries: dict[RepeatKey, RepeatEntry] = {}
        self.now = T
        self.committed: tuple[dict[RepeatKey, RepeatEntry], int] = ({}, T)

    def get(self, key: RepeatKey, now: int) -> RepeatEntry | None:
        entry = self.entries.get(key)
        return entry if entry is not None and now < entry.expires else None

    def put(self, key: RepeatKey, entry: RepeatEntry) -> None:
        self.entries[key] = entry

    def free(self, key: RepeatKey, event_id: str) -> None:
        if key in self.entries and self.entries[key].event_id == event_id:
            del self.entries[key]

    def expire(self, now: int) -> None:
        self.now = now
        self.entries = {key: entry for key, entry in self.entries.items() if now < entry.expires}


class Disk:
    """The store, opened anew after each crash."""

    def __init__(self, directory: Path, rows_at_once: int = 1000) -> None:
        self.directory, self.rows_at_once = directory, rows_at_once
        self.open()

    def open(self) -> None:
        self.store = SequenceStore(self.directory, rows_at_once=self.rows_at_once)
        self.state = self.store.load()

    def rows(self) -> list[bytes]:
        return [key for kind in (b"R", b"X") for key, _ in prefixed_rows(self.store._db, kind) if key != b"X"]


def commit(store: SequenceStore, state: SequenceState) -> None:
    store.collect(state)
    store.commit()


KEY, ID = st.sampled_from(KEYS), st.sampled_from("xy")
TIMES = st.sampled_from([1, HOUR // 2, HOUR, HOUR + 1, 3 * HOUR, 7 * HOUR])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEY, ID, TIMES),
        st.tuples(st.just("put"), KEY, ID, TIMES),
        st.tuples(st.just("free"), KEY, ID),
        st.tuples(st.just("expire"), TIMES),
        st.tuples(st.just("get"), KEY, st.sampled_from([-26 * HOUR, -HOUR, -1, 0, 1, HOUR, 3 * HOUR])),
        st.tuples(st.just("commit")),
        st.tuples(st.sampled_from(["collect", "commit", "commit", "commit", "crash"])),
    ),
    min_size=20,
    max_size=60,
)


def change(index: RepeatIndex | Model, now: int, operation: tuple[Any, ...]) -> int:
    """Do what changes an index; gives the time then."""
    match operation:
        case "put", key, event_id, lasts:
            index.put(key, RepeatEntry(event_id, now + lasts, event_id.encode()))
        case "free", key, event_id:
            index.free(key, event_id)
        case "expire", after:
            now += after
            index.expire(now)
    return now


def run(disk: Disk, operations: list[tuple[Any, ...]]) -> Model:
    model, since = Model(), list[tuple[Any, ...]]()
    now = T
    for operation in operations:
        if operation[0] == "get":
            _, key, after = operation
            assert disk.state.repeats.get(key, now + after) == model.get(key, now + after)
        elif operation[0] == "collect":
            disk.store.collect(disk.state)
        elif operation[0] == "commit":
            commit(disk.store, disk.state)
            model.committed, since = (dict(model.entries), now), []
        elif operation[0] == "crash":
            disk.store.close()
            disk.open()
            model.entries, now = dict(model.committed[0]), model.committed[1]
            for each in since:
                change(disk.state.repeats, now, each)
                now = change(model, now, each)
        else:
            since.append(operation)
            change(disk.state.repeats, now, operation)
            now = change(model, now, operation)
        for key in KEYS:
            assert disk.state.repeats.get(key, 0) == model.get(key, 0), (operation, key)
    model.now = now
    return model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@settings(deadline=None, max_examples=150, derandomize=True)
@given(OPERATIONS, st.sampled_from([1, 2, 1000]))
def test_marks_on_disk_answer_as_a_dict_would(home: Path, operations: list[tuple[Any, ...]], at_once: int) -> None:
    directory = home / str(next(NUMBERS))
    disk = Disk(directory, at_once)
    model = run(disk, operations)
    disk.state.repeats.expire(model.now + 27 * HOUR)
    for _ in range(len(operations) + 2):
        commit(disk.store, disk.state)
    assert disk.rows() == [], "something stays for good"
    disk.store.close()
    shutil.rmtree(directory)


def test_memory_holds_what_is_not_committed_and_a_start_reads_no_marks(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "s")
    for number in range(100):
        disk.state.repeats.put(("id", str(number)), RepeatEntry("e", T + HOUR))
    assert len(disk.state.repeats) == 100
    commit(disk.store, disk.state)
    assert len(disk.state.repeats) == len(disk.store._collected_marks) == 0
    disk.store.close()
    disk.open()
    assert len(disk.state.repeats) == 0
    assert disk.state.repeats.get(("id", "99"), T) == RepeatEntry("e", T + HOUR)
    disk.store.close()


def test_expired_marks_go_some_in_each_commit_and_after_a_start_too(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "s", 7)
    for number in range(40):
        disk.state.repeats.put(("id", f"{number:02}"), RepeatEntry("e", T + number * HOUR // 10))
    commit(disk.store, disk.state)
    disk.state.repeats.expire(T + 2 * HOUR + HOUR // 2)
    left = []
    for number in range(5):
        commit(disk.store, disk.state)
        left.append(len(disk.rows()) // 2)
        if number == 1:
            disk.store.close()
            disk.open()
    assert left == [33, 26, 20, 20, 20], "of two hours that are over, and none of the one that runs"
    disk.store.close()


def test_what_is_collected_and_not_committed_is_neither_removed_nor_passed_over(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "s")
    anew, passing, other = ("id", "anew"), ("id", "passing"), ("id", "other")
    for key in (anew, other):
        disk.state.repeats.put(key, RepeatEntry("a", T + HOUR))
    commit(disk.store, disk.state)
    disk.state.repeats.put(anew, RepeatEntry("b", T + 9 * HOUR))
    disk.state.repeats.put(passing, RepeatEntry("b", T + HOUR // 2))
    disk.store.collect(disk.state)
    disk.state.repeats.expire(T + 3 * HOUR)
    commit(disk.store, disk.state)
    assert disk.state.repeats.get(anew, T) == RepeatEntry("b", T + 9 * HOUR)
    commit(disk.store, disk.state)
    assert len(disk.rows()) == 2, "the mark that holds, and its hour"
    disk.store.close()


@pytest.mark.parametrize("both", [True, False])
def test_a_mark_set_anew_outlives_the_hour_of_the_first(tmp_path: Path, both: bool) -> None:
    disk, key = Disk(tmp_path / "s"), ("id", "e")
    disk.state.repeats.put(key, RepeatEntry("a", T + HOUR))
    commit(disk.store, disk.state)
    if not both:
        disk.state.repeats.put(key, RepeatEntry("b", T + 9 * HOUR))
        commit(disk.store, disk.state)
    disk.state.repeats.expire(T + 3 * HOUR)
    if both:
        disk.state.repeats.put(key, RepeatEntry("b", T + 9 * HOUR))  # in the commit that removes the first
    commit(disk.store, disk.state)
    disk.store.close()
    disk.open()
    assert disk.state.repeats.get(key, T) == RepeatEntry("b", T + 9 * HOUR)
    assert len(disk.rows()) == 2
    disk.store.close()


def test_a_store_of_before_is_upgraded_once(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "s", 10)
    for number in range(25):
        disk.state.repeats.put(("id", f"{number:02}"), RepeatEntry("e", T + number * HOUR))
    commit(disk.store, disk.state)
    whole = disk.rows()
    for key, _ in list(prefixed_rows(disk.store._db, b"X")):
        disk.store._db.delete(key)
    disk.store.close()
    disk.open()
    assert disk.rows() == whole
    disk.store._db.delete(whole[-1])
    disk.store.close()
    disk.open()
    assert disk.rows() == whole[:-1], "once"
    disk.state.repeats.expire(T + 30 * HOUR)
    for _ in range(3):
        commit(disk.store, disk.state)
    assert disk.rows() == whole[24:25], "the mark whose row was taken away"
    disk.store.close()


def test_an_event_that_is_kept_for_ever_has_an_hour_too(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "s")
    disk.state.repeats.put(("id", "e"), RepeatEntry("e", 1 << 62))
    commit(disk.store, disk.state)
    assert disk.state.repeats.get(("id", "e"), 1 << 61) == RepeatEntry("e", 1 << 62)
    disk.store.close()


def test_an_export_brings_marks_and_their_hours(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "s")
    disk.state.positions["events.p1", 0] = 1
    disk.state.repeats.put(("id", "e"), RepeatEntry("e", T + HOUR))
    commit(disk.store, disk.state)
    export = write_export(tmp_path / "exports", disk.store.export_source(), at=1)
    disk.store.close()
    assert export is not None
    load_export(export, tmp_path / "loaded")
    restored = Disk(tmp_path / "loaded")
    assert restored.state.repeats.get(("id", "e"), T) == RepeatEntry("e", T + HOUR)
    restored.state.repeats.expire(T + 2 * HOUR)
    commit(restored.store, restored.state)
    assert restored.rows() == []
    restored.store.close()
