"""Inbox store in Redis, for gateways on other machines than the one whose flow writes it.

    PREFIX:inbox:<partition>:rows     hash: key of a row -> value (`connectors/inbox/keys.py`), and `version`
    PREFIX:inbox:<partition>:order    sorted set, all scores 0: the keys of the rows, which say their order

A commit is one MULTI/EXEC, from the `version` that its owner left, "<owner>.<number>", to the next one. So a commit
whose answer was lost is not made twice, an owner whose place was taken changes nothing more, and rows that were lost
meanwhile are noticed. Who reads asks a script, whose answer is of one commit and has the version with it; a
question of several steps begins again where another commit came between them.

The owner waits up to a minute for a Redis that is away, and then the flow ends and is started again. A reader waits for
its deadline, and asks at most once a second while there is no answer. For one Redis, with or without replicas, not for
Redis Cluster. It must not evict.
"""

from __future__ import annotations

import secrets
import shutil
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from connectors.inbox import keys
from connectors.inbox.options import InboxRedisOptions
from connectors.inbox.reader import TableInboxReader
from connectors.inbox.redis_table import (
    VERSION_FIELD,
    OtherVersionError,
    RedisTable,
    RowsMissingError,
    TablePlace,
    ask_rows,
    patiently,
    put_rows,
)
from connectors.inbox.redis_view import RedisView
from connectors.inbox.store import TableInboxStore, inbox_export
from connectors.inbox.table import InboxTable, in_parts
from connectors.redis_client import blocking_redis, eviction
from state.disk.exports import Export, ExportSource, opened_export
from state.inbox.slices import BlockBounds
from state.model.errors import StoreUnavailableError
from state.model.keys import partition_of_group

_PATIENCE = timedelta(minutes=1)
"""How long the owner waits; a flow that stands still for two minutes is killed."""
_OWNER_DEADLINE = timedelta(seconds=20)
"""For one answer: that to a large commit takes longer than a page."""
_REST_S = 1.0
"""How long a reader says by itself that Redis is away."""
_TRIES = 20
"""A commit seldom comes between the two or three steps of a question."""
_LOADED_AT_ONCE = 2_000
T = TypeVar("T")


class RedisInboxStore(TableInboxStore):
    """See `connectors.inbox.interface.InboxStore`. Whoever opens it takes it from its owner."""

    def __init__(self, options: InboxRedisOptions, partition: int, bounds: BlockBounds | None = None) -> None:
        """Take the store over, or begin it.

        :raises StoreUnavailableError: no answer for a minute, or Redis may evict keys.
        :raises StateVersionError: it was written by a newer program.
        """
        self._partition = partition
        self._place = _place(options, partition)
        version = secrets.token_hex(8).encode() + b".0"
        patiently(lambda: _take_over(self._place, version), _PATIENCE)
        self._redis_table = RedisTable(self._place, version, patience=_PATIENCE)
        super().__init__(self._redis_table, bounds)

    def export_source(self, partition: int) -> ExportSource:
        """What an export of this store is made of."""
        return inbox_export(partition, self._view)

    def _view(self) -> RedisView:
        view = RedisView(self._redis_table)
        self._redis_table.witness = weakref.ref(view)
        return view

    def close(self) -> None:
        """Close the connections."""
        self._place.client.close()


def _place(options: InboxRedisOptions, partition: int) -> TablePlace:
    return TablePlace.of(blocking_redis(options, _OWNER_DEADLINE), options.prefix, partition)


def _take_over(place: TablePlace, version: bytes) -> None:
    """What has no version is the rest of a store, and goes."""
    client, _, rows, order = place
    memory: Any = client.info("memory")
    if fault := eviction(memory):
        raise StoreUnavailableError(fault)
    whole = ask_rows(place, b"", [], [])[0]
    with client.pipeline(transaction=True) as pipeline:
        if not whole:
            pipeline.unlink(rows, order)
        pipeline.hset(rows, VERSION_FIELD.decode(), version.decode())
        if not whole:
            put_rows(pipeline, place, [(keys.VERSION_KEY, bytes([keys.LAYOUT_VERSION]))])
        pipeline.execute()


def redis_keys(options: InboxRedisOptions, partition: int) -> str:
    """What to call the place of a store."""
    return f"{options.prefix}:inbox:{partition}:* in Redis"


def redis_offset(options: InboxRedisOptions, partition: int) -> int:
    """The offset at which the owner of this store goes on; 0 where there is none yet.

    :raises StoreUnavailableError: no answer for a minute.
    """
    place = _place(options, partition)
    try:
        version, values, _ = patiently(lambda: ask_rows(place, b"", [keys.OFFSET_KEY], []), _PATIENCE)
        return int.from_bytes(values[0] or b"", "big") if version else 0
    finally:
        place.client.close()


def load_into_redis(options: InboxRedisOptions, partition: int, export: Export, scratch: Path) -> None:
    """Put the rows of an export that was verified in place of what is there, all at once.

    `scratch` is a directory for the time of loading.

    :raises StoreUnavailableError: no answer for a minute.
    """
    place = _place(options, partition)
    draft = place._replace(rows=f"{place.rows}:loading", order=f"{place.order}:loading")
    client = place.client

    def put(rows: list[tuple[Any, Any]]) -> None:
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hset(draft.rows, VERSION_FIELD.decode(), "loaded.0")
            put_rows(pipeline, draft, rows)
            pipeline.execute()

    def replace() -> None:  # a second time it does nothing
        pipeline: Any
        with client.pipeline(transaction=True) as pipeline:
            pipeline.execute_command("RENAME", draft.rows, place.rows)
            pipeline.execute_command("RENAME", draft.order, place.order)
            pipeline.execute()

    try:
        shutil.rmtree(scratch, ignore_errors=True)
        patiently(lambda: client.unlink(draft.rows, draft.order), _PATIENCE)
        with opened_export(export, scratch) as database:
            for part in in_parts(database.items(), _LOADED_AT_ONCE):
                patiently(partial(put, part), _PATIENCE)
        patiently(replace, _PATIENCE)
    finally:
        client.close()
        shutil.rmtree(scratch, ignore_errors=True)


class RedisInboxReader(TableInboxReader):
    """See `connectors.inbox.interface.InboxReader`. Every call ends within a few deadlines."""

    def __init__(self, options: InboxRedisOptions, partitions: int) -> None:
        """Connect at the first call."""
        self._client, self._partitions = blocking_redis(options), partitions
        self._places = [TablePlace.of(self._client, options.prefix, number) for number in range(partitions)]
        self._away_until = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, group: int, question: Callable[[InboxTable], T], nothing: T) -> T:
        """Ask again where a commit came in between; where there are no rows they are lost, or not made yet.

        :raises StoreUnavailableError: no answer, no rows, or commits follow each other faster than it can be read.
        """
        now = time.monotonic()
        if now < self._away_until:
            raise StoreUnavailableError("redis: did not answer a moment ago")
        place = self._places[partition_of_group(group, self._partitions)]
        for tried in range(_TRIES):
            try:
                return question(RedisTable(place))
            except RowsMissingError:
                raise
            except OtherVersionError:
                time.sleep(tried / 1000)
            except StoreUnavailableError:
                self._away_until = time.monotonic() + _REST_S
                raise
        raise StoreUnavailableError(f"redis {place.rows}: changes faster than it can be read; ask again")
