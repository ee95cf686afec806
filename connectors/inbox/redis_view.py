"""The rows of a store in Redis as they were at one moment, for an export, while its owner goes on writing.

Redis has no snapshots. But one process writes the rows, and it writes the exports, too: before it changes a row that
the view has not come to, it looks up what the row was, and the view shows that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import timedelta

from connectors.inbox.redis_table import RedisTable, ask_rows, patiently
from connectors.inbox.table import KeyedBytes
from state.model.errors import StoreUnavailableError

_ROWS = 512
"""What is read at once: so long a commit waits."""


class RedisView:
    """See `state.disk.exports.RowView`: for one thread, which is not the owner's."""

    def __init__(self, table: RedisTable) -> None:
        self._table, self._owner = table, table.owner
        self._were: dict[bytes, bytes | None] = {}
        self._changed: list[bytes] = []
        """Its keys, in order."""
        self._passed: bytes | None = None
        """What lies before it is not asked for again."""
        self._rows: list[KeyedBytes] = []
        self._index = 0
        self._next: bytes | None = None
        """The bound from which the rows behind these are read; None: these are the last."""

    def before(self, keys: Sequence[bytes], table: RedisTable) -> None:
        """Called by the owner, who holds the lock."""
        passed = self._passed
        fresh = [key for key in keys if key not in self._were and (passed is None or key > passed)]
        if fresh:
            self._were.update(zip(fresh, table.values(fresh), strict=True))
            self._changed += sorted(fresh)
            self._changed.sort()  # two runs, which are merged

    def seek_to_first(self) -> None:
        """From here on rows are only passed."""
        self._read(b"-")
        self._passed = b""

    def seek(self, key: bytes) -> None:
        """Go to the first row from a key on."""
        self._read(b"[" + key)

    def valid(self) -> bool:
        """Say whether there is a row here."""
        return self._index < len(self._rows)

    def key(self) -> bytes:
        """Give its key."""
        return self._rows[self._index][0]

    def value(self) -> bytes:
        """Give its value."""
        return self._rows[self._index][1]

    def next(self) -> None:
        """Go to the next row."""
        self._index += 1
        if self._index == len(self._rows) and self._next is not None:
            self._read(self._next)

    def status(self) -> None:
        """Nothing: who cannot read raises at once."""

    def _read(self, first: bytes) -> None:
        """The rows from this bound on, some at least, or none if there are none."""
        bound: bytes | None = first
        self._rows, self._index = [], 0
        while bound is not None and not self._rows:
            self._rows, bound = self._read_some(bound)
        self._next = bound

    def _read_some(self, first: bytes) -> tuple[list[KeyedBytes], bytes | None]:
        """Some rows, and the bound behind them."""
        with self._table.writing:
            version, _, (found,) = patiently(
                lambda: ask_rows(self._table.place, b"", [], [(first, b"+", _ROWS)]), timedelta()
            )
            if version.partition(b".")[0] != self._owner:
                raise StoreUnavailableError(f"{self._table.name}: are gone, or another process writes them")
            last = found[-1][0] if len(found) == _ROWS else None
            if self._passed is not None and last is not None:
                self._passed = last
        rows: dict[bytes, bytes | None] = dict(found)
        rows |= {key: self._were[key] for key in self._between(first, last)}
        shown = sorted((key, value) for key, value in rows.items() if value is not None)
        return shown, None if last is None else b"(" + last

    def _between(self, first: bytes, last: bytes | None) -> list[bytes]:
        find = bisect_right if first[:1] == b"(" else bisect_left
        begin = find(self._changed, first[1:])
        return self._changed[begin : None if last is None else bisect_right(self._changed, last)]
