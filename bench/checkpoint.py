"""What decide's checkpoint costs: throughput with and without it, bytes per user and per epoch, start-up.

python -m bench.checkpoint [USERS]     1 000 000 if it is not said; figures of other numbers bear the number
"""

import collections
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench.decisions import NOW, Workload, measure_ours
from bench.figures import ROOT, own_peak_rss_mb, record
from bench.sites import EPOCH, document, phone_of
from operators.decide import apply
from state.decide.checkpoint import GroupStore
from state.decide.exports import group_source
from state.decide.group import GroupState
from state.decide.moving import DATABASE, Layout, move_groups, slot_directory
from state.disk.exports import load_export, verify_export, write_export
from state.model.keys import key_group
from state.model.registry import load_registry
from state.model.work import FollowWork, PreferenceWork, Work

TABLE = "checkpoint"
FOLLOWS = 4
_CHANGES = 1_000
"""Preference changes of an epoch, each of another user anywhere."""


class CountedStore(GroupStore):
    """Counts what an epoch writes: what is collected is what goes into the WAL, but for a few bytes a row."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.staged_bytes = 0
        self.epochs: list[int] = []

    def _put(self, key: bytes, value: bytes) -> None:
        self.staged_bytes += len(key) + len(value)
        super()._put(key, value)

    def commit(self) -> None:
        if self.staged_bytes:
            self.epochs.append(self.staged_bytes)
            self.staged_bytes = 0
        super().commit()


class NoCheckpoint(GroupStore):
    """Stores nothing of what is decided."""

    def collect(self, group: int, state: GroupState) -> None:
        """Nothing."""


def measure_overhead(*, users: int = 60_000, posts: int = 5, rounds: int = 3) -> None:
    """`recovery_overhead`: the share of processor time that the checkpoint takes, alternating rounds, median."""
    work = Workload(users, posts)
    shares: list[float] = []
    for _ in range(rounds):
        _, kept, outcomes = measure_ours(work)
        _, bare, same = measure_ours(work, deciding_store=NoCheckpoint)
        assert outcomes == same
        shares.append(1 - kept / bare)
    record(
        TABLE, "recovery_overhead", median(shares), "share", work="fan-outs, decisions per processor second", n=rounds,
        against="the same flow that stores nothing", epoch_ms=EPOCH.total_seconds() * 1000,
    )  # fmt: skip


def _settings(user: str, group: int, choose: random.Random, documents: list[dict[str, Any]]) -> Iterator[Work]:
    yield PreferenceWork(g=group, stamp=NOW, user=user, doc=choose.choice(documents))
    yield phone_of(user, group, NOW)
    for _ in range(FOLLOWS):
        followee = f"author{int(100_000 * choose.random() ** 3)}"
        yield FollowWork(g=group, stamp=NOW, follower=user, followee=followee, on=True)


def build(directory: Path, users: int) -> None:
    """Store so many users: preferences, a device, some they follow."""
    choose, registry = random.Random(7), load_registry()
    documents = [document(choose) for _ in range(1_000)]
    groups: dict[int, list[str]] = collections.defaultdict(list)
    for number in range(users):
        user = f"user{number}"
        groups[key_group(user)].append(user)
    store = GroupStore(directory)
    for group, members in sorted(groups.items()):
        state = store.load(group, registry)
        works = (work for user in members for work in _settings(user, group, choose, documents))
        for place, work in enumerate(works):
            apply(state, work, place)
        store.collect(group, state)
        store.commit()
    store.close()


def measure_size(directory: Path, users: int, name: str) -> None:
    """`checkpoint_bytes_per_user`: on disk after compaction, and before."""
    store = GroupStore(directory)
    store.close()
    size = sum(path.stat().st_size for path in directory.iterdir() if path.suffix in (".sst", ".log"))
    record(TABLE, f"checkpoint_bytes_per_user{name}", size / users, "bytes", work=f"{FOLLOWS} follows each", n=users)


def measure_start(directory: Path, users: int, name: str) -> None:
    """`users_N_start_s`: from the start of a process to all key groups in memory, and its memory."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "bench.checkpoint", "load", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begin
    peak_mb = float(done.stdout)
    record(TABLE, f"users{name}_start_s", seconds, "s", work="process start to state in memory", n=users,
           seconds=seconds, peak_rss_mb=peak_mb)  # fmt: skip
    record(
        TABLE, f"users{name}_rss_mb", peak_mb, "MB", work="the process that holds them", n=users, peak_rss_mb=peak_mb
    )


