"""Schedule flow: events kept for later, their cancellation and release (RULES 1, DESIGN 2.12). One process, one worker.

schedule ─► one owner (state: RocksDB) ─► events.pN, schedule (orders and answers), dead_letters
"""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.log.bytewax import LogSink, LogSource
from connectors.log.interface import Log
from flows.drain import install_drain
from flows.logs import ensure_logs
from flows.open import clock_ms, log_opener
from flows.settings import load_settings
from flows.steps.resuming import resume_offset
from flows.steps.schedule import Schedule
from flows.steps.ticks import TickSource
from flows.topics import EVENT_TOPICS
from state.lock import StateLock
from state.scheduling import ScheduleStore

OWN_OFFSETS = True
"""The checkpoint holds the offset; Bytewax's recovery store is not needed (and does no harm)."""
DIRECTORY = Path("state") / "schedule"
_LOOK_INTERVAL = timedelta(milliseconds=250)
_BUDGET = 10_000


def wire(
    open_log: Callable[[], Log], store: ScheduleStore, *, clock: Callable[[], int], drain: Callable[[], bool]
) -> Dataflow:
    """The flow over any log."""
    log = open_log()
    partitions = log.partitions(EVENT_TOPICS["P1"])
    log.close()
    source = LogSource(
        open_log,
        ["schedule"],
        start=lambda topic, partition: resume_offset(open_log, store.next_offset(), topic, partition),
        budget=_BUDGET,
        resume="own",
        drain=drain,
        on_epoch=store.commit,
    )
    flow = Dataflow("schedule")
    records = op.input("records", flow, source)
    looks = op.input("looks", flow, TickSource(1, _LOOK_INTERVAL, clock=time.monotonic, drain=drain))
    merged = op.merge("with_looks", records, looks)
    owned = op.key_on("one_owner", merged, lambda _item: "schedule")
    kept = store.load()
    scheduled = op.stateful_batch("schedule", owned, lambda _: Schedule(kept, store, partitions, clock))
    sink = LogSink(open_log, ("schedule", *EVENT_TOPICS.values(), "dead_letters"))
    op.output("log", op.map("to_partition", scheduled, lambda item: item[1]), sink)
    return flow


def build() -> Dataflow:
    """The flow as configured; drains on SIGTERM. Owns the state directory for the life of the process."""
    ensure_logs("schedule")
    settings = load_settings()
    directory = settings.data_dir / DIRECTORY
    lock = StateLock.acquire(directory, "schedule")
    store = ScheduleStore(directory / "rocksdb")
    flow = wire(log_opener(settings), store, clock=clock_ms, drain=install_drain())
    _OWNED.append((lock, store))
    return flow


_OWNED: list[tuple[StateLock, ScheduleStore]] = []
"""Held until the process ends: the lock goes with its file."""
