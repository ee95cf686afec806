"""Operations that cannot be applied: nothing of them stays, the others are exact, and each may be given back once."""

import signal
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from helpers.inbox_flow import RUN, last_counts, read_all
from helpers.programs import running
from helpers.records import inbox_add, now_ms, open_embedded, record
from helpers.waiting import wait_for

from connectors.inbox.rocksdb import RocksInboxReader, RocksInboxStore, shard_path
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, Record
from connectors.log.source import Tick
from flows.process.directories import INBOX as DIRECTORY
from flows.steps.inbox import HouseTurns, InboxParts, InboxSink
from state.disk.poison import PoisonJournal
from state.inbox.values import InboxHead, ShardCommit
from state.model.keys import key_group, partition_of_group

USER = "mia"
BAD = next(name for n in count() if key_group(name := f"bad{n}") == key_group(USER))
PARTITION = partition_of_group(key_group(USER), 4)
KILLED = """
import os, signal, sys
from operators.inbox_shard import InboxShard
apply = InboxShard._apply
def poisoned(self, group, operation):
    if operation.type == "@kill":
        os.kill(os.getpid(), signal.SIGKILL)
    apply(self, group, operation)
InboxShard._apply = poisoned
"""


class FailingStore(RocksInboxStore):
    """Cannot load some users, nor store slices of events with such names: whatever concerns them raises."""

    bad = frozenset[str]()

    def head(self, user: str) -> InboxHead:
        if user in self.bad:
            raise KeyError("secret content")
        return super().head(user)

    def commit(self, commit: ShardCommit) -> None:
        if any(new.event.event_id in self.bad for new in commit.slices.new):
            raise KeyError("secret content")
        super().commit(commit)


