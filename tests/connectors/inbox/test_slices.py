"""A slice is as good as a row for each of its members: streams of operations, against each user's rows kept apart."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from helpers.inbox_stores import OpenedStore, StoreKind, inbox_bytes, loaded
from helpers.memory_inbox import MemoryInboxStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UnsetType
from rocksdict import Options, Rdict

from connectors.inbox import keys
from connectors.inbox.interface import InboxReader, InboxStore, LoggedRead, RowPosition
from connectors.inbox.rocksdb import RocksInboxReader, RocksInboxStore, shard_path
from connectors.inbox.store import TableInboxStore
from operators.inbox import InboxConfig, UserInbox
from operators.inbox_shard import InboxShard, ShardConfig, change_rows, take_items
from state.disk.exports import write_export
from state.inbox.slices import BlockBounds
from state.inbox.values import InboxRow, InboxTotals
from state.model.arrow import batch_bytes
from state.model.envelope import OutputHeader
from state.model.errors import MalformedRecordError
from state.model.inbox import INBOX_SLICE, AddedSlice, StoredOperation, decode_at_once, decode_operations
from state.model.keys import key_group
from state.model.row_status import NamedRow
from state.model.settings import ReadRecord

GROUP = key_group("mia")
USERS = sorted(islice((name for n in count() if key_group(name := f"u{n}") == GROUP), 6))


Opened = tuple[InboxStore, InboxReader, Callable[[], InboxStore]]


@contextmanager
def memory() -> Iterator[Opened]:
    store = MemoryInboxStore()
    yield store, store, lambda: store


@contextmanager
def kept(redis: str, bounds: BlockBounds | None = None) -> Iterator[Opened]:
    """On RocksDB, or in the Redis of this URL."""
    with tempfile.TemporaryDirectory() as directory, OpenedStore(StoreKind(Path(directory), redis, bounds)) as opened:
        yield opened.store, opened.reader, opened.reopen


@pytest.fixture(params=["rocksdb", "redis"])
def redis(request: pytest.FixtureRequest) -> str:
    """Where stores are kept: the URL, empty for RocksDB."""
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else ""


def add(event_id: str, at: int, place: int, *, user: str, windowed: bool = False, actor: str = "a") -> StoredOperation:
    kind = "like" if windowed else "post"
    return StoredOperation(
        op="add", user=user, type=kind, object="o", windowed=windowed, event_id=event_id, actor=actor, at=at,
        place=place,
    )  # fmt: skip


def added_slice(event_id: str, at: int, place: int, users: list[str], locales: int = 1) -> AddedSlice:
    """Whose users have so many locales in turn."""
    parts = {None if n == 0 else f"en-{n}": users[n::locales] for n in range(min(locales, len(users)))}
    languages = {language: names_of(part) for language, part in parts.items()} if locales > 1 else {}
    return AddedSlice(add(event_id, at, place, user=users[0]), names_of(users), len(users), languages)


def names_of(users: list[str]) -> bytes:
    return b"\0" + b"\0".join(sorted(user.encode() for user in users)) + b"\0"


class Apart:
    """Every user's rows by themselves, each operation applied to them at once."""

    def __init__(self, config: InboxConfig) -> None:
        self.inboxes = {user: UserInbox() for user in USERS}
        self.config, self.now_ms, self.retired = config, 0, 0

    def apply(self, operation: StoredOperation) -> None:
        inbox = self.inboxes[operation.user]
        if operation.op in ("read", "status"):
            change_rows(inbox, operation)
        elif operation.op == "erase":
            inbox.erase()
        elif operation.op == "add":
            inbox.add(
                type=operation.type, object=operation.object, windowed=operation.windowed, actor=operation.actor,
                event_id=operation.event_id, at=operation.at, place=operation.place, language=operation.language,
            )  # fmt: skip
            self.now_ms = max(self.now_ms, operation.at)
            inbox.retire(self.now_ms, self.config)
        else:
            take_items(inbox, operation)

    def sweep(self) -> None:
        for inbox in self.inboxes.values():
            inbox.retire(self.now_ms, self.config)

    def totals(self) -> InboxTotals:
        each = self.inboxes.values()
        return InboxTotals(
            sum(inbox.items() for inbox in each), sum(inbox.items_added for inbox in each),
            sum(inbox.items_taken_back for inbox in each), sum(inbox.items_retired for inbox in each),
        )  # fmt: skip


