"""What the owners of state do before they read: see that their state fits the log, and export it from then on
(`flows/steps/restoring.py`, `flows/steps/exporting.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from connectors.log.interface import Log
from flows.open import clock_ms, log_opener
from flows.settings import Settings
from flows.steps.deciding import read_dead_letters, take_over_skips
from flows.steps.exporting import Exporter
from flows.steps.rebuilding import RETAINED, is_rebuildable
from flows.steps.restoring import Home, ensure_groups, ensure_store
from operators.sequence import SETTING_TOPICS
from state.exports import ExportSource
from state.group_exports import STORE as DECIDE
from state.group_exports import group_source
from state.rocksdb import GroupStore
from state.sequencing import stored_places

SEQUENCE = "sequence"
SEQUENCE_READS = ("work", *RETAINED, *(topic for topic in SETTING_TOPICS if topic not in RETAINED))


def exports_directory(settings: Settings) -> Path:
    """Where all exports are."""
    return settings.data_dir / "exports"


def start_exporter(settings: Settings, *sources: ExportSource) -> Exporter:
    """Export these stores for the life of the process; more may be added."""
    exporter = Exporter(
        exports_directory(settings), settings.exports, log_opener(settings), clock_ms,
        forget_after=2 * settings.log.retention,
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
    home = Home(DECIDE, path, settings.data_dir)
    with closing(open_log()) as log:
        anew = ensure_groups(home, store.database, {group: store.next_offset(group) for group in groups}, log)
        if anew:
            take_over_skips(store, anew, read_dead_letters(log))
    return anew


def prepare_sequence(settings: Settings, path: Path, open_log: Callable[[], Log]) -> None:
    """Before the store at `path` is opened: restore it, if it is lost or the log has left it behind.

    :raises StateDamagedError: it can neither go on nor be restored nor be rebuilt; the text says what to do.
    """
    home, registry = Home(SEQUENCE, path, settings.data_dir), settings.registry()
    with closing(open_log()) as log:
        needed = [(topic, number) for topic in SEQUENCE_READS for number in range(log.partitions(topic))]
        ensure_store(
            home, lambda: stored_places(path), needed, log,
            rebuildable=lambda: is_rebuildable(log, registry, clock_ms()),
        )  # fmt: skip


def export_decide(settings: Settings, store: GroupStore, slot: int) -> Exporter:
    """Export the store of a process of decide."""
    return start_exporter(settings, group_source(slot, store.database))