class Owner:
    """The sink partition over a real store and log, without an engine."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.log = directory, open_embedded(directory)
        self.begin(frozenset({BAD}))

    def begin(self, bad: frozenset[str]) -> None:
        def open_store(number: int) -> FailingStore:
            store = FailingStore(shard_path(self.directory / DIRECTORY, number))
            store.bad = bad
            return store

        parts = InboxParts(
            open_store=open_store,
            open_journal=lambda number: PoisonJournal.open(self.directory / f"poison-{number}"),
            open_log=lambda: open_embedded(self.directory),
            partitions=4,
            now_ms=now_ms,
        )
        self.part = InboxSink(parts).build_part("rows", f"{PARTITION:03}", None)

    def restart(self, *, mended: bool = False) -> None:
        self.part.close()
        self.begin(frozenset() if mended else frozenset({BAD}))

    def feed(self, records: list[NewRecord]) -> None:
        """Append, and take in everything from the beginning, as after a restart, and then once more."""
        self.log.append(records)
        every = [each for each in read_all(self.log, "inbox") if each.partition == PARTITION]
        self.part.write_batch([every, Tick(PARTITION)])
        self.part.write_batch([every, Tick(PARTITION)])

    def names(self) -> list[str]:
        reader = RocksInboxReader(self.directory / DIRECTORY, 4, self.directory / "secondary")
        try:
            return [row.first_event_id for row in reader.page(USER, 100).rows]
        finally:
            reader.close()

    def letters(self) -> dict[str, dict[str, Any]]:
        values = [orjson.loads(each.value) for each in read_all(self.log, "dead_letters")]
        return {value["id"]: value for value in values}

    def counts(self) -> tuple[int, int]:
        """Items, and those retired or set aside."""
        last = last_counts(self.log)[key_group(USER)]
        return last["items"], last["retired"]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    opened = Owner(tmp_path)
    yield opened
    opened.part.close()
    opened.log.close()


def add(number: int, **changes: Any) -> NewRecord:
    value = orjson.loads(inbox_add(USER, number).value) | changes
    return record("inbox", "inbox/1+json", value, group=key_group(USER), seq=("d", number, 0))


def given_back(given: Record | NewRecord, letter: str) -> NewRecord:
    return NewRecord("inbox", PARTITION, given.key, given.value, (*given.headers, ("again", letter.encode())))


def half_bad(number: int) -> NewRecord:
    """Two operations: what the first one did must go with the second one."""
    rows = [orjson.loads(inbox_add(user, number).value) for user in (USER, BAD)]
    batch = pa.RecordBatch.from_pylist([row | {"payload": None} for row in rows])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    value = sink.getvalue().to_pybytes()
    return add(number)._replace(value=value, headers=(("schema", b"inbox/1+arrow"), *add(number).headers[1:]))


def test_what_cannot_be_applied_leaves_nothing_and_the_law_balances(owner: Owner) -> None:
    bad, unstorable = half_bad(2), add(4, at=2**63 + 5)
    owner.feed([add(1), bad, add(3), unstorable, add(5)])
    assert owner.names() == ["e5", "e3", "e1"]
    kinds = {name: (letter["kind"], letter["error"]) for name, letter in owner.letters().items()}
    first = f"inbox/inbox/{PARTITION}/1"
    assert kinds.keys() == {first, f"inbox/inbox/{PARTITION}/3"}
    assert {kind for kind, _ in kinds.values()} == {"raised"}
    assert not any("secret" in error for _, error in kinds.values())
    assert owner.counts() == (3, 3)
    owner.restart()
    owner.feed([add(6), bad])  # decide's outputs come twice around a crash
    assert owner.counts() == (4, 3)
    assert len(owner.letters()) == 2

    owner.feed([given_back(bad, first), given_back(bad, first)])  # fails again: a letter of its own
    second = f"inbox/inbox/{PARTITION}/7"
    assert owner.letters().keys() >= {first, second}
    assert owner.counts() == (4, 3)
    owner.restart(mended=True)
    owner.feed([given_back(bad, first), given_back(bad, second), given_back(bad, second)])
    assert owner.names().count("e2") == 1
    assert owner.counts() == (6, 1)
    owner.restart(mended=True)
    owner.feed([given_back(bad, second), add(7), given_back(add(7), f"inbox/inbox/{PARTITION}/99")])
    assert owner.names() == ["e7", "e6", "e5", "e3", "e2", "e1"]
    assert owner.counts() == (7, 1)


def fan_out(number: int, users: int, event_id: str | None = None) -> NewRecord:
    """One event for many users of a group, as decide writes it."""
    row = orjson.loads(inbox_add(USER, number).value) | {"payload": None, "type": "post", "windowed": False}
    row["event_id"] = event_id or row["event_id"]
    others = islice((name for n in count() if key_group(name := f"u{n}") == key_group(USER)), users - 1)
    batch = pa.RecordBatch.from_pylist([row | {"user": user} for user in (USER, *others)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    value = sink.getvalue().to_pybytes()
    return add(number)._replace(value=value, headers=(("schema", b"inbox/1+arrow"), *add(number).headers[1:]))


def test_a_fan_out_is_kept_once_and_one_that_fails_is_given_back_whole(owner: Owner) -> None:
    bad = fan_out(2, 100, BAD)
    owner.feed([fan_out(1, 100), bad, add(3)])
    assert owner.names() == ["e3", "e1"]
    assert owner.counts() == (101, 100)
    owner.restart(mended=True)
    owner.feed([given_back(bad, f"inbox/inbox/{PARTITION}/1"), fan_out(4, 70)])
    assert owner.names() == ["e4", "e3", BAD, "e1"]
    assert owner.counts() == (271, 0)


def test_many_bad_ones_among_many_good_ones(owner: Owner) -> None:
    bad = {7, 8, 60, 99}
    owner.feed([half_bad(number) if number in bad else add(number) for number in range(100)])
    assert owner.names() == [f"e{number}" for number in range(99, -1, -1) if number not in bad]
    assert owner.counts() == (96, 8)
    assert len(owner.letters()) == 4


def test_what_kills_is_set_aside_after_five_starts(tmp_path: Path) -> None:
    log: EmbeddedLog = open_embedded(tmp_path)
    log.append([add(1), add(2, type="@kill"), add(3)])
    reader = RocksInboxReader(tmp_path / DIRECTORY, 4, tmp_path / "secondary")
    for _ in range(5):
        with running(KILLED + RUN, str(tmp_path), "1") as process:
            assert process.wait(90) == -signal.SIGKILL
    with running(KILLED + RUN, str(tmp_path), "1"):
        wait_for(lambda: reader.unread(USER) == 2)
        wait_for(lambda: last_counts(log).get(key_group(USER), {}).get("items") == 2)
    (letter,) = [orjson.loads(each.value) for each in read_all(log, "dead_letters")]
    assert (letter["kind"], letter["stage"], letter["event_id"]) == ("killed", "inbox", "e2")
    assert last_counts(log)[key_group(USER)]["retired"] == 1
    reader.close()
    log.close()


def test_what_is_counted_a_second_is_bounded_and_every_group_has_its_turn() -> None:
    turns, items, counted = HouseTurns(range(0, 240, 4)), {0: 50_000, 4: 9_000}, Counter[int]()
    for tick in range(200):
        for group in turns.audited():
            counted[group] += 1
            turns.counted(items.get(group, 10))
        in_all = sum(items.get(group, 10) * times for group, times in counted.items())
        assert in_all <= 4_000 * (tick + 1) + 50_000, "a large group is counted at once, the next ones wait"
    assert set(counted) == set(range(0, 240, 4))
    assert len({counted[group] for group in counted}) <= 2, "in turn"