def bytes_of(inbox: UserInbox) -> list[bytes]:
    return inbox_bytes(inbox.head, inbox._rows.in_order())


def stored(store: InboxStore, user: str, config: InboxConfig) -> UserInbox:
    """A user's rows as the store has them, with those of his slices."""
    head, rows = loaded(store, user)
    inbox = UserInbox(rows, head)
    for each in store.slices(user, head.merged):
        inbox.add(
            type=each.type, object=each.object, windowed=False, event_id=each.event_id, actor=each.actor, at=each.at,
            place=each.place, payload=each.payload, language=each.language,
        )  # fmt: skip
        inbox.retire(each.now_ms, config)
    return inbox


def all_pages(reader: InboxReader, user: str, size: int, *, archived: bool = False) -> list[InboxRow]:
    rows: list[InboxRow] = []
    before: RowPosition | None = None
    while True:
        page = reader.page(user, size, before, archived=archived)
        rows += page.rows
        if page.next is None:
            return rows
        assert len(page.rows) == size
        before = page.next


class Stream:
    """Operations, applied to a shard over a store and to each user apart, and both compared at every commit."""

    def __init__(self, opened: tuple[InboxStore, InboxReader, Callable[[], InboxStore]], config: InboxConfig) -> None:
        self.store, self.reader, self.reopen = opened
        self.config, self.apart = config, Apart(config)
        self.number, self.at = 0, 100
        self.begin()

    def begin(self) -> None:
        store = self.store
        config = ShardConfig(self.config, cached_rows_max=6)
        self.shard = InboxShard(store, store.marks(), store.totals(), config, slices=store)

    def take(self, op: tuple[Any, ...]) -> None:
        self.number += 1
        match op:
            case ("slice", users, locales, passed):
                self.at += passed
                added = added_slice(f"e{self.number}", self.at, self.number, sorted(users), locales)
                self.apply(added)
            case ("add", user, windowed, passed):
                self.at += passed
                self.apply([add(f"e{self.number}", self.at, self.number, user=user, windowed=windowed)])
            case ("read", user, back):
                self.say(ReadRecord(user, self.at - back))
            case ("erase", user):
                self.say(ReadRecord(user, erase=True))
            case ("archive", user, back):
                self.say(ReadRecord(user, 0, status="archived", until=self.at - back))
            case ("status", user, mark, places, back):
                own = self.apart.inboxes[user].rows()
                named = [own[place] for place in places if place < len(own)]
                rows = tuple(NamedRow(row.type, row.first_event_id, row.at - back, row.object) for row in named)
                self.say(ReadRecord(user, 0, status=mark, rows=rows))
            case ("retract", user, kind, back):
                parent = None if back is None else f"e{self.number - back}"
                self.apply([StoredOperation(op="retract", user=user, type=kind, actor="a", object="o",
                                            parent_event_id=parent)])  # fmt: skip
            case ("take_back", user, kind, back):
                self.apply([StoredOperation(op="take_back", user=user, type=kind, object="o",
                                            event_id=f"e{self.number - back}")])  # fmt: skip
            case ("sweep",):
                self.commit()
                users = self.store.users(GROUP, None, 1000, in_slices=self.shard.crowded(GROUP))
                self.shard.sweep(GROUP, users)
                assert self.shard.sweep(GROUP, users) == 0
                self.apart.sweep()
                self.commit(swept=True)
            case ("prepare", users, slices):
                joined = self.shard.joined(add("e", 0, 0, user=user, windowed=True) for user in users)
                self.store.prepare(self.shard.missing(users), joined, slices=slices)
            case ("reopen",):
                self.commit()
                self.store = self.reopen()
                self.begin()
                self.apart.now_ms = self.shard.now_ms
            case _:
                self.commit()

    def say(self, record: ReadRecord) -> None:
        """A reader who knows what a user said shows what the store shows once it has applied it."""
        self.commit()
        user, number, exact = record.user, self.number, self.config.retention > timedelta(days=1)
        said = [LoggedRead(number, self.at, record)]
        early = [self.reader.page(user, 100, archived=archived, said=said) for archived in (False, True)]
        if record.erase is True:
            operation = StoredOperation(op="erase", user=user, logged=number)
        elif isinstance(record.status, UnsetType):
            operation = StoredOperation(op="read", user=user, up_to=record.up_to or 0, logged=number)
        else:
            rows = None if isinstance(record.rows, UnsetType) else record.rows
            until = 0 if isinstance(record.until, UnsetType) else record.until
            operation = StoredOperation(
                op="status", user=user, status=record.status, rows=rows, up_to=until, logged=number
            )
        self.apply([operation])
        self.commit()
        late = [self.reader.page(user, 100, archived=archived, said=said) for archived in (False, True)]
        assert [page.logged for page in late] == [number, number]
        if exact and self.config.rows_max > 100:
            assert [page[:3] for page in early] == [page[:3] for page in late]

    def apply(self, operations: list[StoredOperation] | AddedSlice) -> None:
        assert self.shard.apply(OutputHeader("d", GROUP, self.number, 0), operations)
        for operation in operations:
            self.apart.apply(operation)

    def commit(self, *, swept: bool = False) -> None:
        self.store.commit(self.shard.take_commit(self.number))
        self.shard.committed()
        self.compare(swept=swept)

    def compare(self, *, swept: bool) -> None:
        audit = self.reader.audit(GROUP)
        totals = audit.totals
        assert audit.items_counted == totals.items == self.store.count_items(GROUP).items
        assert totals.items == totals.added - totals.taken_back - totals.retired
        lasting = self.config.retention > timedelta(days=1)
        for user, inbox in self.apart.inboxes.items():
            if lasting:
                assert bytes_of(stored(self.store, user, self.config)) == bytes_of(inbox)
            if swept or (lasting and self.config.rows_max > 100):
                for size in (1, 3, 100):
                    for archived in (False, True):
                        shown = [row for row in inbox.rows() if row.archived is archived]
                        assert all_pages(self.reader, user, size, archived=archived) == shown
                page = self.reader.page(user, 2)
                assert page.unread == self.reader.unread(user) == inbox.head.unread
                assert inbox.head.unread == sum(not row.read for row in inbox.rows())
                assert page.read_up_to == inbox.head.read_up_to
                names = {row.first_event_id: row for row in inbox.rows()}
                assert all(self.reader.row(user, name) == row for name, row in names.items())
        if swept or (lasting and self.config.rows_max > 100):
            assert totals == self.apart.totals()


