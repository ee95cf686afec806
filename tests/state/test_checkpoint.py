"""Decide's checkpoint: a state that was stored and loaded again decides like one that was never interrupted."""

import random
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rules.random_streams import random_stream

from operators.decide import apply
from operators.simulation import Simulation
from state.group import GroupState
from state.model.keys import KEY_GROUPS
from state.model.registry import load_registry
from state.model.work import AnyWork
from state.rocksdb import GroupStore

REGISTRY = load_registry()


def _by_group(seed: int) -> dict[int, list[tuple[int, AnyWork]]]:
    simulation = Simulation(REGISTRY)
    groups: dict[int, list[tuple[int, AnyWork]]] = {}
    broadcast: list[tuple[int, AnyWork]] = []
    for line in random_stream(seed):
        for place, record in simulation.records(line):
            if record.g is None:
                broadcast.append((place, record))
            else:
                groups.setdefault(record.g, []).append((place, record))
    return {
        group: sorted([*records, *broadcast, simulation.end()], key=lambda entry: entry[0])
        for group, records in groups.items()
    }


def _outputs(state: GroupState, place: int, record: AnyWork) -> list[Any]:
    out = apply(state, record, place)
    return [msgspec.to_builtins(each) for each in (out.decisions, out.emissions, out.inbox)]


@pytest.mark.parametrize("seed", range(12))
def test_a_reloaded_state_decides_the_same(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    store = GroupStore(tmp_path / "state")
    for group, records in list(_by_group(seed).items())[:6]:
        whole, broken = GroupState(REGISTRY), store.load(group, REGISTRY)
        for place, record in records:
            assert _outputs(broken, place, record) == _outputs(whole, place, record)
            if choose.random() < 0.3:
                store.stage(group, broken)
                store.commit()
            if choose.random() < 0.2:
                store.stage(group, broken)
                store.commit()
                assert store.next_offset(group) == place + 1
                broken = store.load(group, REGISTRY)
        assert broken.count_terms() == whole.count_terms()
    store.close()


def test_workers_share_no_documents(tmp_path: Path) -> None:
    """Columns of documents are brought to a group's time, then read: another thread must not move them in between."""
    store = GroupStore(tmp_path / "state")
    tables: list[object] = []

    def load() -> None:
        first, second = (store.load(group, REGISTRY).users.preferences for group in (1, 2))
        assert first is second, "within a worker they are shared"
        tables.append(first)

    for _ in range(2):
        worker = threading.Thread(target=load)
        worker.start()
        worker.join()
    assert len({id(table) for table in tables}) == 2
    store.close()


def test_a_restart_deletes_old_emissions_once(tmp_path: Path) -> None:
    """Buckets of a day are dropped as time passes; a start does not delete again what went long ago."""
    directory, hour = tmp_path / "state", 3_600_000
    store = GroupStore(directory)
    state = store.load(3, REGISTRY)
    state.users.row("u")
    for number in range(40):
        now = number * hour
        state.emissions.advance(now)
        for _ in range(200):
            state.emissions.add(0, now)
        store.stage(3, state)
        store.commit()
    kept = [key for key, _ in store._rows(b"E", 3)]
    assert 5 <= len(kept) <= 7
    store.close()
    again = GroupStore(directory)
    loaded = again.load(3, REGISTRY)
    assert loaded.emissions.next_entry == state.emissions.next_entry
    loaded.emissions.advance(now)
    again.stage(3, loaded)
    assert again._staged_rows < 8, "the meta row, and nothing for buckets that are gone"
    again.commit()
    assert [key for key, _ in again._rows(b"E", 3)] == kept
    later = now + 25 * hour
    loaded.emissions.advance(later)
    loaded.emissions.add(0, later)
    again.stage(3, loaded)
    again.commit()
    assert len(list(again._rows(b"E", 3))) == 1
    again.close()


def test_what_was_staged_but_not_committed_is_gone(tmp_path: Path) -> None:
    group, records = next(iter(_by_group(1).items()))
    store = GroupStore(tmp_path / "state")
    state = store.load(group, REGISTRY)
    apply(state, records[0][1], records[0][0])
    store.stage(group, state)
    store.close()
    reopened = GroupStore(tmp_path / "state")
    assert reopened.next_offset(group) == 0
    assert 0 <= group < KEY_GROUPS
    reopened.close()
