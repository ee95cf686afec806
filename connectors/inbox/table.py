"""What an inbox store is built on: rows of bytes in the order of their keys, changed by whole batches.

`connectors/inbox/rocksdb.py` and `connectors/inbox/redis.py` each have one; what lies in it is the same, byte for byte
(`connectors/inbox/keys.py`). To ask for many things at once costs RocksDB nothing, and saves Redis a round trip each.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar

T = TypeVar("T")

KeyedBytes = tuple[bytes, bytes]
"""Key and value."""


class TableBatch:
    """Changes that become true together; of what is said of a key the last word counts."""

    def __init__(self) -> None:
        self.prefixes: list[bytes] = []
        """Rows that begin so go, before the rest."""
        self.rows: dict[bytes, bytes | None] = {}
        """The values from now on; None: the row goes."""

    def put(self, key: bytes, value: bytes) -> None:
        """The row is so."""
        self.rows[key] = value

    def delete(self, key: bytes) -> None:
        """There is no such row."""
        self.rows[key] = None

    def delete_prefix(self, prefix: bytes) -> None:
        """There is no row whose key begins so."""
        self.prefixes.append(prefix)
        self.rows = {key: value for key, value in self.rows.items() if not key.startswith(prefix)}


class InboxTable(Protocol):
    """The rows of one partition. One thread at a time; every method may block.

    :raises StateDamagedError: what is stored cannot be read.
    :raises StoreUnavailableError: it does not answer within its deadline.
    """

    @property
    def name(self) -> str:
        """Where it is, for messages."""
        ...

    def values(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Give the values of some keys."""
        ...

    def rows(self, prefix: bytes, start: bytes | None = None, *, backwards: bool = False) -> Iterator[KeyedBytes]:
        """Give the rows whose key begins with `prefix`, in order, from key `start` on, or from the last one back."""
        ...

    def rows_of_each(self, prefixes: Sequence[bytes]) -> list[list[KeyedBytes]]:
        """Give the rows of each prefix."""
        ...

    def firsts(self, ranges: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Give for each (prefix, start) the value of the first row from `start` on, empty if it lacks the prefix."""
        ...

    def write(self, batch: TableBatch, *, synced: bool = True) -> None:
        """Make it true, all or nothing; durable if `synced`."""
        ...


def value_of(table: InboxTable, key: bytes) -> bytes | None:
    """The value of one key."""
    return table.values([key])[0]


def in_parts(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """So many at a time, in order."""
    rest = iter(things)
    while part := [*islice(rest, size)]:
        yield part