users = st.sampled_from(USERS)
kinds = st.sampled_from(["post", "like"])
marks = st.sampled_from(["read", "unread", "archived"])
locales = st.sampled_from([1, 3, 20])
passed = st.sampled_from([0, 0, 1, 7, -2])
streams = st.lists(
    st.one_of(
        st.tuples(st.just("slice"), st.sets(users, min_size=1), locales, passed),
        st.tuples(st.just("slice"), st.sets(users, min_size=4), locales, passed),
        st.tuples(st.just("add"), users, st.booleans(), passed),
        st.tuples(st.just("read"), users, st.integers(0, 6)),
        st.tuples(
            st.just("status"), users, marks, st.sets(st.integers(0, 5), max_size=3), st.sampled_from([0, 0, 0, 1])
        ),
        st.tuples(st.just("archive"), users, st.integers(0, 6)),
        st.tuples(st.just("erase"), users),
        st.tuples(st.just("retract"), users, kinds, st.one_of(st.none(), st.integers(1, 12))),
        st.tuples(st.just("take_back"), users, kinds, st.integers(1, 12)),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("commit")),
        st.tuples(st.just("reopen")),
        st.tuples(st.just("prepare"), st.sets(users), st.booleans()),
    ),
    max_size=40,
)
CONFIGS = {
    "all rows stay": InboxConfig(),
    "four rows stay": InboxConfig(rows_max=4),
    "rows stay for ten milliseconds": InboxConfig(retention=timedelta(milliseconds=10)),
    "three rows stay for ten milliseconds": InboxConfig(retention=timedelta(milliseconds=10), rows_max=3),
}


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=100, deadline=None)
@given(stream=streams)
def test_slices_are_as_good_as_rows(config: str, stream: list[tuple[Any, ...]]) -> None:
    with memory() as opened:
        run = Stream(opened, CONFIGS[config])
        for op in stream:
            run.take(op)
        run.take(("sweep",))


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=streams, fold=st.integers(2, 4), entries_max=st.sampled_from([1, 12, 10_000]))
def test_so_they_are_in_both_stores_however_they_are_folded(
    redis: str, config: str, stream: list[tuple[Any, ...]], fold: int, entries_max: int
) -> None:
    with kept(redis, BlockBounds(fold, entries_max, chunk_names=2)) as opened:
        run = Stream(opened, CONFIGS[config])
        for op in stream:
            run.take(op)
        run.take(("sweep",))


