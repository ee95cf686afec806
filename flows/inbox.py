"""Inbox flow: operations of topic `inbox` become rows in the inbox stores, and their counts go to the ledger.

    inbox ─► by partition ─► rows (RocksDB) ─► counts ─► ledger

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

from connectors.inbox.rocksdb import RocksInboxStore, shard_path, stored_offset
from connectors.log.backlog import Backlog
from connectors.log.interface import Log, Record
from connectors.log.source import LogSource, SourceBatch, Tick
from connectors.log.topics import written_by
from flows.config.settings import load_settings
from flows.process.cluster import ALONE, ClusterPlace, cluster_place
from flows.process.directories import INBOX
from flows.process.drain import install_drain
from flows.process.load import report_load
from flows.process.logs import ensure_logs
from flows.process.open import clock_ms
from flows.process.place import own_place
from flows.recovery.bounds import StoreHome, first_offset
from flows.recovery.export import Exporter
from flows.recovery.prepare import start_exporter
from flows.recovery.restore import ensure_store
from flows.steps.inbox import InboxParts, InboxSink
from state.disk.exports import ExportedOffset
from state.disk.poison import PoisonJournal

TOPIC = "inbox"


@dataclass(frozen=True, slots=True)
class InboxFlowOptions:
    """Pace and bounds of the flow."""

    budget: int = 20_000
    """Records of a partition that may enter an epoch."""
    counts_interval: timedelta = timedelta(seconds=1)
    """How often the counts of changed groups are published, and the stores' housekeeping does its turn."""


def _by_partition(item: list[Record] | Tick) -> str:
    return str(item.partition if isinstance(item, Tick) else item[0].partition)


class _Stores:
    """The stores under `DIR/state/inbox`: fit for use before they are opened, exported from then on."""

    def __init__(self, data_dir: Path, open_log: Callable[[], Log], exporter: Exporter | None) -> None:
        self._data_dir, self._open_log, self._exporter = data_dir, open_log, exporter
        self._ensuring = threading.Lock()

    def open(self, partition: int) -> RocksInboxStore:
        """For the worker that owns the partition."""
        home, log = self._home(partition), self._open_log()
        try:
            self._ensure(home, partition, log)
        finally:
            log.close()
        store = RocksInboxStore(home.path)
        if self._exporter is not None:
            self._exporter.add(store.export_source(partition))
        return store

    def start(self, topic: str, partition: int) -> int:
        """Where the source begins to read the partition."""
        home, log = self._home(partition), self._open_log()
        try:
            self._ensure(home, partition, log)
            return first_offset(home, stored_offset(home.path) or None, topic, partition, log)
        finally:
            log.close()

    def _home(self, partition: int) -> StoreHome:
        path = shard_path(self._data_dir / INBOX, partition)
        return StoreHome(f"inbox/{partition}", path, self._data_dir)

    def _ensure(self, home: StoreHome, partition: int, log: Log) -> None:
        def stored() -> list[ExportedOffset]:
            offset = stored_offset(home.path)
            return [ExportedOffset(TOPIC, partition, offset)] if offset else []

        with self._ensuring:  # the source's worker and the sink's may be two
            ensure_store(
                home, stored, [(TOPIC, partition)], log, rebuildable=lambda: log.begin_offset(TOPIC, partition) == 0
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
) -> Dataflow:
    """The flow over any log; the stores are in `DIR/state/inbox`, their exports in `DIR/exports/inbox`. `backlog` is
    told how far it is behind.
    """
    given = options or InboxFlowOptions()
    stores = _Stores(data_dir, open_log, exporter)
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
    keyed: KeyedStream[SourceBatch] = op.key_on("by_partition", op.input("operations", flow, source), _by_partition)
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
    )
