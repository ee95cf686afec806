"""The rows of an inbox store in Redis (`connectors/inbox/redis.py` says what is kept there and why).

One answer of the script holds as many values and ranges as are asked for, all of one commit, and its version.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeVar

import redis
import structlog
from redis.commands.core import Script
from redis.exceptions import RedisError

from connectors.inbox.table import KeyedBytes, TableBatch, in_parts
from state.model.errors import StoreUnavailableError

_READ = """
local version = redis.call('HGET', KEYS[1], 'version') or ''
if redis.call('EXISTS', KEYS[2]) == 0 then version = '' end
if version == '' or (ARGV[1] ~= '' and version ~= ARGV[1]) then return {version, {}, {}} end
local values, ranges, last = {}, {}, 2 + tonumber(ARGV[2])
for first = 3, last, 1000 do
  for _, value in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV, first, math.min(first + 999, last)))) do
    values[#values + 1] = value
  end
end
for first = last + 1, #ARGV, 3 do
  local found, limit = nil, tonumber(ARGV[first + 2])
  if limit > 0 then
    found = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[first], ARGV[first + 1], 'LIMIT', 0, limit)
  else
    found = redis.call('ZREVRANGEBYLEX', KEYS[2], ARGV[first + 1], ARGV[first], 'LIMIT', 0, -limit)
  end
  ranges[#ranges + 1] = {found, #found > 0 and redis.call('HMGET', KEYS[1], unpack(found)) or {}}
end
return {version, values, ranges}
"""
VERSION_FIELD = b"version"
_PAUSE_S = 0.25
_FIRST_ROWS, _MOST_ROWS = 32, 512
"""Rows in one answer: for a page at first, then more."""
_ROWS_OF_EACH = 64
_WRITTEN_AT_ONCE = 500
T = TypeVar("T")
_logger = structlog.get_logger(__name__)


class OtherVersionError(StoreUnavailableError):
    """The rows are of another commit than was expected."""


class RowsMissingError(OtherVersionError):
    """There are none."""


class TablePlace(NamedTuple):
    """Where the rows of a partition are."""

    client: redis.Redis
    read: Script
    rows: str
    order: str

    @classmethod
    def of(cls, client: redis.Redis, prefix: str, partition: int) -> TablePlace:
        """Nobody is asked."""
        at = f"{prefix}:inbox:{partition}"
        return cls(client, client.register_script(_READ), f"{at}:rows", f"{at}:order")


class WriteWitness(Protocol):
    """Who must know what rows were before they change (`connectors/inbox/redis_view.py`)."""

    def before(self, keys: Sequence[bytes], table: RedisTable) -> None:
        """Be told that these rows are about to change."""
        ...


class RedisTable:
    """See `connectors.inbox.table.InboxTable`; with an owner's version it can be written."""

    def __init__(self, place: TablePlace, version: bytes = b"", *, patience: timedelta = timedelta()) -> None:
        """Without a version, that of the first answer is the one of which all others must be, too."""
        self.place, self._version, self._patience = place, version, patience
        self.writing = threading.Lock()
        """Held while a batch is written."""
        self.witness: Callable[[], WriteWitness | None] = lambda: None

    @property
    def name(self) -> str:
        """The key."""
        return f"redis {self.place.rows}"

    @property
    def owner(self) -> bytes:
        """Whose the rows are."""
        return self._version.partition(b".")[0]

    def values(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        """One answer."""
        return self._read(wanted, [])[0]

    def rows(self, prefix: bytes, start: bytes | None = None, *, backwards: bool = False) -> Iterator[KeyedBytes]:
        """Some in each answer."""
        first, behind, limit = b"[" + (start or prefix), _behind(prefix), _FIRST_ROWS
        while True:
            (found,) = self._read([], [(first, behind, -limit if backwards else limit)])[1]
            yield from found
            if len(found) < limit:
                return
            bound = b"(" + found[-1][0]
            first, behind = (first, bound) if backwards else (bound, behind)
            limit = min(4 * limit, _MOST_ROWS)

    def rows_of_each(self, prefixes: Sequence[bytes]) -> list[list[KeyedBytes]]:
        """One answer, and further ones for whoever has many rows."""
        if not prefixes:
            return []
        found = self._read([], [(b"[" + prefix, _behind(prefix), _ROWS_OF_EACH) for prefix in prefixes])[1]
        for prefix, rows in zip(prefixes, found, strict=True):
            if len(rows) == _ROWS_OF_EACH:
                rows.extend(self.rows(prefix, rows[-1][0] + b"\0"))
        return found

    def firsts(self, ranges: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """One answer."""
        found = self._read([], [(b"[" + start, _behind(prefix), 1) for prefix, start in ranges])[1]
        return [rows[0][1] if rows else b"" for rows in found]

    def write(self, batch: TableBatch, *, synced: bool = True) -> None:
        """One transaction; when it is on the disk is for Redis's settings to say.

        :raises StoreUnavailableError: no answer in time; or the rows are gone, or another process writes them.
        """
        for prefix in batch.prefixes:
            for key, _ in self.rows(prefix):
                batch.rows.setdefault(key, None)
        owner, _, number = self._version.partition(b".")
        following = b"%b.%d" % (owner, int(number) + 1)
        with self.writing:
            if (witness := self.witness()) is not None:
                witness.before([*batch.rows], self)
            self._patiently(lambda: self._exchange(batch, following))
            self._version = following

    def _exchange(self, batch: TableBatch, following: bytes) -> None:
        client, _, rows, order = self.place
        pipeline: Any
        with client.pipeline(transaction=True) as pipeline:
            pipeline.watch(rows, order)
            found = pipeline.hget(rows, VERSION_FIELD.decode()) if pipeline.exists(order) else None
            if found == following:
                return  # it was made, and its answer was lost
            if found != self._version:
                raise self._other(found)
            pipeline.multi()
            gone = [key for key, value in batch.rows.items() if value is None]
            for part in in_parts(gone, _WRITTEN_AT_ONCE):
                pipeline.execute_command("HDEL", rows, *part)
                pipeline.execute_command("ZREM", order, *part)
            put_rows(pipeline, self.place, [(key, value) for key, value in batch.rows.items() if value is not None])
            pipeline.execute_command("HSET", rows, VERSION_FIELD, following)
            pipeline.execute()

    def _read(
        self, wanted: Sequence[bytes], ranges: Sequence[tuple[bytes, bytes, int]]
    ) -> tuple[list[bytes | None], list[list[KeyedBytes]]]:
        """:raises OtherVersionError: there was a commit since, or there is nothing."""
        version, values, found = self._patiently(lambda: ask_rows(self.place, self._version, wanted, ranges))
        if not version or (self._version and version != self._version):
            raise self._other(version)
        self._version = version
        return values, found

    def _patiently(self, ask: Callable[[], T]) -> T:
        return patiently(ask, self._patience)

    def _other(self, found: bytes | None) -> OtherVersionError:
        if not found:
            return RowsMissingError(f"{self.name}: there are no rows; the inbox flow restores them when it starts")
        return OtherVersionError(f"{self.name}: another process has written the rows")


def ask_rows(
    place: TablePlace, version: bytes, wanted: Sequence[bytes], ranges: Sequence[tuple[bytes, bytes, int]]
) -> tuple[bytes, list[bytes | None], list[list[KeyedBytes]]]:
    """The version, the values of some keys and the rows of some ranges (from, behind, at most) as Redis writes bounds.

    With a negative number a range is read backwards. Of another version than this one nothing is read. Raises what the
    client raises.
    """
    arguments: list[Any] = [version, len(wanted), *wanted, *chain.from_iterable(ranges)]
    found, values, rows = place.read(keys=[place.rows, place.order], args=arguments)
    return found, values, [[*zip(*each, strict=True)] for each in rows]


def put_rows(pipeline: Any, place: TablePlace, rows: Sequence[KeyedBytes]) -> None:
    """Queue them."""
    for part in in_parts(rows, _WRITTEN_AT_ONCE):
        pipeline.execute_command("HSET", place.rows, *chain.from_iterable(part))
        pipeline.execute_command("ZADD", place.order, *chain.from_iterable((0, key) for key, _ in part))


def patiently(ask: Callable[[], T], patience: timedelta) -> T:
    """What Redis says, asked again and again for so long.

    :raises StoreUnavailableError: nothing, or that it cannot.
    """
    end = time.monotonic() + patience.total_seconds()
    while True:
        try:
            return ask()
        except (RedisError, OSError, TimeoutError) as error:
            if time.monotonic() >= end:
                raise StoreUnavailableError(f"redis: {type(error).__name__}") from error
            _logger.warning("waits_for_redis", error=type(error).__name__)
            time.sleep(_PAUSE_S)


def _behind(prefix: bytes) -> bytes:
    """The bound behind all keys that begin so."""
    kept = prefix.rstrip(b"\xff")
    return b"(" + kept[:-1] + bytes([kept[-1] + 1]) if kept else b"+"