def load(directory: Path) -> None:
    """What the child does."""
    store, registry = GroupStore(directory), load_registry()
    states = [store.load(group, registry) for group in range(240)]
    assert len(states) == 240
    print(own_peak_rss_mb())


def measure_epochs(directory: Path, users: int, name: str) -> None:
    """`wal_bytes_per_epoch`: of scattered changes of preferences, per changed user."""
    choose, registry = random.Random(8), load_registry()
    documents = [document(choose) for _ in range(1_000)]
    store = CountedStore(directory)
    states = {group: store.load(group, registry) for group in range(240)}
    seconds: list[float] = []
    for _ in range(5):
        touched = set()
        for _ in range(_CHANGES):
            user = f"user{choose.randrange(users)}"
            group = key_group(user)
            state = states[group]
            apply(state, PreferenceWork(g=group, stamp=NOW, user=user, doc=choose.choice(documents)), state.place + 1)
            touched.add(group)
        begin = time.perf_counter()
        for group in touched:
            store.collect(group, states[group])
        store.commit()
        seconds.append(time.perf_counter() - begin)
    store.close()
    work = f"{_CHANGES} preference changes scattered over all users"
    record(TABLE, f"wal_bytes_per_epoch{name}", median(store.epochs), "bytes", work=work, n=users)
    record(TABLE, f"checkpoint_epoch_ms{name}", median(seconds) * 1000, "ms", work=work, n=users)


def measure_export(directory: Path, users: int, name: str) -> None:
    """`export_s`, flat out, and `export_load_s`: what lost state costs before the rest of `work` is read."""
    with tempfile.TemporaryDirectory() as home:
        store = GroupStore(directory)
        begin = time.perf_counter()
        written = write_export(Path(home), group_source(0, store.database), at=0)
        seconds = time.perf_counter() - begin
        store.close()
        assert written is not None
        size_mb = sum(file.bytes for file in written.manifest.files) / 1e6
        record(TABLE, f"export_s{name}", seconds, "s", work="an export of decide's checkpoint", n=users, mb=size_mb)
        begin = time.perf_counter()
        verify_export(written)
        load_export(written, Path(home) / "loaded")
        seconds = time.perf_counter() - begin
    record(TABLE, f"export_load_s{name}", seconds, "s", work="an export checked and loaded", n=users, mb=size_mb)


def measure_rescale(directory: Path, users: int, name: str) -> None:
    """`rescale_move_s`: one process of decide becomes two, so half of the key groups move; the last that is done here,
    since it takes the checkpoint apart.
    """
    with tempfile.TemporaryDirectory() as home:
        slot_directory(Path(home), 0).mkdir(parents=True)
        directory.rename(slot_directory(Path(home), 0) / DATABASE)
        begin = time.perf_counter()
        moved = move_groups(Path(home), Layout(2, 1))
        seconds = time.perf_counter() - begin
        assert moved == 120
    record(TABLE, f"rescale_move_s{name}", seconds, "s", work="1 to 2 processes: 120 of 240 key groups move", n=users)


def main(users: int = 1_000_000) -> None:
    """All figures; those of the running flow only with the usual number of users."""
    name = {1_000_000: "_1m", 10_000_000: "_10m"}.get(users, f"_{users}")
    directory = Path(tempfile.mkdtemp())
    try:
        build(directory, users)
        measure_size(directory, users, name)
        measure_start(directory, users, name)
        measure_epochs(directory, users, name)
        measure_export(directory, users, name)
        measure_rescale(directory, users, name)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if users == 1_000_000:
        measure_overhead()


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        load(Path(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
