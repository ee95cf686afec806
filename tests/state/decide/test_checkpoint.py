"""Decide's checkpoint: a state that was stored and loaded again decides like one that was never interrupted."""

import random
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rules.random_streams import random_stream

from flows.steps.decide.outputs import OutputWriter
from operators.decide import apply
from operators.simulation import Simulation
from state.decide.checkpoint import GroupStore
from state.decide.codec import checkpoint_key
from state.decide.group import GroupState
from state.disk.packing import pack
from state.disk.rocksdb import prefixed_rows, stored_row
from state.model.event import RawEvent, resolve
from state.model.keys import key_group
from state.model.registry import load_registry
from state.model.work import EndpointWork, FollowWork, PreferenceWork, SliceWork, Work

REGISTRY = load_registry()


def _by_group(seed: int) -> dict[int, list[tuple[int, Work]]]:
    simulation = Simulation(REGISTRY)
    groups: dict[int, list[tuple[int, Work]]] = {}
    broadcast: list[tuple[int, Work]] = []
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


def _outputs(state: GroupState, place: int, record: Work) -> list[Any]:
    out = apply(state, record, place)
    return [msgspec.to_builtins(each) for each in (out.decisions, out.emissions, out.inbox)]


@pytest.mark.parametrize("seed", range(12))
def test_a_reloaded_state_decides_the_same(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    store, reloads = GroupStore(tmp_path / "state"), 0
    for group, records in list(_by_group(seed).items())[:6]:
        whole, broken = GroupState(REGISTRY), store.load(group, REGISTRY)
        for place, record in records:
            assert _outputs(broken, place, record) == _outputs(whole, place, record)
            if choose.random() < 0.3:
                store.collect(group, broken)
                store.commit()
            if choose.random() < 0.2:
                store.collect(group, broken)
                store.commit()
                assert store.next_offset(group) == place + 1
                broken, reloads = store.load(group, REGISTRY), reloads + 1
        assert broken.count_terms() == whole.count_terms()
    assert reloads > 3
    store.close()


def _follow(state: GroupState, place: int, followee: str) -> None:
    apply(state, FollowWork(g=3, stamp=place, follower=f"u{place % 40}", followee=followee, on=True), place)


def _as_without_blocks(store: GroupStore, state: GroupState) -> None:
    """The rows that a release without blocks would have written."""
    for kind in (b"A", b"a"):
        for key, _ in list(prefixed_rows(store.database, checkpoint_key(kind, 3))):
            store.database.delete(key)
    for name in state.followers.names():
        store.database[checkpoint_key(b"F", 3, name.encode())] = pack(
            state.followers.stored(state.followers.number(name))
        )
    meta = stored_row(store.database, checkpoint_key(b"M", 3)) or b""
    assert meta[:1] == b"\4", "such a release refuses rows that it would not read"
    store.database[checkpoint_key(b"M", 3)] = b"\1" + meta[1:]


def test_followers_without_blocks_are_put_into_blocks_by_the_next_start(tmp_path: Path) -> None:
    store = GroupStore(tmp_path / "state")
    state = store.load(3, REGISTRY)
    for place in range(900):
        _follow(state, place, f"author{place % 300}")
    store.collect(3, state)
    store.commit()
    _as_without_blocks(store, state)
    store.close()
    for _ in range(2):
        store = GroupStore(tmp_path / "state")
        again = store.load(3, REGISTRY)
        assert {name: again.followers.rows(name).tolist() for name in again.followers.names()} == {
            name: state.followers.rows(name).tolist() for name in state.followers.names()
        }
        kinds = {kind: len(list(prefixed_rows(store.database, checkpoint_key(kind, 3)))) for kind in (b"A", b"F", b"M")}
        assert kinds == {b"A": 1, b"F": 0, b"M": 1}
        assert store.next_offset(3) == 900
        store.close()


def test_workers_share_no_documents(tmp_path: Path) -> None:
    """Columns of documents are brought to a group's time, then read: another thread must not move them in between."""
    store = GroupStore(tmp_path / "state")
    tables: list[object] = []
    both_live = threading.Barrier(2, timeout=30)

    def load() -> None:
        first, second = (store.load(group, REGISTRY).users.preferences for group in (1, 2))
        assert first is second, "within a worker they are shared"
        tables.append(first)
        both_live.wait()

    workers = [threading.Thread(target=load) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({id(table) for table in tables}) == 2
    store.close()


def test_a_restart_deletes_old_emissions_once(tmp_path: Path) -> None:
    """Buckets of a day are dropped as time passes; a start does not delete again what went long ago."""
    directory, hour = tmp_path / "state", 3_600_000
    store = GroupStore(directory)
    state = store.load(3, REGISTRY)
    state.users.row("u")
    now = 0
    for number in range(40):
        now = number * hour
        state.emissions.advance(now)
        for _ in range(200):
            state.emissions.add(0, now)
        store.collect(3, state)
        store.commit()
    kept = [key for key, _ in store._rows(b"E", 3)]
    assert 5 <= len(kept) <= 7
    store.close()
    again = GroupStore(directory)
    loaded = again.load(3, REGISTRY)
    assert loaded.emissions.next_entry == state.emissions.next_entry
    loaded.emissions.advance(now)
    again.collect(3, loaded)
    assert again._collected_rows < 8, "the meta row, and nothing for buckets that are gone"
    again.commit()
    assert [key for key, _ in again._rows(b"E", 3)] == kept
    later = now + 25 * hour
    loaded.emissions.advance(later)
    loaded.emissions.add(0, later)
    again.collect(3, loaded)
    again.commit()
    assert len(list(again._rows(b"E", 3))) == 1
    again.close()


@pytest.mark.parametrize("sizes", [(1, 5_000), (1_500, 700, 3_000, 24), (1_024, 1_024, 2_048), (2_500,)])
def test_emissions_of_many_at_once_come_back(sizes: tuple[int, ...], tmp_path: Path) -> None:
    """Over several buckets, from within one on, and the oldest of them gone."""
    directory, hour, store = tmp_path / "state", 3_600_000, GroupStore(tmp_path / "state")
    state = store.load(3, REGISTRY)
    state.users.row("u")
    state.emissions.reserve_rows(max(sizes))
    for number, size in enumerate(sizes):
        now = number * 9 * hour
        state.emissions.advance(now)
        state.emissions.add_rows(np.random.default_rng(number).permutation(size).astype(np.int32), now)
        store.collect(3, state)
        store.commit()
    store.close()
    again = GroupStore(directory)
    loaded, expected = again.load(3, REGISTRY), state.emissions.since(0)
    loaded.emissions.advance((len(sizes) - 1) * 9 * hour)
    assert [each.tolist() for each in loaded.emissions.since(0)] == [each.tolist() for each in expected]
    assert len(expected[0]) == sum(sizes[-3:]), "a day is all that counts"
    again.close()


def test_a_group_without_events_forgets_what_no_longer_counts(tmp_path: Path) -> None:
    """Time passes there as everywhere, though nothing asks for the counts."""
    hour = 3_600_000
    store = GroupStore(tmp_path / "state")
    state = store.load(3, REGISTRY)
    state.users.row("u")
    state.emissions.add_rows(np.arange(1, dtype=np.int32), hour)
    for now, kept in ((2 * hour, 1), (25 * hour - 1, 1), (25 * hour, 0)):
        state.now = now
        store.collect(3, state)
        assert state.emissions.next_entry - state.emissions.first_entry == kept
    assert state.emissions.next_entry == 1
    store.close()


def test_counts_of_slots_are_stored_expire_and_then_cost_nothing(tmp_path: Path) -> None:
    directory, hour = tmp_path / "state", 3_600_000
    store = GroupStore(directory)
    state = store.load(3, REGISTRY)
    state.users.row("u")
    store.collect(3, state)
    assert (state.slot_emissions, decode_version(store, 3)) == (None, b"\x01"), "who has none pays for none"
    state.pool(slot=True).add_rows(np.arange(1, dtype=np.int32), hour)
    store.collect(3, state)
    store.commit()
    store.close()  # as after kill -9: what was committed is there
    again = GroupStore(directory)
    loaded = again.load(3, REGISTRY)
    assert loaded.slot_emissions is not None
    assert (loaded.pool(slot=True).day[0], loaded.pool(slot=False).next_entry) == (1, 0)
    assert decode_version(again, 3) == b"\x03", "a program that would lose them refuses the group"
    for now, there in ((25 * hour - 1, True), (25 * hour, False)):
        loaded.now = now
        again.collect(3, loaded)
        again.commit()
        assert (loaded.slot_emissions is not None, len(list(again._rows(b"C", 3))) == 1) == (there, there)
    loaded.pool(slot=True).add(0, 26 * hour)
    again.collect(3, loaded)
    again.commit()
    assert again.load(3, REGISTRY).pool(slot=True).day[0] == 1, "a new pool begins anew"
    again.close()


def decode_version(store: GroupStore, group: int) -> bytes:
    store.commit()
    return dict(store._rows(b"M", group))[checkpoint_key(b"M", group)][:1]


def test_what_was_staged_but_not_committed_is_gone(tmp_path: Path) -> None:
    group, records = next(iter(_by_group(1).items()))
    store = GroupStore(tmp_path / "state")
    state, nothing = store.load(group, REGISTRY), GroupState(REGISTRY)
    for place, record in records:
        apply(state, record, place)
    store.collect(group, state)
    store.close()
    reopened = GroupStore(tmp_path / "state")
    assert reopened.next_offset(group) == 0
    assert reopened.load(group, REGISTRY).count_terms() == nothing.count_terms() != state.count_terms()
    reopened.close()


def test_batches_are_the_same_bytes_after_a_restart_whatever_was_in_memory_before(tmp_path: Path) -> None:
    """An ordinal names the same batch for ever: else a consumer's mark drops one batch and takes another twice."""
    users = [name for name in map("u{}".format, range(20_000)) if key_group(name) == 7][:12]
    lists = [["email", "push", "in_app"], ["push", "email"], ["in_app", "email"], ["email"], ["push"]]
    store = GroupStore(tmp_path / "state")
    live = store.load(7, REGISTRY)
    place = 0

    def prefer(user: str, channels: list[str]) -> None:
        nonlocal place
        document = {"types": {"announcement": {"channels": channels}}}
        apply(live, PreferenceWork(g=7, stamp=1, user=user, doc=document), place)
        place += 1

    def news(number: int) -> SliceWork:
        raw = RawEvent(
            event_id=f"n{number}", type="announcement", fan_out_type="BROADCAST", payload={"critical": True}, object="o"
        )
        return SliceWork(g=7, stamp=number, event=resolve(raw, REGISTRY, ingested_at=number))

    for user in users:
        for channel in ("push", "email"):
            apply(live, EndpointWork(g=7, stamp=1, user=user, channel=channel, id="d", address="x"), place)
            place += 1
    live.bulk_from = 1
    for turn in range(3):  # documents come and go, in another order each time, and are looked at in between
        for number, user in enumerate(users):
            prefer(user, lists[(number * (turn + 2) + 3 * turn) % len(lists)])
            if number % 4 == turn:
                apply(live, news(turn * 10 + number + 1), place)
                place += 1
    store.collect(7, live)
    store.commit()
    store.close()
    restarted = GroupStore(tmp_path / "state").load(7, REGISTRY)
    restarted.bulk_from = 1
    writer, last = OutputWriter(7, 4), news(100)
    before = writer.encode(live, apply(live, last, place), place)
    after = writer.encode(restarted, apply(restarted, last, place), place)
    assert len(before) > 6
    assert [record.headers for record in after] == [record.headers for record in before]
    assert after == before
