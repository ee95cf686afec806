"""Sequence flow: accepted events and settings in, the decision log out (DECISIONS, Sequence writes the log). One owner
in the first process.

events.p1 ─┐
events.p2 ─┼─► read and sequence (state: RocksDB) ─► work, followers, dead_letters
settings  ─┤
retries   ─┘
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.log.interface import Log
from connectors.log.sink import LogSink
from connectors.log.topics import written_by
from flows.config.served import served
from flows.config.settings import Settings, load_settings
from flows.process.cluster import cluster_place
from flows.process.drain import install_drain
from flows.process.load import report_load
from flows.process.logs import ensure_logs
from flows.process.open import clock_ms
from flows.process.place import keep_until_end, own_place
from flows.process.types import published_types
from flows.recovery.prepare import prepare_sequence, start_exporter
from flows.steps.sequence.reading import SequenceOptions
from flows.steps.sequence.source import SequenceParts, sequence_source
from state.disk.lock import StateLock
from state.disk.poison import PoisonJournal
from state.sequence.store import SequenceStore

DIRECTORY = Path("state") / "sequence"


def wire(open_log: Callable[[], Log], parts: SequenceParts | None) -> Dataflow:
    """The flow over any log; without `parts` in a process that is not the owner."""
    flow = Dataflow("sequence")
    op.output("log", op.input("read", flow, sequence_source(parts)), LogSink(open_log, written_by("sequence")))
    return flow


def build() -> Dataflow:
    """The flow as configured; drains on SIGTERM. Owns the state directory for the life of the process."""
    ensure_logs("sequence")
    settings, drain = load_settings(), install_drain()
    open_log = own_place(settings, "sequence", written_by("sequence"))
    owner = cluster_place().process == 0
    return wire(open_log, _parts(settings, drain, open_log) if owner else None)


def _parts(settings: Settings, drain: Callable[[], bool], open_log: Callable[[], Log]) -> SequenceParts:
    directory = settings.data_dir / DIRECTORY
    keep_until_end(StateLock.acquire(directory, "sequence"))
    prepare_sequence(settings, directory / "rocksdb", open_log)
    store = SequenceStore(directory / "rocksdb")
    start_exporter(settings, store.export_source())
    return SequenceParts(
        open_log,
        store,
        PoisonJournal.open(directory / "poison", unit=directory.parent),
        published_types(settings, open_log()),
        served(settings),
        SequenceOptions(settings.lanes.p1_per_epoch, settings.lanes.p2_per_epoch),
        clock=clock_ms,
        drain=drain,
        backlog=report_load(settings, "sequence", open_log()),
    )
