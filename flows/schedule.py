"""Schedule flow: events kept for later, their cancellation and release (RULES 1; DECISIONS, Who owns what). One owner
in the first process.

schedule, campaigns ─► keep, cancel, release (state: RocksDB) ─► events.pN, schedule, campaigns, dead_letters
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.log.interface import Log
from connectors.log.sink import LogSink
from connectors.log.topics import written_by
from flows.config.settings import Settings, load_settings
from flows.process.cluster import cluster_place
from flows.process.drain import install_drain
from flows.process.logs import ensure_logs
from flows.process.open import clock_ms
from flows.process.place import keep_until_end, own_place
from flows.process.types import published_types
from flows.steps.schedule import ScheduleParts, schedule_source
from state.disk.lock import StateLock
from state.disk.poison import PoisonJournal
from state.schedule.store import ScheduleStore

DIRECTORY = Path("state") / "schedule"


def wire(open_log: Callable[[], Log], parts: ScheduleParts | None) -> Dataflow:
    """The flow over any log; without `parts` in a process that is not the owner."""
    flow = Dataflow("schedule")
    op.output("log", op.input("records", flow, schedule_source(parts)), LogSink(open_log, written_by("schedule")))
    return flow


def build() -> Dataflow:
    """The flow as configured; drains on SIGTERM. Owns the state directory for the life of the process."""
    ensure_logs("schedule")
    settings, drain = load_settings(), install_drain()
    open_log = own_place(settings, "schedule", written_by("schedule"))
    owner = cluster_place().process == 0
    return wire(open_log, _parts(settings, drain, open_log) if owner else None)


def _parts(settings: Settings, drain: Callable[[], bool], open_log: Callable[[], Log]) -> ScheduleParts:
    directory = settings.data_dir / DIRECTORY
    keep_until_end(StateLock.acquire(directory, "schedule"))
    return ScheduleParts(
        open_log,
        ScheduleStore(directory / "rocksdb"),
        PoisonJournal.open(directory / "poison", unit=directory.parent),
        clock=clock_ms,
        monotonic=time.monotonic,
        drain=drain,
        types=published_types(settings, open_log()),
        retention=settings.log.retention,
    )
