"""What inbox stores on RocksDB keep in memory: together, not each."""

from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

from helpers.heap import only_where_malloc_tells, used_bytes

from connectors.inbox.rocksdb import RocksInboxStore, shard_path
from state.inbox.values import InboxHead, RowItem, ShardCommit, StoredRow, UserChanges

_MB = 1 << 20
_USERS, _ROWS, _PAYLOAD = 20, 20, 10_000


def _row(number: int, payload: bytes) -> StoredRow:
    item = RowItem(number, f"e{number}", None, number, payload)
    return StoredRow(number, "mention", f"o{number}", False, f"e{number}", 1, number, items=[item])


def _fill(store: RocksInboxStore, commits: int, choose: Random) -> None:
    for commit in range(commits):
        users = {
            f"user{commit}_{user}": UserChanges(
                InboxHead(_ROWS, _ROWS, _ROWS), [_row(each, choose.randbytes(_PAYLOAD)) for each in range(_ROWS)], []
            )
            for user in range(_USERS)
        }
        store.commit(ShardCommit(users, {}, {}, commit + 1))


@only_where_malloc_tells
def test_stores_of_many_partitions_share_what_they_keep_of_rows(tmp_path: Path) -> None:
    """Six with 26 MB each, all written and read."""
    before, number, commits = used_bytes(), 6, 7
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(RocksInboxStore(shard_path(tmp_path, each)))) for each in range(number)]
        for each, store in enumerate(stores):
            _fill(store, commits, Random(each))
            for commit in range(commits):
                for user in range(_USERS):
                    assert len([*store.stored_rows(f"user{commit}_{user}")]) == _ROWS
        assert used_bytes() - before < number * 9 * _MB + 40 * _MB


def test_filters_and_indexes_of_rows_take_no_memory_beside_the_cache(tmp_path: Path) -> None:
    """Three bytes a row, of rows of 90 days."""
    with closing(RocksInboxStore(tmp_path / "db")) as store:
        database = store._database
        for number in range(20_000):
            database.put(b"u%030d" % number, b"")
        database.flush()
        assert (database.property_int_value("rocksdb.estimate-table-readers-mem") or 0) < 20_000


def test_stores_that_are_opened_again_share_their_cache_too(tmp_path: Path) -> None:
    for _ in range(2):
        with closing(RocksInboxStore(tmp_path / "db")) as store:
            assert store._database.property_int_value("rocksdb.block-cache-capacity") == 32 << 20
