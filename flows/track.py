"""Track flow: the ledger's records become Parquet parts in the archive, which queries read beside the topic's tail.

    ledger ─► by partition ─► parts and manifest (DIR/archive/ledger)

It never stands in the way of deciding or sending: nothing waits for it, and after a crash or an outage it catches up
from the offsets in its manifests, with or without a recovery store of Bytewax.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from connectors.archive.manifest import read_manifest
from connectors.archive.parquet import ArchiveOptions, ArchiveWriter
from connectors.log.bytewax import LogSource
from connectors.log.interface import Log, Record
from flows.drain import install_drain
from flows.logs import ensure_logs
from flows.open import clock_ms, log_opener
from flows.settings import load_settings
from flows.steps.resuming import resume_offset
from flows.steps.ticks import Tick, TickSource
from flows.steps.track import Item, PartOptions, TrackParts, TrackSink

OWN_OFFSETS = True
"""Tells who runs the flow that it needs no recovery store."""
DIRECTORY = Path("archive") / "ledger"
"""Where the archive lies under the data directory: one directory per partition."""


@dataclass(frozen=True, slots=True)
class TrackFlowOptions:
    """Pace and bounds of the flow."""

    budget: int = 20_000
    """Records of a partition that may enter an epoch."""
    tick: timedelta = timedelta(seconds=1)
    """How often it is asked whether a part is due, an hour can be merged, a file removed."""
    parts: PartOptions = field(default_factory=PartOptions)
    """When gathered records become a part."""
    archive: ArchiveOptions = field(default_factory=ArchiveOptions)
    """Sizes and delays of the archive."""


def _by_partition(item: list[Record] | Tick) -> str:
    return str(item.partition if isinstance(item, Tick) else item[0].partition)


def wire(
    open_log: Callable[[], Log],
    directory: Path,
    *,
    drain: Callable[[], bool],
    now_ms: Callable[[], int],
    options: TrackFlowOptions | None = None,
) -> Dataflow:
    """The flow over any log; `directory` holds the archive (`DIR/archive/ledger`)."""
    given = options or TrackFlowOptions()
    log = open_log()
    partitions = log.partitions("ledger")
    log.close()
    source = LogSource(
        open_log,
        ["ledger"],
        start=lambda topic, partition: resume_offset(
            open_log, read_manifest(directory / str(partition)).offset, topic, partition
        ),
        budget=given.budget,
        resume="own",
        drain=drain,
        drain_within=timedelta(seconds=5),
    )
    parts = TrackParts(
        open_archive=lambda partition: ArchiveWriter(directory / str(partition), given.archive),
        open_log=open_log,
        partitions=partitions,
        now_ms=now_ms,
        options=given.parts,
    )
    flow = Dataflow("track")
    records = op.input("records", flow, source)
    ticks = op.input("intervals", flow, TickSource(partitions, given.tick, clock=time.monotonic, drain=drain))
    keyed: KeyedStream[Item] = op.key_on("by_partition", op.merge("with_intervals", records, ticks), _by_partition)
    op.output("parts", keyed, TrackSink(parts))
    return flow


def build() -> Dataflow:
    """The flow as configured; drains on SIGTERM."""
    ensure_logs("track")
    settings = load_settings()
    drain = install_drain()
    return wire(log_opener(settings), settings.data_dir / DIRECTORY, drain=drain, now_ms=clock_ms)