def test_an_arrow_batch_of_one_event_is_a_slice_and_others_are_not() -> None:
    names = [f"ann{n}" for n in range(80)] + ["é", "ann"]
    added = decode_at_once("inbox/1+arrow", batch(names))
    assert isinstance(added, AddedSlice)
    assert list(added) == sorted(decode_operations("inbox/1+arrow", batch(names)), key=lambda each: each.user.encode())
    others = [
        batch(names[:20]), batch([*names, "ann"]), batch([*names, "a\0b"]), batch(names, windowed=True),
        batch(names, op="take_back"), batch(names, at=list(range(len(names)))),
    ]  # fmt: skip
    for value in others:
        assert decode_at_once("inbox/1+arrow", value) == decode_operations("inbox/1+arrow", value)
    for wrong in (batch(names, at="soon"), batch([*names, None]), b"nonsense"):
        with pytest.raises(MalformedRecordError):
            decode_at_once("inbox/1+arrow", wrong)


def test_each_member_of_a_slice_has_his_language(redis: str) -> None:
    languages = {user: (None, "de", "fr-CA", "pt")[number % 4] for number, user in enumerate(USERS)}
    names = {
        language: b"\0" + b"\0".join(sorted(user.encode() for user in USERS if languages[user] == language)) + b"\0"
        for language in (None, "de", "fr-CA", "pt")
    }
    group = key_group(USERS[0])
    mixed = replace(added_slice("e1", 5, 1, USERS), languages=names)
    with kept(redis) as (store, reader, _):
        shard = InboxShard(store, store.marks(), store.totals(), slices=store)
        shard.apply(OutputHeader("d", group, 1, 0), mixed)
        shard.apply(OutputHeader("d", group, 2, 0), [StoredOperation(op="read", user=USERS[1], up_to=5)])
        store.commit(shard.take_commit(1))
        pages = {user: reader.page(user, 5).rows for user in USERS}
    assert {user: [row.language for row in rows] for user, rows in pages.items()} == {
        user: [language] for user, language in languages.items()
    }
    assert [row.read for row in pages[USERS[1]]] == [True], "also once it is in his own rows"


@pytest.mark.parametrize("locales", [1, 3, 20])
def test_an_event_counts_as_one_row_in_however_many_slices_it_is(redis: str, locales: int) -> None:
    members = sorted(islice((name for n in count() if key_group(name := f"u{n}") == GROUP), 40))
    config = ShardConfig(InboxConfig(rows_max=10))
    with kept(redis) as (opened, reader, reopen):
        store = opened
        shard = InboxShard(store, {}, {}, config, slices=store)
        for n in range(11):
            shard.apply(OutputHeader("d", GROUP, n, 0), added_slice(f"e{n}", n, n, members[:20], locales))
            if n % 3 == 2:
                store.commit(shard.take_commit(n))
                store = reopen()
                shard = InboxShard(store, store.marks(), store.totals(), config, slices=store)
            shard.apply(OutputHeader("d", GROUP, n, 1), added_slice(f"e{n}", n, n, members[20:], locales))
            if n == 4:
                shard.apply(OutputHeader("d", GROUP, n, 2), [StoredOperation(op="read", user=members[0], up_to=9)])
            store.commit(shard.take_commit(n))
            assert shard.crowded(GROUP) is (n == 10)
            shard.sweep(GROUP, members)
            swept = shard.take_commit(n)
            assert sorted(swept.users) == (members if n == 10 else []), "only now has anybody more than ten rows"
            store.commit(swept)
        for user in members:
            assert [row.first_event_id for row in reader.page(user, 20).rows] == [f"e{n}" for n in range(10, 0, -1)]


