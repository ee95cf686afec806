"""Deliver flow: emissions of P1 and P2 go to the providers, and the results to the ledger (RULES 4).

    deliver.CHANNEL ─► by lane ─► send (attempts, providers) ─► ledger, endpoints, dead_letters

Lanes keep their own offsets (`DIR/state/deliver`), so the flow needs no recovery store of Bytewax. A lane whose file is
lost finds in `attempts` what was sent. The flow runs with any number of workers that divides 240; more workers than
lanes find nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from connectors.log.interface import Log, NewRecord, Record
from connectors.log.sink import LogSink
from connectors.log.source import PORTION_BYTES, LogSource, SourceBatch
from connectors.log.topics import written_by
from flows.config.lanes import build_lane_parts
from flows.config.settings import load_settings
from flows.process.cluster import ClusterPlace, cluster_place
from flows.process.drain import install_drain
from flows.process.logs import ensure_logs
from flows.recovery.bounds import StoreHome, goes_on_from
from flows.steps.deliver.strategy import EPOCH_RECORDS, DeliverStrategy
from flows.steps.lanes.parts import LaneParts, lane_path
from flows.steps.lanes.steps import LaneLogic, Lanes, lane_number
from state.deliver.store import read_start
from state.model import arrow as _slices_are_columns  # noqa: F401  pyarrow loads at the start, not at the first fan-out
from state.model.delivery import EMISSION_SLICES
from state.model.envelope import schema_of
from state.model.group_keys import GROUP_KEYS
from state.model.topics import DELIVER

_OPEN_MAX = 20_000
"""Pushes open in a lane from which on no more of them is read; other channels get a quarter of it, P2 half."""
_AT_ONCE = 32
"""Emissions of a partition that are opened before the others are looked at: a mention waits behind few of a flood."""
_HUNGRY_WAIT = timedelta(milliseconds=2)
"""For records, while a lane has to open more at once."""
_TICK = timedelta(seconds=1)
"""How often a lane without work looks for counts to publish."""


def wire(open_log: Callable[[], Log], parts: LaneParts, *, drain: Callable[[], bool], place: ClusterPlace) -> Dataflow:
    """The flow over any log; the dispatcher in `parts` runs already. A lane is read by the process that holds it."""
    lanes = Lanes(parts, DeliverStrategy, open_max=_OPEN_MAX)

    def start(topic: str, partition: int) -> int:
        stored = read_start(lane_path(parts.directory, partition % parts.lanes), (topic, partition))
        home = StoreHome("deliver", parts.directory, parts.directory.parents[1])
        return goes_on_from(home, stored, topic, partition, parts.log)

    parts.check_starts(start, place.holds_key)
    source = LogSource(
        open_log,
        parts.topics,
        start=start,
        budget=EPOCH_RECORDS,
        drain=drain,
        on_epoch=lanes.epoch,
        mine=lambda partition: place.holds_key(partition % parts.lanes),
        tick=_TICK,
        ticks=lambda partition: partition < parts.lanes,
        has_room=lanes.has_room,
        full=lanes.full,
        weigh=_weigh,
        wait=lambda: _HUNGRY_WAIT if lanes.hungry() else place.wait(busy=lanes.busy()),
        backlog=parts.backlog,
    )
    flow = Dataflow("deliver")
    emissions = op.input("emissions", flow, source)
    by_lane: KeyedStream[SourceBatch] = op.key_on(
        "by_lane", emissions, lambda item: GROUP_KEYS[lane_number(item, parts)]
    )
    sent = op.stateful_batch("send", by_lane, lambda _: LaneLogic(lanes))
    outcomes: KeyedStream[list[NewRecord]] = op.map("to_partition", sent, lambda item: item[1])
    op.output("outcomes", outcomes, LogSink(open_log, written_by("deliver")))
    return flow


def _weigh(record: Record) -> int:
    """A slice only waits at first; all others are opened at once, each at the same cost."""
    return len(record.value) if schema_of(record.headers) in EMISSION_SLICES else PORTION_BYTES // _AT_ONCE


def build() -> Dataflow:
    """The flow as configured; knows the kill switches before it sends, and drains on SIGTERM."""
    ensure_logs("deliver")
    settings = load_settings()
    open_log, parts = build_lane_parts(settings, "deliver", tuple(DELIVER.values()), classes=2)
    return wire(open_log, parts, drain=install_drain(), place=cluster_place())
