"""What the owners of state do before they read: check that their state fits the log, and export it from then on
(`flows/recovery/restore.py`, `flows/recovery/export.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from connectors.log.interface import Log
from connectors.types import types_in_force
from flows.config.settings import Settings
from flows.process.open import clock_ms, log_opener
from flows.recovery.bounds import StoreHome
from flows.recovery.export import Exporter
from flows.recovery.rebuild import RETAINED, is_rebuildable
from flows.recovery.restore import ensure_store
from state.disk.exports import ExportSource
from state.model.settings import SETTINGS
from state.sequence.store import stored_places

SEQUENCE = "sequence"
SEQUENCE_READS = ("work", *RETAINED, *(topic for topic in SETTINGS if topic not in RETAINED))


def exports_directory(settings: Settings) -> Path:
    """Where all exports are."""
    return settings.data_dir / "exports"


def start_exporter(settings: Settings, *sources: ExportSource, forget_after: timedelta | None = None) -> Exporter:
    """Export these stores for the life of the process; more may be added. `forget_after`: when exports of stores that
    this process does not own are no use to anybody. Default: twice what the log retains.
    """
    exporter = Exporter(
        exports_directory(settings), settings.exports, log_opener(settings), clock_ms,
        forget_after=forget_after or 2 * settings.log.retention,
    )  # fmt: skip
    for source in sources:
        exporter.add(source)
    return exporter.start()


def prepare_sequence(settings: Settings, path: Path, open_log: Callable[[], Log]) -> None:
    """Before the store at `path` is opened: restore it, if it is lost or behind what the log retains.

    :raises StateDamagedError: it can neither go on nor be restored nor be rebuilt; the text says what to do.
    """
    home = StoreHome(SEQUENCE, path, settings.data_dir)
    with closing(open_log()) as log:
        needed = [(topic, number) for topic in SEQUENCE_READS for number in range(log.partitions(topic))]
        ensure_store(
            home, lambda: stored_places(path), needed, log,
            rebuildable=lambda: is_rebuildable(log, types_in_force(log, settings.types), clock_ms()),
        )  # fmt: skip
