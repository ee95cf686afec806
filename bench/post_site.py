"""A data directory with many followers of one author, and the flows' processes over it, as `carillon up` starts them.

The users are put into decide's store as if the first record of `work` had brought all of them: sent one by one through
the log, ten million would take hours. What some users set is copied to the others. Ids are of
14 characters; 60 % have a phone, 10 % a second one, 20 % mail; 18 % are in quiet hours now, 12 % have one of 50 other
documents.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.figures import ROOT
from bench.processes import cpu_seconds, peak_rss_mb
from bench.sites import addresses_of, document, open_log
from connectors.log import NewRecord
from connectors.log.topics import topic_specs
from flows.config.served import served
from flows.config.settings import Settings
from flows.decide import DIRECTORY as DECIDE
from flows.process.open import clock_ms
from flows.process.run_files import ready_file
from flows.sequence import DIRECTORY as SEQUENCE
from flows.up.supervisor import FLOW_PROCESSES
from operators.decide import apply
from state.decide.checkpoint import GroupStore
from state.decide.moving import DATABASE, slot_directory
from state.decide.packed_texts import stretch_of
from state.decide.users import UserTable
from state.model.event import EVENT, RawEvent, event_key, resolve
from state.model.keys import KEY_GROUPS, key_group, partition_of_group, user_hash, user_tag
from state.model.registry import load_registry
from state.model.work import FollowWork, PreferenceWork, TickWork, Work, encode_work
from state.sequence.store import SequenceState, SequenceStore

AUTHOR, EARLY_AUTHOR = "star", "early"
"""The second one is followed by one user of each key group: his post wakes everything up."""
STATIONS = ("sequence", "decide", "inbox")
"""Processes; track shares that of inbox. What is sent is another bench's matter."""
_REGISTRY = load_registry()
_HOUR_MS = 3_600_000
_APART = 7
"""The users of a key group set what those of the one before set, so many further on."""
_READY_S = 300


class Site:
    """The directory, its log, and the processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.partitions = Settings().log.partitions
        self.log = open_log(directory)
        self.pids: dict[str, int] = {}

    def post(self, author: str) -> int:
        """Accept a post of the author; gives the log's time of it."""
        raw = RawEvent(
            event_id=f"post_of_{author}", type="new_post", fan_out_type="FOLLOWERS", sender_id="bench", actor=author,
            object="post1", payload={"title": "a new post"}, idempotency_key=author,
        )  # fmt: skip
        now = clock_ms()
        event = resolve(raw, _REGISTRY, ingested_at=now)
        key = event_key(event)
        partition = partition_of_group(key_group(key), self.partitions)
        self.log.append([NewRecord("events.p1", partition, key.encode(), EVENT.encode(event), EVENT.headers)])
        return now

    def ends(self, *topics: str) -> dict[tuple[str, int], int]:
        """Where each of their partitions ends now."""
        places = [(topic, part) for topic in topics for part in range(self.log.partitions(topic))]
        return {place: self.log.end_offset(*place) for place in places}

    def processor_s(self) -> dict[str, float]:
        """Of each process, so far."""
        return {name: cpu_seconds(pid) for name, pid in self.pids.items()}

    def peaks_mb(self) -> dict[str, float]:
        """The most resident memory of each process, since the peaks were forgotten."""
        return {name: peak_rss_mb(pid) for name, pid in self.pids.items()}


def prepare(directory: Path, followers: int) -> None:
    """A log, and the states of `sequence` and `decide` in which these users follow the author."""
    site = Site(directory)
    with closing(site.log):
        site.log.ensure_topics(topic_specs(site.partitions, Settings().log.retention))
        first = encode_work(TickWork(stamp=clock_ms()))
        site.log.append([NewRecord("work", part, b"", first) for part in range(site.partitions)])
    groups = _groups(followers)
    _prepare_sequence(directory / SEQUENCE / "rocksdb", groups, site.partitions)
    _prepare_decide(slot_directory(directory / DECIDE, 0) / DATABASE, groups)


def _groups(followers: int) -> list[npt.NDArray[np.int64]]:
    """Numbers of the users of each key group."""
    found = np.fromiter((key_group(_name(number)) for number in range(followers)), np.int64, followers)
    order = np.argsort(found, kind="stable")
    return np.split(order, np.cumsum(np.bincount(found, minlength=KEY_GROUPS))[:-1])


def groups_of(followers: int) -> int:
    """How many key groups have any of them: all, from some thousands on."""
    return len({key_group(_name(number)) for number in range(min(followers, 20_000))})


def _name(number: int) -> str:
    return f"user{number:010}"


