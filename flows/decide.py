"""Decide flow: the decision log in, decisions, inbox operations and emissions to deliver out (DECISIONS, One ordered
log).

work ─► by key group ─► decide (state: RocksDB) ─► ledger, inbox, deliver.<channel>, dead_letters

Runs with any number of workers that divides 240, in one or several processes, also under the stock runner's `-i`, `-a`
and `-w` (`flows/recovery/slots.py` says which process decides what, and how that moves).
"""

import time
from collections.abc import Callable, Collection
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.log.backlog import Backlog
from connectors.log.interface import Log
from connectors.log.sink import LogSink
from connectors.log.source import LogSource
from connectors.log.topics import written_by
from flows.config.settings import load_settings
from flows.process.cluster import ALONE, ClusterPlace, cluster_place
from flows.process.drain import install_drain
from flows.process.load import report_load
from flows.process.logs import ensure_logs
from flows.process.place import keep_until_end, own_place
from flows.recovery.prepare_decide import export_decide, prepare_decide
from flows.recovery.slots import DecideSlot
from flows.steps.decide.epoch_credit import note_credit
from flows.steps.decide.group import GroupDecider
from flows.steps.decide.steps import DecideGroup, split_by_group
from flows.steps.decide.together import evaluate_ahead
from flows.steps.decide.turns import SliceTurns
from state.decide.checkpoint import GroupStore
from state.disk.poison import PoisonJournal
from state.model.errors import StateError
from state.model.keys import KEY_GROUPS, groups_of_partition
from state.model.registry import Registry

DIRECTORY = Path("state") / "decide"
_IN_HAND = 2
"""So many times the records of an epoch: as many as enter one may wait in `SliceTurns`."""
_DRAIN_WITHIN = timedelta(seconds=5)
"""A drain decides what is in `work` already, so that the counts are on the ledger when the system has stopped."""


def wire(
    open_log: Callable[[], Log],
    store: GroupStore,
    registry: Registry,
    journal: PoisonJournal,
    *,
    partitions: int,
    budget: int,
    drain: Callable[[], bool],
    groups: Collection[int] = range(KEY_GROUPS),
    start: Callable[[int], int] | None = None,
    place: ClusterPlace = ALONE,
    backlog: Backlog | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Dataflow:
    """The flow over any log; `budget` records of a partition enter an epoch. `backlog` is told how far it is behind.

    `groups` are those that this process decides, and `start` gives where the cluster reads a partition of `work`: both
    only where there are several processes. `monotonic`: seconds, by which slices take turns with the log.
    """
    turns = SliceTurns(budget, monotonic, evaluate_ahead)
    first = start or partial(read_from, store, partitions=partitions)
    source = LogSource(
        open_log,
        ["work"],
        start=lambda _topic, partition: first(partition),
        budget=budget,
        drain=drain,
        on_epoch=store.commit,
        drain_within=_DRAIN_WITHIN,
        mine=place.holds_partition,
        has_room=turns.has_room,
        wait=lambda: timedelta() if turns.busy() else place.wait(),
        backlog=backlog,
        held_since=turns.oldest_ms,
    )

    def open_group(group: int) -> GroupDecider:
        if group not in groups:
            raise StateError(
                f"decide: key group {group} came to a process that does not decide it; nothing was decided"
            )
        return GroupDecider(group, store, registry, journal, partitions=partitions)

    flow = Dataflow("decide")
    work = op.input("work", flow, source)
    by_group = op.flat_map("by_group", work, split_by_group(partitions))
    decided = op.stateful_batch("decide", by_group, lambda _: DecideGroup(open_group, turns))
    op.output(
        "outputs",
        op.map("to_partition", decided, lambda item: item[1]),
        LogSink(open_log, written_by("decide")),
    )
    return flow


def read_from(store: GroupStore, partition: int, *, partitions: int) -> int:
    """Where the source starts: at the group that is furthest behind."""
    return min(store.next_offset(group) for group in groups_of_partition(partition, partitions))


def build() -> Dataflow:
    """The flow as configured; drains on SIGTERM. Owns its slot of the state directory for the life of the process."""
    ensure_logs("decide")
    settings = load_settings()
    slot = DecideSlot(settings.data_dir / DIRECTORY, cluster_place())
    open_log = own_place(settings, "decide", written_by("decide"))
    with closing(open_log()) as log:
        note_credit(log, slot.number, _IN_HAND * settings.lanes.p1_per_epoch)
    prepare_decide(settings, slot.store, slot.path, slot.groups, open_log)
    export_decide(settings, slot.store, slot=slot.number)
    slot.publish()
    partitions = settings.log.partitions
    flow = wire(
        open_log,
        slot.store,
        settings.registry(),
        slot.journal,
        partitions=partitions,
        budget=settings.lanes.p1_per_epoch,
        drain=install_drain(),
        groups=slot.groups,
        start=partial(slot.first_offset, partitions=partitions),
        place=cluster_place(),
        backlog=report_load(settings, "decide", open_log()),
    )
    keep_until_end(slot)
    return flow
