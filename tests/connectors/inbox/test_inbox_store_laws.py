"""Laws of every inbox store (connectors/inbox/interface.py): the one in memory, those on RocksDB and in Redis."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.inbox_stores import OpenedStore, StoreKind, inbox_bytes, loaded
from helpers.memory_inbox import MemoryInboxStore

from connectors.inbox.interface import InboxReader, InboxStore, RowPosition
from operators.inbox import InboxConfig
from operators.inbox_shard import InboxShard, ShardConfig
from state.disk.exports import write_export
from state.inbox.values import InboxHead, InboxTotals, ShardCommit, UserChanges
from state.model.envelope import OutputHeader
from state.model.inbox import StoredOperation
from state.model.keys import key_group

GROUP = key_group("mia")


class Both(NamedTuple):
    """A store and a reader of it."""

    store: InboxStore
    reader: InboxReader
    reopen: Callable[[], InboxStore]


@pytest.fixture(params=["rocksdb", "redis"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> StoreKind:
    return StoreKind(tmp_path, request.getfixturevalue("redis_url") if request.param == "redis" else "")


@pytest.fixture(params=["memory", "rocksdb", "redis"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    if request.param == "memory":
        memory = MemoryInboxStore()
        yield Both(memory, memory, lambda: memory)
        return
    redis = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    with OpenedStore(StoreKind(tmp_path, redis)) as opened:
        yield Both(opened.store, opened.reader, opened.reopen)
    assert not (tmp_path / "secondary").exists()


def shard_of(store: InboxStore, config: ShardConfig | None = None) -> InboxShard:
    return InboxShard(store, store.marks(), store.totals(), config)


def add(event_id: str, at: int, *, user: str = "mia", actor: str = "a", windowed: bool = True) -> StoredOperation:
    return StoredOperation(
        op="add",
        user=user,
        type="like" if windowed else "reply",
        object="photo",
        windowed=windowed,
        event_id=event_id,
        actor=actor,
        at=at,
        place=at,
    )


def put(store: InboxStore, shard: InboxShard, operations: list[StoredOperation], *, first: int = 0) -> None:
    for number, operation in enumerate(operations, start=first):
        shard.apply(OutputHeader("d", key_group(operation.user), number, 0), [operation])
    store.commit(shard.take_commit(first + len(operations)))
    shard.committed()


def test_an_unknown_user_has_an_empty_inbox(both: Both) -> None:
    page = both.reader.page("nobody", 10)
    assert (page.rows, page.next, page.unread, page.read_up_to) == ((), None, 0, None)
    assert loaded(both.store, "nobody") == (InboxHead(), [])
    assert both.reader.applied(GROUP) == {}


def test_a_commit_is_seen_whole_and_survives_reopening(both: Both) -> None:
    put(both.store, shard_of(both.store), [add("e1", 1), add("e2", 2, actor="b"), add("r1", 3, windowed=False)])
    for _ in range(2):
        page = both.reader.page("mia", 10)
        assert [(row.first_event_id, row.count, row.actors) for row in page.rows] == [
            ("r1", 1, ("a",)),
            ("e1", 2, ("b", "a")),
        ]
        assert page.unread == both.reader.unread("mia") == 2
        assert both.reader.applied(GROUP) == {"d": (2, 0)}
        store = both.reopen()
        assert store.offset() == 3
        assert store.totals()[GROUP] == InboxTotals(items=3, added=3)
        assert store.count_items(GROUP).items == 3


def test_what_was_applied_is_dropped_after_reopening(both: Both) -> None:
    operations = [add(f"e{n}", n, windowed=False) for n in range(5)]
    put(both.store, shard_of(both.store), operations)
    store = both.reopen()
    shard = shard_of(store)
    assert not shard.apply(OutputHeader("d", GROUP, 4, 0), [operations[4]])
    assert shard.apply(OutputHeader("t", GROUP, 4, 0), [add("p0", 9, windowed=False)])
    store.commit(shard.take_commit(5))
    assert both.reader.audit(GROUP).items_counted == 6
    assert both.reader.applied(GROUP) == {"d": (4, 0), "t": (4, 0)}


def test_pages_go_on_without_gap_or_repeat(both: Both) -> None:
    put(both.store, shard_of(both.store), [add(f"r{n}", n // 3, windowed=False) for n in range(25)])
    names: list[str] = []
    before: RowPosition | None = None
    for _ in range(10):
        page = both.reader.page("mia", 4, before)
        names += [row.first_event_id for row in page.rows]
        if page.next is None:
            break
        before = page.next
    assert names == [f"r{n}" for n in range(24, -1, -1)]


def test_a_row_that_moves_is_not_left_behind(both: Both) -> None:
    shard = shard_of(both.store)
    put(both.store, shard, [add("e1", 1), add("r1", 2, windowed=False)])
    put(both.store, shard, [add("e2", 3)], first=2)
    assert [row.first_event_id for row in both.reader.page("mia", 9).rows] == ["e1", "r1"]
    shard = shard_of(both.reopen())
    back = StoredOperation(op="take_back", user="mia", type="like", object="photo", event_id="e2")
    store = both.reopen()
    put(store, shard_of(store), [back], first=3)
    assert [(row.first_event_id, row.at) for row in both.reader.page("mia", 9).rows] == [("r1", 2), ("e1", 1)]
    assert both.reader.audit(GROUP).items_counted == 2


def test_retracted_and_retired_rows_leave_the_store(both: Both) -> None:
    config = ShardConfig(InboxConfig(rows_max=3))
    shard = shard_of(both.store, config)
    put(both.store, shard, [add(f"r{n}", n, windowed=False) for n in range(5)])
    gone = StoredOperation(op="retract", user="mia", type="reply", actor="a", object="photo", parent_event_id="r3")
    put(both.store, shard, [gone], first=5)
    audit = both.reader.audit(GROUP)
    assert audit.totals == InboxTotals(items=2, added=5, taken_back=1, retired=2)
    assert audit.items_counted == 2
    assert both.store.count_items(GROUP).items == 2


def test_reads_are_seen_with_the_time_they_reach(both: Both) -> None:
    put(both.store, shard_of(both.store), [add("e1", 1), StoredOperation(op="read", user="mia", up_to=7), add("e2", 8)])
    page = both.reader.page("mia", 10)
    assert [(row.first_event_id, row.read) for row in page.rows] == [("e2", False), ("e1", True)]
    assert (page.unread, page.read_up_to) == (1, 7)
    row = both.reader.row("mia", "e1")
    assert row is not None
    assert row.read
    assert both.reader.row("mia", "e9") is None


def test_ten_thousand_rows_stay_for_ninety_days_and_are_counted_exactly(both: Both) -> None:
    shard, most, day_ms = shard_of(both.store), 10_000, 86_400_000
    put(both.store, shard, [add(f"r{n}", n, windowed=False) for n in range(most + 5)])
    seen = StoredOperation(op="read", user="mia", up_to=104)
    done = StoredOperation(op="status", user="mia", status="archived", up_to=54)
    put(both.store, shard, [seen, done], first=most + 5)
    page = both.reader.page("mia", 3)
    assert [row.first_event_id for row in page.rows] == ["r10004", "r10003", "r10002"]
    assert page.unread == both.reader.unread("mia") == most - 100
    archived = both.reader.page("mia", 100, archived=True)
    assert [row.first_event_id for row in archived.rows] == [f"r{n}" for n in range(54, 4, -1)]
    put(both.store, shard, [add("late", 90 * day_ms + 5_000, windowed=False)], first=most + 7)
    audit = both.reader.audit(GROUP)
    assert audit.items_counted == audit.totals.items == 5_006
    page = both.reader.page("mia", 100, archived=True)
    assert (page.rows, page.unread, both.reader.unread("mia")) == ((), 5_006, 5_006)
    put(both.store, shard, [add("last", 181 * day_ms, windowed=False)], first=most + 8)
    assert [row.first_event_id for row in both.reader.page("mia", 100).rows] == ["last"]
    assert both.reader.audit(GROUP).totals == InboxTotals(items=1, added=most + 7, retired=most + 6)


def test_users_are_listed_in_order(both: Both) -> None:
    names = [name for name in (f"u{n}" for n in range(3000)) if key_group(name) == GROUP]
    put(both.store, shard_of(both.store), [add(f"e{n}", n, user=name) for n, name in enumerate(names)])
    listed = both.store.users(GROUP, None, 3)
    assert listed + both.store.users(GROUP, listed[-1], 1000) == sorted(names)


def test_counts_tell_what_is_applied_of_their_own_group(both: Both) -> None:
    shard, other = shard_of(both.store), "noah"
    assert key_group(other) != GROUP
    shard.apply(OutputHeader("d", GROUP, 4, 0), [add("e1", 1)])
    shard.apply(OutputHeader("d", key_group(other), 7, 0), [add("e2", 2, user=other)])
    shard.apply(OutputHeader("t", key_group(other), 9, 1), [add("e3", 3, user=other)])
    marks = {counts.group: counts.marks for counts in shard.take_counts()}
    assert marks == {GROUP: {"d": (4, 0)}, key_group(other): {"d": (7, 0), "t": (9, 1)}}


def test_who_was_asked_for_last_stays_in_memory_up_to_its_bound(both: Both) -> None:
    asked: list[str] = []

    class Watched:
        stored_rows, subject_rows = both.store.stored_rows, both.store.subject_rows
        newest_windowed = both.store.newest_windowed

        def head(self, user: str) -> InboxHead:
            asked.append(user)
            return both.store.head(user)

    shard = InboxShard(Watched(), {}, {}, ShardConfig(cached_rows_max=4))
    for number, user in enumerate(("mia", "noah")):  # each counts for himself and his row
        put(both.store, shard, [add(f"e{number}", number, user=user)], first=number)
    put(both.store, shard, [StoredOperation(op="read", user="mia", up_to=0)], first=2)
    assert asked == ["mia", "noah"]
    put(both.store, shard, [add("e3", 3, user="emma")], first=3)
    for number, user in enumerate(("mia", "emma", "noah"), start=4):
        put(both.store, shard, [StoredOperation(op="read", user=user, up_to=0)], first=number)
    assert asked == ["mia", "noah", "emma", "noah"]


def test_totals_that_claim_more_than_the_rows_are_found(both: Both) -> None:
    shard = shard_of(both.store)
    put(both.store, shard, [add("e1", 1), add("r1", 2, windowed=False)])
    head, rows = loaded(both.store, "mia")
    both.store.commit(ShardCommit({"mia": UserChanges(head, [], [rows[0]])}, {}, {}, 2))
    assert both.store.count_items(GROUP).items == 1
    assert not shard.audited(GROUP, both.store.count_items(GROUP).items)
    assert shard.take_counts()[0].totals == InboxTotals(items=1, added=2)


WRITER = """
import sys
sys.path.insert(0, "tests")
from helpers.inbox_stores import of_arguments
from operators.inbox_shard import InboxShard
from state.model.envelope import OutputHeader
from state.model.inbox import StoredOperation
from state.model.keys import key_group
store = of_arguments(sys.argv[1:]).open()
shard = InboxShard(store, store.marks(), store.totals())
number = store.offset()
while True:
    for _ in range(20):
        user = f"u{number % 50}"
        op = StoredOperation(op="add", user=user, type="reply", event_id=f"e{number}", at=number, place=number)
        shard.apply(OutputHeader("d", key_group(user), number, 0), [op])
        number += 1
    store.commit(shard.take_commit(number))
    shard.committed()
    print(number, flush=True)
