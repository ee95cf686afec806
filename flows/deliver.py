"""Deliver flow: emissions of P1 and P2 go to the providers, and the results to the ledger (RULES 4).

    deliver.push, deliver.sms, deliver.email ─► by lane ─► send (attempts, providers) ─► ledger, endpoints, dead_letters

Lanes keep their own offsets (`DIR/state/deliver`), so the flow needs no recovery store of Bytewax. A lane whose file is
lost finds in `attempts` what was sent. The flow runs with any number of workers that divides 240; more workers than
lanes find nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from connectors.control import ControlWatcher
from connectors.log.interface import Log, NewRecord
from connectors.log.sink import LogSink, keyed
from connectors.log.source import Item, LogSource
from connectors.log.topics import SENT_CHANNELS, deliver_topic
from flows.config.sender import build_sender
from flows.config.settings import load_settings
from flows.process.cluster import ALONE, ClusterPlace, cluster_place
from flows.process.drain import install_drain
from flows.process.logs import ensure_logs
from flows.process.open import clock_ms
from flows.process.place import hold, own_place
from flows.recovery.restore import Home, first_offset
from flows.steps.deliver.strategy import DeliverStrategy
from flows.steps.lanes.parts import LaneParts, lane_path
from flows.steps.lanes.records import OUTPUT_TOPICS
from flows.steps.lanes.steps import LaneLogic, Lanes, lane_number
from state.deliver.store import read_start
from state.model.group_keys import GROUP_KEYS

OWN_OFFSETS = True
"""Tells who runs the flow that it needs no recovery store."""
DIRECTORY = Path("state") / "deliver"
TOPICS = tuple(deliver_topic(channel) for channel in SENT_CHANNELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverFlowOptions:
    """Pace and bounds of the flow."""

    budget: int = 2_000
    """Records of a partition that may enter an epoch. Default: 2 000."""
    open_max: int = 20_000
    """Deliveries open in a lane from which on it is handed no more; P2 gets half of it. Default: 20 000."""
    tick: timedelta = timedelta(milliseconds=500)
    """How often a lane without work looks for counts to publish. Default: half a second."""


def wire(
    open_log: Callable[[], Log],
    parts: LaneParts,
    *,
    drain: Callable[[], bool],
    options: DeliverFlowOptions | None = None,
    place: ClusterPlace = ALONE,
) -> Dataflow:
    """The flow over any log; the sender in `parts` runs already. A lane is read by the process that holds it."""
    given = options or DeliverFlowOptions()
    lanes = Lanes(parts, DeliverStrategy, open_max=given.open_max)

    def start(topic: str, partition: int) -> int:
        stored = read_start(lane_path(parts.directory, partition % parts.lanes), (topic, partition))
        home = Home("deliver", parts.directory, parts.directory.parents[1])
        return first_offset(home, stored, topic, partition, parts.log)

    source = LogSource(
        open_log,
        parts.topics,
        start=start,
        budget=given.budget,
        drain=drain,
        on_epoch=lanes.epoch,
        mine=lambda partition: place.holds_key(partition % parts.lanes),
        tick=given.tick,
        ticks=lambda partition: partition < parts.lanes,
        has_room=lanes.has_room,
        wait=lambda: place.wait(busy=lanes.busy()),
    )
    flow = Dataflow("deliver")
    emissions = op.input("emissions", flow, source)
    by_lane: KeyedStream[Item] = op.key_on("by_lane", emissions, lambda item: GROUP_KEYS[lane_number(item, parts)])
    sent = op.stateful_batch("send", by_lane, lambda _: LaneLogic(lanes))
    outcomes: KeyedStream[NewRecord] = op.map("to_partition", sent, lambda item: keyed(item[1]))
    op.output("outcomes", outcomes, LogSink(open_log, OUTPUT_TOPICS))
    return flow


def build() -> Dataflow:
    """The flow as configured; knows the kill switches before it sends, and drains on SIGTERM."""
    ensure_logs("deliver")
    settings = load_settings()
    open_log = own_place(settings, "deliver", (*OUTPUT_TOPICS, "attempts"))
    log, place = open_log(), cluster_place()
    watcher = ControlWatcher(log, process=place.name("deliver"), run_dir=settings.data_dir / "run").start()
    sender = build_sender(settings, log, watcher, stage="deliver")
    parts = LaneParts(
        station="deliver",
        directory=settings.data_dir / DIRECTORY,
        log=log,
        sender=sender,
        topics=TOPICS,
        lanes=log.partitions(TOPICS[0]) // 2,
        now_ms=clock_ms,
        run_ms=clock_ms(),
    )
    hold(watcher, parts)
    return wire(open_log, parts, drain=install_drain(), place=place)