def test_slices_of_earlier_releases_count_as_events_of_their_own(tmp_path: Path) -> None:
    """Those of 2026-11-28 have no ordinal."""
    path, config = shard_path(tmp_path / "inbox", 0), ShardConfig(InboxConfig(rows_max=9))
    store = RocksInboxStore(path)
    shard = InboxShard(store, {}, {}, config, slices=store)
    shard.apply(OutputHeader("d", GROUP, 1, 0), added_slice("e1", 1, 1, USERS, locales=6))
    store.commit(shard.take_commit(1))
    store.close()
    database = Rdict(str(path), Options(raw_mode=True))
    for number in range(1, 7):
        key = keys.slice_event_key(GROUP, number)
        fields = msgspec.msgpack.decode((database[key] or b"")[1:])
        database[key] = b"\x01" + msgspec.msgpack.encode(fields[:-1])
    database.close()
    store = RocksInboxStore(path)
    shard = InboxShard(store, store.marks(), store.totals(), config, slices=store)
    for number in range(2, 6):
        assert not shard.crowded(GROUP)
        event = added_slice(f"e{number}", number, number, USERS, locales=6)
        shard.apply(OutputHeader("d", GROUP, number, 0), event)
    assert shard.crowded(GROUP), "six slices, then four events"
    store.close()


@pytest.mark.parametrize("size", [80, 600])
def test_a_batch_says_once_what_is_added_to_all(size: int) -> None:
    names = [f"ann{n}" for n in range(size)] + ["é", "ann"]
    added = decode_at_once(INBOX_SLICE, shared(names))
    earlier = decode_at_once("inbox/1+arrow", batch(names))
    assert isinstance(added, AddedSlice)
    assert isinstance(earlier, AddedSlice)
    assert (added.names, added.operation) == (earlier.names, earlier.operation)
    assert added.names[1:-1].split(b"\0") == sorted(map(str.encode, names))
    assert decode_operations(INBOX_SLICE, shared(names)) == decode_operations("inbox/1+arrow", batch(names))
    others = [
        shared(names[:20]), shared([*names, "ann"]), shared([*names, "a\0b"]), shared([*names, "ann", "a\0b"]),
        shared(names, windowed=True), shared(names, op="take_back"), shared([]),
    ]  # fmt: skip
    for value in others:
        assert decode_at_once(INBOX_SLICE, value) == decode_operations(INBOX_SLICE, value)
    wrongs = [
        shared(names, at="soon"), shared([*names, None]), shared(names, op="dance"), b"nonsense", batch(names),
        batch_bytes({"name": pa.array(names)}, SHARED), batch_bytes({"user": pa.array([5] * 90)}, SHARED),
    ]  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(MalformedRecordError, match="inbox"):
            decode_at_once(INBOX_SLICE, wrong)


SHARED: dict[str, Any] = {
    "op": "add", "user": "", "type": "post", "actor": "a", "event_id": "e", "at": 5, "place": 9, "priority": "P1",
    "payload": {"n": 1},
}  # fmt: skip


def shared(names: Sequence[str | None], **changes: Any) -> bytes:
    return batch_bytes({"user": pa.array(names, pa.string())}, SHARED | changes)


def batch(names: Sequence[str | None], **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "op": "add",
        "type": "post",
        "object": None,
        "actor": "a",
        "event_id": "e",
        "windowed": False,
        "at": 5,
    }
    fields |= {"place": 9, "priority": "P1", "payload": '{"n":1}'} | changes
    columns = {name: value if isinstance(value, list) else [value] * len(names) for name, value in fields.items()}
    made = pa.table({"user": pa.array(names, pa.string()), **columns})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as stream:
        stream.write_table(made)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("where", ["memory", "rocksdb", "redis"])
def test_only_members_are_shown_a_slice_and_users_of_slices_are_listed(
    where: str, request: pytest.FixtureRequest
) -> None:
    redis = request.getfixturevalue("redis_url") if where == "redis" else ""
    members = sorted(
        (user for n in range(250_000) if key_group(user := f"é{n}") == GROUP), key=lambda each: each.encode()
    )
    assert len(members) > 900
    with memory() if where == "memory" else kept(redis) as (store, reader, _):
        shard = InboxShard(store, {}, {}, ShardConfig(InboxConfig(rows_max=1)), slices=store)
        for number in range(2):
            assert not shard.crowded(GROUP)
            shard.apply(OutputHeader("d", GROUP, number, 0), added_slice(f"e{number}", number, number, members[::2]))
        store.commit(shard.take_commit(2))
        assert [reader.unread(user) for user in members[:600]] == [2, 0] * 300
        assert reader.page(members[0] + "0", 9).rows == ()
        assert store.users(GROUP, None, 9) == []
        assert shard.crowded(GROUP)
        found: list[str] = []
        while more := store.users(GROUP, found[-1] if found else None, 100, in_slices=True):
            found += more
        assert found == members[::2]
        assert shard.sweep(GROUP, found) == len(found)
        store.commit(shard.take_commit(2))
        assert [reader.unread(user) for user in members[:10]] == [1, 0] * 5
        assert reader.audit(GROUP).totals == InboxTotals(len(found), 2 * len(found), 0, len(found))