"""


def test_kill_9_between_any_two_instructions_leaves_a_whole_commit(kind: StoreKind) -> None:
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, *kind.arguments()], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(15)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait(10)
        writer.stdout.close()
        offset = kind.offset()
        assert offset >= acknowledged
        store = kind.open()
        names = [row.first_event_id for n in range(50) for row in store.stored_rows(f"u{n}")]
        assert sorted(names, key=lambda name: int(name[1:])) == [f"e{n}" for n in range(offset)]
        assert sum(totals.items for totals in store.totals().values()) == offset
        assert max(mark[0] for mark in store.marks().values()) == offset - 1
        store.close()


def test_what_is_prepared_is_what_is_loaded(kind: StoreKind) -> None:
    store = kind.open()
    shard = shard_of(store)
    put(store, shard, [add(f"r{n}", n, windowed=False) for n in range(200)] + [add("n1", 1, user="noah")])
    users = ["mia", "noah", "nobody"]
    apart = [loaded(store, user) for user in users]
    store.prepare(dict.fromkeys(users))
    assert [inbox_bytes(*loaded(store, user)) for user in users] == [inbox_bytes(*each) for each in apart]
    store.prepare({"mia": None})
    put(store, shard, [add("r200", 200, windowed=False)], first=201)
    assert store.head("mia").rows == 201, "what was prepared before a commit is forgotten"
    store.close()


def test_a_reader_sees_the_store_that_takes_the_place_of_another(kind: StoreKind, tmp_path: Path) -> None:
    """As when a store that was lost is restored from an export, while the gateway serves pages."""
    store = kind.open()
    shard = shard_of(store)
    shard.apply(OutputHeader("d", GROUP, 1, 0), [add("e1", 1)])
    store.commit(shard.take_commit(5))
    export = write_export(tmp_path / "exports", store.export_source(0), at=1)
    assert export is not None
    shard.apply(OutputHeader("d", GROUP, 2, 0), [add("e2", 2)])
    store.commit(shard.take_commit(6))
    reader = kind.reader()
    assert [row.count for row in reader.page("mia", 9).rows] == [2]
    store.close()
    if not kind.redis:
        kind.path.rename(kind.path.with_name("0.aside"))
        assert reader.page("mia", 9).rows == ()
    kind.load(export)
    assert [row.count for row in reader.page("mia", 9).rows] == [1]
    assert kind.offset() == 5
    restored = kind.open()
    assert restored.offset() == 5
    shard = shard_of(restored)
    shard.apply(OutputHeader("d", GROUP, 2, 0), [add("e2", 2)])
    restored.commit(shard.take_commit(6))
    assert [row.count for row in reader.page("mia", 9).rows] == [2]
    reader.close()
    restored.close()


def test_an_export_is_of_one_moment_whatever_is_written_meanwhile(kind: StoreKind, tmp_path: Path) -> None:
    users, store = [f"u{n}" for n in range(400)], kind.open()
    shard = shard_of(store)
    put(store, shard, [add(f"e{n}", n, user=user) for n, user in enumerate(users * 3)])
    number, source = 1200, store.export_source(0)

    def pause() -> None:
        nonlocal number
        erase = StoredOperation(op="erase", user=users[number % 400])
        put(store, shard, [add(f"e{number}", number, user=users[-number % 400]), erase], first=number)
        number += 2

    before = [inbox_bytes(*loaded(store, user)) for user in users]
    export = write_export(tmp_path / "exports", source, at=1, pause=pause)
    assert export is not None
    assert number > 1200
    assert export.offset("inbox", 0) == 1200
    store.close()
    restored = StoreKind(tmp_path / "restored", kind.redis)
    restored.directory.mkdir()
    restored.load(export)
    store = restored.open()
    assert [inbox_bytes(*loaded(store, user)) for user in users] == before
    store.close()
