"""What decide's users cost in memory and at a start: `python -m bench.users [GROUPS]`.

Each key group has 41 666 users, as with 10 million in 240: ids of 12 to 20 characters, a phone for 60 % and a second
one for 10 %, mail for 20 %, one of 50 preference documents for 30 %, and four follows each, of a million followees of
whom few have many followers. One process stores them, another loads them.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.decisions import NOW
from bench.figures import ROOT, record
from bench.processes import resident_bytes
from bench.sites import addresses_of, document
from operators.decide import apply
from state.decide.checkpoint import GroupStore
from state.model.registry import load_registry
from state.model.work import FollowWork, PreferenceWork, Work

TABLE = "users"
USERS = 41_666
"""Of a group."""
FOLLOWS = 4
FOLLOWEES = 1_000_000


def _follows(user: str, group: int, choose: random.Random) -> Iterator[Work]:
    for _ in range(FOLLOWS):
        followee = f"author{int(FOLLOWEES * choose.random() ** 3):08}"
        yield FollowWork(g=group, stamp=NOW, follower=user, followee=followee, on=True)


def _works(group: int, documents: list[dict[str, Any]]) -> Iterator[Work]:
    choose = random.Random(group)
    for number in range(USERS):
        user = f"{group:03}u{number:06}" + "x" * choose.randrange(2, 11)
        if choose.random() < 0.3:
            yield PreferenceWork(g=group, stamp=NOW, user=user, doc=choose.choice(documents))
        yield from addresses_of(user, group, NOW, choose)
        yield from _follows(user, group, choose)


def build(directory: Path, groups: int) -> None:
    """What the first process does."""
    choose, registry = random.Random(7), load_registry()
    documents = [document(choose) for _ in range(50)]
    store, works, used = GroupStore(directory), 0, 0.0
    for group in range(groups):
        state, records = store.load(group, registry), list(_works(group, documents))
        began = time.process_time()
        for place, work in enumerate(records):
            apply(state, work, place)
        used, works = used + time.process_time() - began, works + len(records)
        store.collect(group, state)
        store.commit()
    store.close()
    print(used / works * 1e6)


def load(directory: Path, groups: int) -> None:
    """What the second process does."""
    store, registry = GroupStore(directory), load_registry()
    before, began = resident_bytes(os.getpid()), time.process_time()
    states = [store.load(group, registry) for group in range(groups)]
    for group, state in enumerate(states):  # the tables that find names are built when they are first needed
        state.users.ids.find(f"{group}")
        state.followers.rows(f"{group}")
    used, users = time.process_time() - began, sum(len(state.users) for state in states)
    print((resident_bytes(os.getpid()) - before) / users, used / users * 1e6)
    store.close()


def _child(step: str, directory: Path, groups: int) -> list[float]:
    command = [sys.executable, "-m", "bench.users", step, str(directory), str(groups)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return [float(each) for each in done.stdout.split()]


def main(groups: int = 24) -> None:
    directory = Path(tempfile.mkdtemp())
    try:
        (apply_us,) = _child("build", directory, groups)
        resident, load_us = _child("load", directory, groups)
    finally:
        shutil.rmtree(directory)
    work, n = f"{groups} key groups of {USERS} users, {FOLLOWS} follows each", groups * USERS
    record(TABLE, "resident", resident, "B/user", work=work, n=n)
    record(TABLE, "load_us", load_us, "us/user", work=f"{work}: processor time of a start", n=n)
    record(TABLE, "apply_us", apply_us, "us/record", work="settings and follows, applied one by one", n=n)


if __name__ == "__main__":
    if sys.argv[1:2] in (["build"], ["load"]):
        {"build": build, "load": load}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(*map(int, sys.argv[1:]))
