"""What is in memory makes no difference to what is stored, and stores of before layout 4 go on without loss."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from helpers.inbox_stores import OpenedStore, StoreKind, loaded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.inbox import keys
from connectors.inbox.store import TableInboxStore
from connectors.inbox.table import TableBatch
from operators.inbox import InboxConfig
from operators.inbox_shard import InboxShard, ShardConfig
from state.inbox.codec import decode_head, encode_head
from state.inbox.slices import BlockBounds
from state.model.envelope import OutputHeader
from state.model.inbox import AddedSlice, StoredOperation
from state.model.keys import key_group
from state.model.row_status import NamedRow

GROUP = key_group("mia")
USERS = sorted(islice((name for n in count() if key_group(name := f"u{n}") == GROUP), 4))
OBJECTS = ["photo", None]
BOUNDS = BlockBounds(fold=3, chunk_names=2)
CONFIGS = {
    "all rows stay": InboxConfig(),
    "three rows stay": InboxConfig(rows_max=3),
    "rows stay for ten milliseconds": InboxConfig(retention=timedelta(milliseconds=10)),
}


@pytest.fixture(params=["rocksdb", "redis"])
def redis(request: pytest.FixtureRequest) -> str:
    """Where stores are kept: the URL, empty for RocksDB."""
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else ""


class Owner:
    """A store and its shard, which keeps so many rows in memory."""

    def __init__(self, opened: OpenedStore, config: InboxConfig, kept: int, *, prepares: bool = False) -> None:
        self.opened, self.config, self.prepares = opened, ShardConfig(config, cached_rows_max=kept), prepares
        self.begin()

    @property
    def store(self) -> TableInboxStore:
        return self.opened.store

    def begin(self) -> None:
        store = self.store
        self.shard = InboxShard(store, store.marks(), store.totals(), self.config, slices=store)

    def apply(self, number: int, operations: list[StoredOperation] | AddedSlice) -> None:
        if self.prepares and isinstance(operations, list):
            users = self.shard.missing(each.user for each in operations)
            self.store.prepare(users, self.shard.joined(operations))
        self.shard.apply(OutputHeader("d", GROUP, number, 0), operations)

    def sweep(self) -> int:
        users = self.store.users(GROUP, None, 100, in_slices=self.shard.crowded(GROUP))
        return self.shard.sweep(GROUP, users)

    def commit(self, number: int) -> None:
        self.store.commit(self.shard.take_commit(number))
        self.shard.committed()

    def rows(self) -> dict[bytes, bytes]:
        return dict(self.store._table.rows(b""))

    def become_earlier(self) -> None:
        """As a program of layout 3 would have left it."""
        batch = TableBatch()
        batch.delete_prefix(b"s")
        for key, value in self.store._table.rows(keys.head_prefix(GROUP)):
            batch.put(key, encode_head(replace(decode_head(value), oldest=None)))
        batch.put(keys.VERSION_KEY, b"\x03")
        self.store._table.write(batch)
        self.opened.reopen()
        assert self.rows()[keys.VERSION_KEY] == b"\x04"
        self.begin()


@contextmanager
def owners(redis: str, config: InboxConfig) -> Iterator[list[Owner]]:
    """All in memory, nothing, and nothing but what is read at once before it is needed."""
    with ExitStack() as stack:
        opened = [
            stack.enter_context(
                OpenedStore(StoreKind(Path(stack.enter_context(tempfile.TemporaryDirectory())), redis, BOUNDS))
            )
            for _ in range(3)
        ]
        kept, stored, prepared = opened
        yield [Owner(kept, config, 10**9), Owner(stored, config, 0), Owner(prepared, config, 0, prepares=True)]


def operation(number: int, at: int, op: tuple[Any, ...]) -> list[StoredOperation] | AddedSlice:
    match op:
        case ("slice", _):
            names = b"\0" + b"\0".join(user.encode() for user in USERS) + b"\0"
            added = StoredOperation(
                op="add", user=USERS[0], type="post", object="photo", event_id=f"e{number}", actor="a", at=at,
                place=number,
            )  # fmt: skip
            return AddedSlice(added, names, len(USERS))
        case ("add", _, user, windowed, subject, actor):
            kind = "like" if windowed else "post"
            added = StoredOperation(
                op="add", user=user, type=kind, object=subject, windowed=windowed, event_id=f"e{number}", actor=actor,
                at=at, place=number,
            )  # fmt: skip
            return [added]
        case ("read", user, back):
            return [StoredOperation(op="read", user=user, up_to=at - back, logged=number)]
        case ("status", user, status, kind, subject, backs):
            rows = tuple(NamedRow(kind, f"e{number - back}", at, subject) for back in backs)
            return [StoredOperation(op="status", user=user, status=status, rows=rows, logged=number)]
        case ("all", user, status):
            return [StoredOperation(op="status", user=user, status=status, up_to=at, logged=number)]
        case ("retract", user, kind, subject, back):
            parent = None if back is None else f"e{number - back}"
            retracted = StoredOperation(
                op="retract", user=user, type=kind, object=subject, actor="a", parent_event_id=parent
            )
            return [retracted]
        case ("take_back", user, kind, subject, back):
            return [StoredOperation(op="take_back", user=user, type=kind, object=subject, event_id=f"e{number - back}")]
        case _:
            return [StoredOperation(op="erase", user=op[1])]


users, kinds, objects = st.sampled_from(USERS), st.sampled_from(["post", "like"]), st.sampled_from(OBJECTS)
passed, statuses = st.sampled_from([0, 1, 1, 4, -2]), st.sampled_from(["read", "unread", "archived"])
adds = st.tuples(st.just("add"), passed, users, st.booleans(), objects, st.sampled_from(["a", "b", None]))
STREAMS = st.lists(
    st.one_of(
        adds,
        adds,
        st.tuples(st.just("slice"), passed),
        st.tuples(st.just("read"), users, st.integers(0, 6)),
        st.tuples(st.just("status"), users, statuses, kinds, objects, st.sets(st.integers(1, 9), max_size=6)),
        st.tuples(st.just("all"), users, statuses),
        st.tuples(st.just("retract"), users, kinds, objects, st.one_of(st.none(), st.integers(1, 12))),
        st.tuples(st.just("take_back"), users, kinds, objects, st.integers(1, 12)),
        st.tuples(st.just("erase"), users),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("commit")),
        st.tuples(st.just("commit")),
    ),
    max_size=60,
)


def run(every: list[Owner], stream: list[tuple[Any, ...]], first: int = 0) -> None:
    at = 100
    for number, op in enumerate([*stream, ("commit",), ("sweep",), ("commit",)], start=first):
        if op[0] in ("add", "slice"):
            at += op[1]
        for owner in every:
            if op[0] == "commit":
                owner.commit(number)
            elif op[0] == "sweep":
                owner.sweep()
            else:
                owner.apply(number, operation(number, at, op))


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=STREAMS, collide=st.booleans())
def test_what_is_in_memory_changes_nothing_that_is_stored(
    redis: str, config: str, stream: list[tuple[Any, ...]], collide: bool
) -> None:
    with owners(redis, CONFIGS[config]) as every, pytest.MonkeyPatch.context() as patch:
        if collide:
            patch.setattr(keys, "identity_hash", lambda _text: 7)
        run(every, stream)
        kept, *others = [owner.rows() for owner in every]
        assert all(rows == kept for rows in others)
        placed = [keys.decode_place(value) for key, value in kept.items() if key[:1] == b"s"]
        assert sorted(placed) == sorted(keys.position_of_row(key) for key in kept if key[:1] == b"r")


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=STREAMS, after=STREAMS)
def test_a_store_of_before_rows_had_places_goes_on(
    redis: str, config: str, before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    with owners(redis, CONFIGS[config]) as every:
        run(every, before)
        every[0].begin()
        for owner in every[1:]:
            owner.become_earlier()
        run(every, after, first=100)
        for owner in every:
            for user in USERS:
                owner.store.head(user)
        rows = [{key: value for key, value in owner.rows().items() if key[:1] != b"h"} for owner in every]
        assert rows[0] == rows[1] == rows[2]
        heads = [[replace(owner.store.head(user), oldest=None) for user in USERS] for owner in every]
        assert heads[0] == heads[1] == heads[2]


def test_rows_of_before_are_placed_when_their_user_is_looked_up(redis: str, tmp_path: Path) -> None:
    with OpenedStore(StoreKind(tmp_path, redis)) as opened:
        owner = Owner(opened, InboxConfig(), 0)
        for number in range(5):
            owner.apply(number, operation(number, 10 - number, ("add", 0, USERS[0], True, f"o{number}", "a")))
        owner.commit(5)
        before = loaded(opened.store, USERS[0])
        owner.become_earlier()
        assert not any(key[:1] == b"s" for key in owner.rows())
        owner.store.prepare({USERS[0]: None})
        assert loaded(opened.store, USERS[0]) == before
        assert before[0].oldest == 6
        owner.apply(6, operation(6, 20, ("add", 0, USERS[0], True, "o3", "b")))
        owner.commit(6)
        assert [(row.object, row.count) for row in loaded(opened.store, USERS[0])[1]][:2] == [("o3", 2), ("o0", 1)]
