"""What only an inbox store in Redis has to keep: its place against other owners, and its word when Redis is away."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.inbox_stores import StoreKind
from helpers.waiting import wait_for

from connectors.inbox.interface import InboxReader
from connectors.inbox.options import InboxRedisOptions
from connectors.inbox.redis import RedisInboxReader, RedisInboxStore
from connectors.inbox.redis_table import RedisTable, RowsMissingError, TablePlace
from connectors.inbox.table import TableBatch
from connectors.redis_client import blocking_redis
from infra.services import Redis, start_redis
from operators.inbox_shard import InboxShard
from state.inbox.values import ShardCommit
from state.model.envelope import OutputHeader
from state.model.errors import StoreUnavailableError
from state.model.inbox import AddedSlice, StoredOperation
from state.model.keys import key_group


@pytest.fixture
def kind(redis_url: str, tmp_path: Path) -> StoreKind:
    return StoreKind(tmp_path, redis_url)


@pytest.fixture
def server() -> Iterator[Redis]:
    started = start_redis()
    yield started
    started.stop()


def test_who_lost_his_place_changes_nothing_more(kind: StoreKind) -> None:
    earlier = kind.open()
    earlier.commit(ShardCommit({}, {}, {}, 5))
    later = kind.open()
    assert later.offset() == 5
    with pytest.raises(StoreUnavailableError, match="another process"):
        earlier.commit(ShardCommit({}, {}, {}, 6))
    with pytest.raises(StoreUnavailableError, match="another process"):
        earlier.offset()
    assert later.offset() == 5
    later.commit(ShardCommit({}, {}, {}, 7))
    assert kind.offset() == 7
    earlier.close()
    later.close()


def test_a_commit_whose_answer_was_lost_is_made_once(kind: StoreKind) -> None:
    kind.open().close()
    place = TablePlace.of(blocking_redis(kind.options), kind.prefix, 0)
    table = RedisTable(place)
    (before,) = table.values([b"row"])
    assert before is None
    again = RedisTable(place)
    again.values([b"row"])  # knows the same version
    batch, other = TableBatch(), TableBatch()
    batch.put(b"row", b"1")
    other.put(b"row", b"2")
    table.write(batch)
    again.write(other)  # its version is there already: it is the one whose answer was lost
    assert RedisTable(place).values([b"row"]) == [b"1"]
    table.write(other)
    assert RedisTable(place).values([b"row"]) == [b"2"]
    place.client.close()


@pytest.mark.parametrize("lost", ["rows", "order"])
def test_rows_that_are_gone_are_no_empty_inbox(kind: StoreKind, lost: str) -> None:
    store, reader = kind.open(), kind.reader()
    assert reader.page("mia", 1).rows == ()
    client = blocking_redis(kind.options)
    assert client.delete(f"{kind.prefix}:inbox:0:{lost}") == 1
    with pytest.raises(RowsMissingError):
        reader.page("mia", 1)
    with pytest.raises(RowsMissingError):
        store.commit(ShardCommit({}, {}, {}, 6))
    assert kind.offset() == 0
    store.close()
    store = kind.open()
    assert (store.offset(), reader.page("mia", 1).rows) == (0, ())
    for each in (store, reader, client):
        each.close()


def test_a_redis_that_may_evict_is_refused() -> None:
    server = start_redis("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StoreUnavailableError, match="set maxmemory-policy noeviction"):
            RedisInboxStore(InboxRedisOptions(server.url), 0)
    finally:
        server.stop()


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_a_reader_says_within_its_deadline_that_redis_is_away(server: Redis, fault: str) -> None:
    options = InboxRedisOptions(server.url, deadline=timedelta(milliseconds=200))
    store, reader = RedisInboxStore(InboxRedisOptions(server.url), 0), RedisInboxReader(options, 1)
    wait_for(lambda: is_read(reader))
    if fault == "killed":
        server.process.kill()
    else:
        server.process.freeze()
    began = time.monotonic()
    for _ in range(200):
        with pytest.raises(StoreUnavailableError):
            reader.unread("mia")
    assert time.monotonic() - began < 20, "each call waits for the deadline"
    reader.close()
    store.close()


def is_read(reader: InboxReader) -> bool:
    """A slow machine may not answer within the deadline."""
    try:
        return reader.unread("mia") == 0
    except StoreUnavailableError:
        return False


def test_a_full_redis_takes_all_of_a_commit_or_nothing() -> None:
    server = start_redis("--maxmemory", "4mb")
    options = InboxRedisOptions(server.url)
    try:
        RedisInboxStore(options, 0).close()
        place = TablePlace.of(blocking_redis(options), options.prefix, 0)
        table, batch = RedisTable(place), TableBatch()
        table.values([b"row"])
        for number in range(20_000):
            batch.put(b"%06d" % number, b"x" * 400)
        with pytest.raises(StoreUnavailableError):
            table.write(batch)
        found = RedisTable(place)
        assert [*found.rows(b"0")] == []
        small = TableBatch()
        small.put(b"row", b"1")
        table.write(small)
        place.client.close()
    finally:
        server.stop()


@pytest.mark.parametrize("redis", [False, True])
def test_a_page_is_of_one_commit_while_rows_and_slices_come(redis: bool, redis_url: str, tmp_path: Path) -> None:
    kind = StoreKind(tmp_path, redis_url if redis else "")
    store, reader, user = kind.open(), kind.reader(), "mia"
    group, ended = key_group(user), threading.Event()
    shard = InboxShard(store, {}, {}, slices=store)
    failed: list[str] = []
    thread = threading.Thread(target=_look, args=(reader, user, ended, failed))
    thread.start()
    for number in range(120):
        op = StoredOperation(op="add", user=user, type="post", event_id=f"e{number}", at=number, place=number)
        shard.apply(OutputHeader("d", group, number, 0), AddedSlice(op, b"\0mia\0", 1) if number % 3 else [op])
        store.commit(shard.take_commit(number + 1))
        shard.committed()
    ended.set()
    thread.join(60)
    assert failed == []
    assert reader.unread(user) == 120
    reader.close()
    store.close()


def _look(reader: InboxReader, user: str, ended: threading.Event, failed: list[str]) -> None:
    seen = 0
    while not ended.is_set():
        page = reader.page(user, 200)
        names = [row.first_event_id for row in page.rows]
        if names != [f"e{number}" for number in range(page.unread - 1, -1, -1)] or page.unread < seen:
            failed.append(f"{page.unread} unread after {seen}, shown: {names}")
        seen = page.unread
