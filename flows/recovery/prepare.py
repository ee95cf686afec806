"""What the owners of state do before they read: check that their state fits the log, and export it from then on
(`flows/recovery/restore.py`, `flows/recovery/export.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from connectors.log.interface import Log
from flows.config.settings import Settings
from flows.process.open import clock_ms, log_opener
from flows.recovery.export import Exporter
from flows.recovery.rebuild import RETAINED, is_rebuildable
from flows.recovery.restore import StoreHome, ensure_groups, ensure_store
from flows.steps.decide.group import read_dead_letters, restore_skips
from state.decide.checkpoint import GroupStore
from state.decide.exports import STORE as DECIDE
from state.decide.exports import group_source
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


def prepare_decide(
    settings: Settings, store: GroupStore, path: Path, groups: Iterable[int], open_log: Callable[[], Log]
) -> list[int]:
    """Restore what the store at `path` lacks of the key groups that this process decides; gives these groups.

    :raises StateDamagedError: a group can neither go on nor be restored; the text says what to do.
    """
    home = StoreHome(DECIDE, path, settings.data_dir)
    with closing(open_log()) as log:
        stored = {group: store.next_offset(group) for group in groups}
        anew = ensure_groups(home, store.database, stored, log, lambda wanted: _restore_skips(store, wanted, log))
    store.forget_skips()  # exports bring skips of their own
    return anew


def _restore_skips(store: GroupStore, groups: Collection[int], log: Log) -> None:
    restore_skips(store, groups, read_dead_letters(log))


def prepare_sequence(settings: Settings, path: Path, open_log: Callable[[], Log]) -> None:
    """Before the store at `path` is opened: restore it, if it is lost or behind what the log retains.

    :raises StateDamagedError: it can neither go on nor be restored nor be rebuilt; the text says what to do.
    """
    home, registry = StoreHome(SEQUENCE, path, settings.data_dir), settings.registry()
    with closing(open_log()) as log:
        needed = [(topic, number) for topic in SEQUENCE_READS for number in range(log.partitions(topic))]
        ensure_store(
            home, lambda: stored_places(path), needed, log,
            rebuildable=lambda: is_rebuildable(log, registry, clock_ms()),
        )  # fmt: skip


def export_decide(settings: Settings, store: GroupStore, slot: int) -> Exporter:
    """Export the store of a process of decide; those of the others serve replays as far back as the archive goes."""
    needed = 2 * settings.log.retention + settings.archive.work_retention + settings.exports.archive_spacing
    return start_exporter(settings, group_source(slot, store.database), forget_after=needed)
