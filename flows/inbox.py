"""Inbox flow: operations of topic `inbox` become rows in the inbox stores, and their counts go to the ledger.

    inbox ─► by partition ─► rows (RocksDB) ─► counts ─► ledger

The stores know what they hold and where to go on (`flows/steps/inbox.py`): the flow needs no recovery store of Bytewax,
and is exact with or without one, after kill -9 at any instant. One process, or several with `-i/-a`: each partition's
store is opened by the worker that owns the partition.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from connectors.inbox.rocksdb import RocksInboxOptions, RocksInboxStore, shard_path, stored_offset
from connectors.log.bytewax import LogSource
from connectors.log.interface import Log, Record
from flows.drain import install_drain
from flows.fencing import own_place
from flows.logs import ensure_logs
from flows.open import clock_ms
from flows.settings import load_settings
from flows.steps.inbox import HousekeepingOptions, InboxParts, InboxSink, Item
from flows.steps.resuming import resume_offset
from flows.steps.ticks import Tick, TickSource

OWN_OFFSETS = True
"""Tells who runs the flow that it needs no recovery store."""
DIRECTORY = Path("state") / "inbox"
"""Where the stores lie under the data directory: one directory per partition."""


@dataclass(frozen=True, slots=True)
class InboxFlowOptions:
    """Pace and bounds of the flow."""

    budget: int = 20_000
    """Records of a partition that may enter an epoch."""
    counts_interval: timedelta = timedelta(seconds=1)
    """How often the counts of changed groups are published, and the stores' housekeeping does its turn."""
    store: RocksInboxOptions = field(default_factory=RocksInboxOptions)
    """Memory and flushing of the stores."""
    housekeeping: HousekeepingOptions = field(default_factory=HousekeepingOptions)
    """Audits and retirement per interval."""


def _by_partition(item: list[Record] | Tick) -> str:
    return str(item.partition if isinstance(item, Tick) else item[0].partition)


def wire(
    open_log: Callable[[], Log],
    directory: Path,
    *,
    drain: Callable[[], bool],
    options: InboxFlowOptions | None = None,
) -> Dataflow:
    """The flow over any log; `directory` holds the stores (`DIR/state/inbox`)."""
    given = options or InboxFlowOptions()
    log = open_log()
    partitions = log.partitions("inbox")
    log.close()
    source = LogSource(
        open_log,
        ["inbox"],
        start=lambda topic, partition: resume_offset(
            open_log, stored_offset(shard_path(directory, partition)), topic, partition
        ),
        budget=given.budget,
        resume="own",
        drain=drain,
        drain_within=timedelta(seconds=5),
    )
    ticks = TickSource(partitions, given.counts_interval, clock=time.monotonic, drain=drain)
    sink = InboxSink(
        InboxParts(
            open_store=lambda partition: RocksInboxStore(shard_path(directory, partition), given.store),
            open_log=open_log,
            partitions=partitions,
            now_ms=clock_ms,
            housekeeping=given.housekeeping,
        )
    )
    flow = Dataflow("inbox")
    operations = op.input("operations", flow, source)
    passed = op.input("intervals", flow, ticks)
    keyed: KeyedStream[Item] = op.key_on("by_partition", op.merge("with_intervals", operations, passed), _by_partition)
    op.output("rows", keyed, sink)
    return flow


def build() -> Dataflow:
    """The flow as configured; drains on SIGTERM."""
    ensure_logs("inbox")
    settings = load_settings()
    open_log = own_place(settings, "inbox", ("ledger",))
    return wire(open_log, settings.data_dir / DIRECTORY, drain=install_drain())