def test_a_store_of_before_there_were_slices_goes_on(tmp_path: Path) -> None:
    path = shard_path(tmp_path / "inbox", 0)
    store = RocksInboxStore(path)
    shard = InboxShard(store, {}, {}, slices=store)
    shard.apply(OutputHeader("d", GROUP, 1, 0), [add("e1", 1, 1, user=USERS[0])])
    store.commit(shard.take_commit(2))
    store.close()
    database = Rdict(str(path), Options(raw_mode=True))
    database[keys.head_key(USERS[0])] = b"\x01\x94\x01\x01\x01\xc0"  # as it was written before
    database[keys.VERSION_KEY] = b"\x01"
    database.close()
    store, reader = RocksInboxStore(path), RocksInboxReader(tmp_path / "inbox", 1, tmp_path / "secondary")
    shard = InboxShard(store, store.marks(), store.totals(), slices=store)
    shard.apply(OutputHeader("d", GROUP, 2, 0), added_slice("e2", 2, 2, USERS))
    store.commit(shard.take_commit(3))
    assert [row.first_event_id for row in reader.page(USERS[0], 9).rows] == ["e2", "e1"]
    reader.close()
    store.close()
    store = RocksInboxStore(path)
    assert store.slice_ranges()[GROUP].newest == 1
    store.close()


def test_an_export_has_the_slices(redis: str, tmp_path: Path) -> None:
    with kept(redis, BlockBounds(fold=3)) as (store, _, _):
        shard = InboxShard(store, {}, {}, slices=store)
        for number in range(8):
            shard.apply(OutputHeader("d", GROUP, number, 0), added_slice(f"e{number}", number // 2, number, USERS))
            store.commit(shard.take_commit(number))
        assert store.slice_ranges()[GROUP].newest == 8
        assert isinstance(store, TableInboxStore)
        export = write_export(tmp_path / "exports", store.export_source(0), at=1)
    assert export is not None
    kind = StoreKind(tmp_path, redis)
    kind.load(export)
    reader = kind.reader()
    assert [row.first_event_id for row in reader.page(USERS[1], 9).rows] == [f"e{n}" for n in range(7, -1, -1)]
    assert reader.audit(GROUP).items_counted == reader.audit(GROUP).totals.items == 8 * len(USERS)
    reader.close()


WRITER = """
import sys
sys.path.insert(0, "tests")
from helpers.inbox_stores import of_arguments
from operators.inbox_shard import InboxShard
from state.model.envelope import OutputHeader
from state.model.inbox import INBOX_SLICE, AddedSlice, StoredOperation
from state.inbox.slices import BlockBounds
group, users = int(sys.argv[4]), sys.argv[5:]
names = b"\\0" + b"\\0".join(user.encode() for user in users) + b"\\0"
store = of_arguments(sys.argv[1:4], BlockBounds(fold=3)).open()
shard = InboxShard(store, store.marks(), store.totals(), slices=store)
number = store.offset()
while True:
    for _ in range(3):
        op = StoredOperation(op="add", user=users[0], type="post", event_id=f"e{number}", at=number, place=number)
        back = StoredOperation(op="take_back", user=users[number % len(users)], type="post", event_id="none")
        shard.apply(OutputHeader("d", group, number, 0), AddedSlice(op, names, len(users)))
        shard.apply(OutputHeader("d", group, number, 1), [back])
        number += 1
    store.commit(shard.take_commit(number))
    shard.committed()
    print(number, flush=True)
"""


def test_kill_9_leaves_whole_commits_and_whole_folds(redis: str, tmp_path: Path) -> None:
    kind = StoreKind(tmp_path, redis)
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, *kind.arguments(), str(GROUP), *USERS], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(15)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait(10)
        writer.stdout.close()
        store, reader = kind.open(), kind.reader()
        offset = store.offset()
        assert offset >= acknowledged
        for user in USERS:
            names = [row.first_event_id for row in all_pages(reader, user, 50)]
            assert names == [f"e{n}" for n in range(offset - 1, -1, -1)]
        assert store.count_items(GROUP).items == store.totals()[GROUP].items == offset * len(USERS)
        reader.close()
        store.close()
