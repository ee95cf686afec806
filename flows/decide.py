"""Decide flow: the decision log in, decisions, inbox operations and emissions to deliver out (DESIGN 2.1).

work ─► by key group ─► decide (state: RocksDB) ─► ledger, inbox, deliver.<channel>, dead_letters
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.log.bytewax import LogSink, LogSource
from connectors.log.interface import Log
from flows.drain import install_drain
from flows.exports import export_decide, prepare_decide
from flows.fencing import own_place
from flows.logs import ensure_logs
from flows.settings import load_settings
from flows.steps.decide import DecideGroup, split_by_group
from flows.steps.deciding import GroupDecider
from flows.topics import SENT_CHANNELS, deliver_topic
from state.lock import StateLock
from state.model.keys import KEY_GROUPS, groups_of_partition
from state.model.registry import Registry
from state.poison import PoisonJournal
from state.rocksdb import GroupStore

OWN_OFFSETS = True
"""The checkpoint holds the offsets; Bytewax's recovery store is not needed (and does no harm)."""
DIRECTORY = Path("state") / "decide"
OUTPUT_TOPICS = ("ledger", "inbox", "dead_letters", *(deliver_topic(channel) for channel in SENT_CHANNELS))
_DRAIN_WITHIN = timedelta(seconds=5)
"""A drain decides what is in `work` already, so that the counts stand on the ledger when the system has stopped."""


def wire(
    open_log: Callable[[], Log],
    store: GroupStore,
    registry: Registry,
    journal: PoisonJournal,
    *,
    partitions: int,
    budget: int,
    drain: Callable[[], bool],
) -> Dataflow:
    """The flow over any log; `budget` records of a partition enter an epoch."""
    source = LogSource(
        open_log,
        ["work"],
        start=lambda _topic, partition: first_offset(store, partition, partitions),
        budget=budget,
        resume="own",
        drain=drain,
        on_epoch=store.commit,
        drain_within=_DRAIN_WITHIN,
    )

    def open_group(group: int) -> GroupDecider:
        return GroupDecider(group, store, registry, journal, partitions=partitions)

    flow = Dataflow("decide")
    work = op.input("work", flow, source)
    by_group = op.flat_map("by_group", work, split_by_group(partitions))
    decided = op.stateful_batch("decide", by_group, lambda _: DecideGroup(open_group))
    op.output(
        "outputs",
        op.map("to_partition", decided, lambda item: item[1]),
        LogSink(open_log, OUTPUT_TOPICS),
    )
    return flow


def first_offset(store: GroupStore, partition: int, partitions: int) -> int:
    """Where the source starts: at the group that is furthest behind."""
    return min(store.next_offset(group) for group in groups_of_partition(partition, partitions))


def build() -> Dataflow:
    """The flow as configured; drains on SIGTERM. Owns the state directory for the life of the process."""
    ensure_logs("decide")
    settings = load_settings()
    directory = settings.data_dir / DIRECTORY
    lock = StateLock.acquire(directory, "decide")
    open_log = own_place(settings, "decide", OUTPUT_TOPICS)
    store = GroupStore(directory / "rocksdb")
    prepare_decide(settings, store, directory / "rocksdb", range(KEY_GROUPS), open_log)
    export_decide(settings, store, slot=0)
    flow = wire(
        open_log,
        store,
        settings.registry(),
        PoisonJournal.open(directory / "poison"),
        partitions=settings.log.partitions,
        budget=settings.lanes.p1_per_epoch,
        drain=install_drain(),
    )
    _OWNED.append((lock, store))
    return flow


_OWNED: list[tuple[StateLock, GroupStore]] = []
"""Held until the process ends: the lock goes with its file."""
