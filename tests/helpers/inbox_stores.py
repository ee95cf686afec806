"""Both kinds of inbox store, for the laws that hold for each (`connectors/inbox/interface.py`)."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from connectors.inbox.interface import InboxStore
from connectors.inbox.options import InboxRedisOptions
from connectors.inbox.reader import TableInboxReader
from connectors.inbox.redis import RedisInboxReader, RedisInboxStore, load_into_redis, redis_offset
from connectors.inbox.rocksdb import RocksInboxReader, RocksInboxStore, shard_path, stored_offset
from connectors.inbox.store import TableInboxStore
from state.disk.exports import Export, load_export
from state.inbox.codec import encode_head, encode_row
from state.inbox.slices import BlockBounds
from state.inbox.values import InboxHead, StoredRow


def loaded(store: InboxStore, user: str) -> tuple[InboxHead, list[StoredRow]]:
    """A user's head and all his own rows."""
    return store.head(user), [*store.stored_rows(user)]


def inbox_bytes(head: InboxHead, rows: Iterable[StoredRow]) -> list[bytes]:
    """All that a user may see, whatever slices and reads brought it about."""
    seen = InboxHead(head.next_number, head.unread, head.rows, head.read_up_to)
    return [encode_head(seen), *map(encode_row, sorted(rows, key=lambda row: row.number))]


@dataclass
class StoreKind:
    """Opens stores of partition 0 and readers of it; `redis` is the URL of a server, empty for RocksDB."""

    directory: Path
    redis: str = ""
    bounds: BlockBounds | None = None
    prefix: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def options(self) -> InboxRedisOptions:
        return InboxRedisOptions(self.redis, self.prefix, timedelta(seconds=20))

    @property
    def path(self) -> Path:
        return shard_path(self.directory / "inbox", 0)

    def open(self) -> TableInboxStore:
        if self.redis:
            return RedisInboxStore(self.options, 0, self.bounds)
        return RocksInboxStore(self.path, self.bounds)

    def reader(self) -> TableInboxReader:
        if self.redis:
            return RedisInboxReader(self.options, 1)
        return RocksInboxReader(self.directory / "inbox", 1, self.directory / "secondary")

    def offset(self) -> int:
        return redis_offset(self.options, 0) if self.redis else stored_offset(self.path)

    def load(self, export: Export) -> None:
        """In place of whatever store there is."""
        if self.redis:
            load_into_redis(self.options, 0, export, self.directory / "scratch")
        else:
            load_export(export, self.path)

    def arguments(self) -> list[str]:
        """For `of_arguments` in another process."""
        return [str(self.directory), self.redis, self.prefix]


def of_arguments(arguments: list[str], bounds: BlockBounds | None = None) -> StoreKind:
    """The same kind."""
    directory, redis, prefix = arguments
    return StoreKind(Path(directory), redis, bounds, prefix)


@dataclass
class OpenedStore:
    """A store and a reader of it."""

    kind: StoreKind
    store: TableInboxStore = field(init=False)
    reader: TableInboxReader = field(init=False)

    def __enter__(self) -> "OpenedStore":
        self.store, self.reader = self.kind.open(), self.kind.reader()
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        self.store.close()

    def reopen(self) -> TableInboxStore:
        self.store.close()
        self.store = self.kind.open()
        return self.store
