"""Track flow: the ledger, and what was heard after the sends, become Parquet files in the archive. Queries read them
together with the newest part of the topics.
The decision log, the dead letters and the audit are archived too, record by record, longer than the log keeps them.

    ledger, outcomes, work, dead_letters, audit ─► by partition ─► parts and manifests (DIR/archive/<topic>)

It never delays deciding or sending: nothing waits for it. After a crash or an outage it catches up from the offsets in
its manifests, with or without a recovery store of Bytewax.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import pyarrow as pa
import structlog
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from connectors.archive.manifest import ARCHIVED, COLUMNAR, read_manifest, set_unreadable_aside
from connectors.archive.parquet import ArchiveOptions
from connectors.log.interface import Log
from connectors.log.source import LogSource, SourceBatch, partition_key
from connectors.metric_files import METRICS, keep_writing
from flows.config.settings import ArchiveTable, load_settings
from flows.process.cluster import ALONE, ClusterPlace, cluster_place
from flows.process.directories import ARCHIVE
from flows.process.drain import install_drain
from flows.process.logs import ensure_logs
from flows.process.open import clock_ms, log_opener
from flows.steps.track import ArchivedTopic, PartOptions, TrackParts, TrackSink
from state.model.errors import StateDamagedError

STATE = Path("state") / "track"
_RAW_PARTS = PartOptions(interval=timedelta(minutes=1), bytes_max=16 << 20)
"""Nobody queries raw records while they are young: the log has them. Few parts cost less."""
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TrackFlowOptions:
    """Pace and bounds of the flow."""

    budget: int = 20_000
    """Records of a partition that may enter an epoch."""
    tick: timedelta = timedelta(seconds=1)
    """How often it is asked whether a part is due, an hour can be merged, a file removed."""
    topics: tuple[ArchivedTopic, ...] = field(default_factory=lambda: archived_topics(ArchiveTable()))
    """What is archived, and when gathered records become a part."""
    hot: timedelta = timedelta(days=7)
    """How long the log keeps records: a warning comes when half of it has passed and they are not archived."""


def archived_topics(table: ArchiveTable) -> tuple[ArchivedTopic, ...]:
    """The archived topics as configured."""
    kept = {
        "ledger": table.ledger_retention,
        "outcomes": table.ledger_retention,
        "work": table.work_retention,
        "dead_letters": table.dead_letters_retention,
        "audit": None,  # for ever, as in the log
    }
    return tuple(
        ArchivedTopic(name, PartOptions() if name in COLUMNAR else _RAW_PARTS, ArchiveOptions(retention=kept[name]))
        for name in ARCHIVED
    )


def start_offset(open_log: Callable[[], Log], archived: int, topic: str, partition: int) -> int:
    """Where to read on behind what is archived.

    :raises StateDamagedError: the archive is ahead of the log, so that it is another log's.
    """
    log = open_log()
    try:
        begin, end = log.begin_offset(topic, partition), log.end_offset(topic, partition)
    finally:
        log.close()
    if archived > end:
        raise StateDamagedError(
            f"{topic}/{partition}: archived up to offset {archived}, but the log ends at {end}: the log was lost or "
            f"replaced; restore it, or move {ARCHIVE}/{topic} out of the data directory"
        )
    if archived and archived < begin:
        _logger.error("log_dropped_before_archived", topic=topic, partition=partition, archived=archived, begin=begin)
    return max(archived, begin)


def wire(
    open_log: Callable[[], Log],
    data_dir: Path,
    *,
    drain: Callable[[], bool],
    now_ms: Callable[[], int],
    options: TrackFlowOptions | None = None,
    place: ClusterPlace = ALONE,
) -> Dataflow:
    """The flow over any log; the archive lies under `data_dir`."""
    given = options or TrackFlowOptions()
    log = open_log()
    partitions = log.partitions("ledger")
    log.close()
    archive = data_dir / ARCHIVE
    for number in filter(place.holds_partition, range(partitions)):
        for topic in given.topics:
            set_unreadable_aside(archive / topic.name / str(number))
    source = LogSource(
        open_log,
        [topic.name for topic in given.topics],
        start=lambda topic, partition: start_offset(
            open_log, read_manifest(archive / topic / str(partition)).offset, topic, partition
        ),
        budget=given.budget,
        drain=drain,
        drain_within=timedelta(seconds=5),
        tick=given.tick,
        mine=place.holds_partition,
        wait=place.wait,
    )
    parts = TrackParts(archive, data_dir / STATE, given.topics, open_log, partitions, now_ms, given.hot)
    flow = Dataflow("track")
    keyed: KeyedStream[SourceBatch] = op.key_on("by_partition", op.input("records", flow, source), partition_key)
    op.output("parts", keyed, TrackSink(parts))
    return flow


def build() -> Dataflow:
    """The flow as configured; drains on SIGTERM."""
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what it had: 64 MB after a day, with 3 in use
    ensure_logs("track")
    settings = load_settings()
    keep_writing(settings.data_dir / METRICS, cluster_place().name("track"))
    options = TrackFlowOptions(topics=archived_topics(settings.archive), hot=settings.log.retention)
    return wire(
        log_opener(settings),
        settings.data_dir,
        drain=install_drain(),
        now_ms=clock_ms,
        options=options,
        place=cluster_place(),
    )
