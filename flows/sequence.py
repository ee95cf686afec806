"""Sequence flow: accepted events and settings in, the decision log out (DESIGN 2.2). One process with one worker.

events.p1 ─┐
events.p2 ─┼─► read ─► sequence (state: RocksDB) ─► work, followers, dead_letters
settings  ─┘
"""

from collections.abc import Callable
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.log.bytewax import LogSink
from connectors.log.interface import Log
from flows.drain import install_drain
from flows.logs import ensure_logs
from flows.open import clock_ms, log_opener
from flows.settings import load_settings
from flows.steps.sequence import Sequence, SequenceOptions, SequenceSource, restored
from operators.sequence import versions_in_force
from state.lock import StateLock
from state.model.registry import Registry
from state.model.work import VersionsWork
from state.sequencing import SequenceStore

OWN_OFFSETS = True
"""The checkpoint holds the offsets; Bytewax's recovery store is not needed (and does no harm)."""
DIRECTORY = Path("state") / "sequence"
OUTPUT_TOPICS = ("work", "followers", "dead_letters")


def wire(
    open_log: Callable[[], Log],
    store: SequenceStore,
    registry: Registry,
    versions: VersionsWork,
    options: SequenceOptions,
    *,
    clock: Callable[[], int],
    drain: Callable[[], bool],
) -> Dataflow:
    """The flow over any log."""
    log = open_log()
    state = restored(store, log, registry)
    source = SequenceSource(open_log, lambda: state.positions, options, clock=clock, drain=drain, on_epoch=store.commit)
    flow = Dataflow("sequence")
    batches = op.input("read", flow, source)
    owned = op.key_on("one_owner", batches, lambda _batch: "sequence")
    sequenced = op.stateful_batch("sequence", owned, lambda _: Sequence(state, store, log, registry, versions))
    op.output("log", op.map("to_partition", sequenced, lambda item: item[1]), LogSink(open_log, OUTPUT_TOPICS))
    return flow


def build() -> Dataflow:
    """The flow as configured; drains on SIGTERM. Owns the state directory for the life of the process."""
    ensure_logs("sequence")
    settings = load_settings()
    directory = settings.data_dir / DIRECTORY
    lock = StateLock.acquire(directory, "sequence")
    store = SequenceStore(directory / "rocksdb")
    registry = settings.registry()
    flow = wire(
        log_opener(settings),
        store,
        registry,
        versions_in_force(registry, settings.types),
        SequenceOptions(settings.lanes.p1_per_epoch, settings.lanes.p2_per_epoch),
        clock=clock_ms,
        drain=install_drain(),
    )
    _OWNED.append((lock, store))
    return flow


_OWNED: list[tuple[StateLock, SequenceStore]] = []
"""Held until the process ends: the lock goes with its file."""