def _prepare_sequence(path: Path, groups: list[npt.NDArray[np.int64]], partitions: int) -> None:
    path.parent.mkdir(parents=True)
    store, state = SequenceStore(path), SequenceState()
    for author in (AUTHOR, EARLY_AUTHOR):
        state.placement.followees.replace(author, [group for group, users in enumerate(groups) if len(users)])
    state.work_ends, state.stamp = dict.fromkeys(range(partitions), 1), clock_ms()
    store.collect(state)
    store.commit()
    store.close()


def _prepare_decide(path: Path, groups: list[npt.NDArray[np.int64]]) -> None:
    path.parent.mkdir(parents=True)
    store, choose = GroupStore(path), random.Random(7)
    documents = [document(choose) for _ in range(50)]
    for each in documents:
        each.pop("quiet_hours", None)
    quiet, pattern = _quiet_now(), store.load(0, _REGISTRY)
    pattern.users.serve(served(Settings()))
    users = max(map(len, groups)) + KEY_GROUPS * _APART
    for work in _works(users, lambda: _own_document(choose, quiet, documents), choose):
        apply(pattern, work, 0)
    for group, numbers in enumerate(groups):
        state = store.load(group, _REGISTRY)
        names = [_name(number) for number in numbers.tolist()]
        _copy_users(pattern.users, group * _APART, names, state.users)
        for row in range(len(names)):
            state.followers.add(AUTHOR, row)
        if names:
            early = names[group % len(names)]
            apply(state, FollowWork(g=group, stamp=pattern.now, follower=early, followee=EARLY_AUTHOR, on=True), 0)
        store.collect(group, state)
        store.commit()
    store.close()


def _copy_users(pattern: UserTable, first: int, names: list[str], users: UserTable) -> None:
    """Others who set what those of the pattern from `first` on have set: to apply each record would take six times as
    long.
    """
    mine, theirs = slice(0, len(names)), slice(first, first + len(names))
    hashes = np.fromiter(map(user_hash, names), np.uint64, len(names))
    tags = np.frombuffer(b"".join(map(user_tag, names)), "<u8")
    users.extend(stretch_of(names, hashes), tags)
    users.endpoints.extend(0, pattern.endpoints.stretch(range(theirs.start, theirs.stop)))
    numbers = pattern.preference[theirs].tolist()
    stored = {number: place for place, number in enumerate(dict.fromkeys(numbers))}
    documents = [pattern.preferences.documents[number] for number in stored]
    users.assign_documents(0, documents, np.array([stored[number] for number in numbers], np.int32))
    for column in ("usable", "push_devices", "known", "preference_version", "endpoint_version"):
        getattr(users, column)[mine] = getattr(pattern, column)[theirs]
    users.set_as_stored(mine, pattern.as_stored(theirs))
    users.served = pattern.served
    users.changed.update(range(len(names)))


def _quiet_now() -> dict[str, Any]:
    """Since two hours, for four more: within the time to live of a post."""
    now = clock_ms()
    start, end = (time.strftime("%H:%M", time.gmtime((now + hours * _HOUR_MS) / 1_000)) for hours in (-2, 4))
    return {"quiet_hours": {"enabled": True, "start": start, "end": end, "timezone": "UTC"}}


def _own_document(
    choose: random.Random, quiet: dict[str, Any], documents: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    share = choose.random()
    return quiet if share < 0.18 else choose.choice(documents) if share < 0.3 else None


def _works(users: int, document: Callable[[], dict[str, Any] | None], choose: random.Random) -> Iterator[Work]:
    now = clock_ms()
    for number in range(users):
        user = _name(number)
        yield FollowWork(g=0, stamp=now, follower=user, followee=AUTHOR, on=True)
        if (own := document()) is not None:
            yield PreferenceWork(g=0, stamp=now, user=user, doc=own)
        yield from addresses_of(user, 0, now, choose)


@contextmanager
def running(directory: Path) -> Iterator[Site]:
    """The flows' processes, ready; ended at the end, whatever happens."""
    site, processes = Site(directory), []
    environment = {**os.environ, "CARILLON_DATA_DIR": str(directory)}
    try:
        for each in FLOW_PROCESSES:
            if each.name in STATIONS:
                command = [sys.executable, "-m", "flows.up.launch", each.name, "flows", *each.flows]
                processes.append(_start(command, directory / f"{each.name}.out", environment))
                site.pids[each.name] = processes[-1].pid
        deadline = time.monotonic() + _READY_S
        while not all(ready_file(directory, name).exists() for name in STATIONS):
            assert all(each.poll() is None for each in processes), f"a process ended; see {directory}/*.out"
            assert time.monotonic() < deadline, "the processes do not become ready"
            time.sleep(0.1)
        yield site
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        site.log.close()


def _start(command: list[str], output: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with output.open("ab") as file:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=file, stderr=file)
