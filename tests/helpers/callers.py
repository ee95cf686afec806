"""Users who call the gateway."""

from pathlib import Path
from typing import Any

from helpers.gateway import Gateway, Reply, token

from connectors.inbox.options import InboxRedisOptions
from connectors.inbox.redis import RedisInboxStore
from connectors.inbox.rocksdb import RocksInboxStore, shard_path
from connectors.inbox.store import TableInboxStore
from state.inbox.values import InboxHead, RowItem, ShardCommit, StoredRow, UserChanges
from state.model.keys import key_group, partition_of_group

ANNE, BOB = "anne", "bob"


ROWS = 45


def user_call(gateway: Gateway, method: str, path: str, body: Any = None, *, user: str = ANNE, **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.call(method, path, body, key=token(user), headers=sent)


def rows() -> list[StoredRow]:
    found = []
    for number in range(ROWS):
        item = RowItem(number, f"e{number}", "actor", 1_000 + number, b'{"text":"canary"}')
        found.append(StoredRow(number, "like", f"o{number}", True, f"e{number}", 1, 1_000 + number, items=[item]))
    return found


def fill_inbox(
    directory: Path, user: str, own: list[StoredRow] | None = None, *, redis: InboxRedisOptions | None = None
) -> None:
    found = own or rows()
    partition = partition_of_group(key_group(user), 4)
    store: TableInboxStore
    if redis is None:
        store = RocksInboxStore(shard_path(directory / "state" / "inbox", partition))
    else:
        store = RedisInboxStore(redis, partition)
    head = InboxHead(next_number=len(found), unread=len(found), rows=len(found))
    store.commit(ShardCommit({user: UserChanges(head, found, ())}, {}, {}, 1))
    store.close()
