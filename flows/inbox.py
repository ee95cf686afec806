"""Inbox flow: operations of topic `inbox` become rows in the inbox stores, and their counts go to the ledger.

    inbox ─► by partition ─► rows (RocksDB or Redis) ─► counts ─► ledger

The stores keep their own offsets (`flows/steps/inbox.py`), so the flow needs no recovery store of Bytewax and is exact
after kill -9 at any instant. It runs as one process or as several (`-i/-a`): the worker that has a partition opens the
partition's store. A store that is lost or does not fit the log is restored from its newest export, or the flow refuses
to start (`flows/recovery/restore.py`).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from connectors.inbox.options import InboxRedisOptions
from connectors.inbox.rocksdb import RocksInboxStore, shard_path, stored_offset
from connectors.inbox.store import TableInboxStore
from connectors.log.backlog import Backlog
from connectors.log.interface import Log
from connectors.log.source import LogSource, SourceBatch, partition_key
from connectors.log.topics import written_by
from flows.config.settings import load_settings
from flows.process.cluster import ALONE, ClusterPlace, cluster_place
from flows.process.directories import INBOX
from flows.process.drain import install_drain
from flows.process.load import report_load
from flows.process.logs import ensure_logs
from flows.process.open import clock_ms
from flows.process.place import own_place
from flows.recovery.bounds import StoreHome, goes_on_from
from flows.recovery.export import Exporter
from flows.recovery.prepare import start_exporter
from flows.recovery.restore import ensure_store
from flows.steps.inbox import InboxParts, InboxSink
from state.disk.exports import Export, ExportedOffset
from state.disk.poison import PoisonJournal

TOPIC = "inbox"


@dataclass(frozen=True, slots=True)
class InboxFlowOptions:
    """Pace and bounds of the flow."""

    budget: int = 20_000
    """Records of a partition that may enter an epoch."""
    counts_interval: timedelta = timedelta(seconds=1)
    """How often the counts of changed groups are published, and the stores' housekeeping does its turn."""


class _Stores:
    """The stores: fit for use before they are opened, exported from then on. These are under `DIR/state/inbox`."""

    def __init__(self, data_dir: Path, open_log: Callable[[], Log], exporter: Exporter | None) -> None:
        self._data_dir, self._open_log, self._exporter = data_dir, open_log, exporter
        self._ensuring = threading.Lock()

    def open(self, partition: int) -> TableInboxStore:
        """For the worker that owns the partition."""
        home, log = self._home(partition), self._open_log()
        try:
            self._ensure(home, partition, log)
        finally:
            log.close()
        store = self._opened(home, partition)
        if self._exporter is not None:
            self._exporter.add(store.export_source(partition))
        return store

    def start(self, topic: str, partition: int) -> int:
        """Where the source begins to read the partition."""
        home, log = self._home(partition), self._open_log()
        try:
            self._ensure(home, partition, log)
            return goes_on_from(home, self._offset(home, partition) or None, topic, partition, log)
        finally:
            log.close()

    def _home(self, partition: int) -> StoreHome:
        path = shard_path(self._data_dir / INBOX, partition)
        return StoreHome(f"inbox/{partition}", path, self._data_dir)

    def _ensure(self, home: StoreHome, partition: int, log: Log) -> None:
        def stored() -> list[ExportedOffset]:
            offset = self._offset(home, partition)
            return [ExportedOffset(TOPIC, partition, offset)] if offset else []

        with self._ensuring:  # the source's worker and the sink's may be two
            ensure_store(
                home, stored, [(TOPIC, partition)], log, rebuildable=lambda: log.begin_offset(TOPIC, partition) == 0,
                put=self._put(home, partition),
            )  # fmt: skip

    def _opened(self, home: StoreHome, _partition: int) -> TableInboxStore:
        return RocksInboxStore(home.path)

    def _offset(self, home: StoreHome, _partition: int) -> int:
        return stored_offset(home.path)

    def _put(self, _home: StoreHome, _partition: int) -> Callable[[Export], None] | None:
        return None


class _RedisStores(_Stores):
    """Those in Redis; their locks are under `DIR/state/inbox`."""

    def __init__(
        self, data_dir: Path, open_log: Callable[[], Log], exporter: Exporter | None, redis: InboxRedisOptions
    ) -> None:
        super().__init__(data_dir, open_log, exporter)
        self._redis = redis

    def _home(self, partition: int) -> StoreHome:
        from connectors.inbox.redis import redis_keys

        return super()._home(partition)._replace(keys=redis_keys(self._redis, partition))

    def _opened(self, _home: StoreHome, partition: int) -> TableInboxStore:
        from connectors.inbox.redis import RedisInboxStore

        return RedisInboxStore(self._redis, partition)

    def _offset(self, _home: StoreHome, partition: int) -> int:
        from connectors.inbox.redis import redis_offset

        return redis_offset(self._redis, partition)

    def _put(self, home: StoreHome, partition: int) -> Callable[[Export], None]:
        from connectors.inbox.redis import load_into_redis

        return lambda export: load_into_redis(
            self._redis, partition, export, home.path.with_name(f".{partition}.loading")
        )


def wire(
    open_log: Callable[[], Log],
    data_dir: Path,
    *,
    drain: Callable[[], bool],
    options: InboxFlowOptions | None = None,
    exporter: Exporter | None = None,
    place: ClusterPlace = ALONE,
    backlog: Backlog | None = None,
    redis: InboxRedisOptions | None = None,
) -> Dataflow:
    """The flow over any log; the stores are in `DIR/state/inbox` or in `redis`, their exports in `DIR/exports/inbox`.
    `backlog` is told how far it is behind.
    """
    given = options or InboxFlowOptions()
    stores = _Stores(data_dir, open_log, exporter)
    if redis is not None:
        stores = _RedisStores(data_dir, open_log, exporter, redis)
    log = open_log()
    partitions = log.partitions(TOPIC)
    log.close()
    source = LogSource(
        open_log,
        [TOPIC],
        start=stores.start,
        budget=given.budget,
        drain=drain,
        drain_within=timedelta(seconds=5),
        tick=given.counts_interval,
        mine=place.holds_partition,
        wait=place.wait,
        backlog=backlog,
    )
    sink = InboxSink(
        InboxParts(
            open_store=stores.open,
            open_journal=lambda partition: PoisonJournal.open(
                data_dir / INBOX / f"poison-{partition:03}", unit=data_dir / INBOX.parent
            ),
            open_log=open_log,
            partitions=partitions,
            now_ms=clock_ms,
            mine=place.holds_partition,
        )
    )
    flow = Dataflow("inbox")
    keyed: KeyedStream[SourceBatch] = op.key_on("by_partition", op.input("operations", flow, source), partition_key)
    op.output("rows", keyed, sink)
    return flow


def build() -> Dataflow:
    """The flow as configured; drains on SIGTERM."""
    ensure_logs("inbox")
    settings = load_settings()
    open_log = own_place(settings, "inbox", written_by("inbox"))
    exporter = start_exporter(settings)
    return wire(
        open_log,
        settings.data_dir,
        drain=install_drain(),
        exporter=exporter,
        place=cluster_place(),
        backlog=report_load(settings, "inbox", open_log()),
        redis=settings.inbox.in_redis(),
    )
