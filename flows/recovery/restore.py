"""What a flow does at its start about state that does not fit the log: restore it, or refuse (DECISIONS, Exports).

A store keeps the offset up to which it has read each partition. The log retains the offsets from its start to its end.
Compared with these, a store is one of:

- within: the flow goes on.
- empty or missing: the newest export that is within takes its place. Without one the state is made again from the log,
  if the log still has everything; otherwise the flow refuses to start.
- before the start: retention has removed records that the store did not read. An export that is within helps here too.
- beyond the end: the log was lost, or is another one. The flow refuses to start.

Nothing is skipped silently. If records are gone for good and the flow can do without them, an operator says so with an
empty file `accept-loss` in the flow's state directory. It counts for an hour from its time of modification.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from connectors.log.interface import Log
from flows.process.run_files import note_rebuild
from flows.recovery.bounds import PartitionBounds, StoreHome, accept_loss, bounds_of, check_not_ahead, refuse_new_log
from state.disk.exports import Export, ExportedOffset, load_export, newest_export
from state.disk.files import rename_flushed
from state.disk.lock import try_flock
from state.model.errors import StateError, StateLockedError

_BESIDE = ((".", ".fresh"), ("", ".aside"))
"""Names of what is being loaded, and of what it takes the place of, which is kept."""
_FIRST_START = timedelta(minutes=1)
_PATIENCE = timedelta(minutes=5)
"""How long one process waits while another restores the same store."""
_logger = structlog.get_logger(__name__)


def ensure_store(
    home: StoreHome, stored: Callable[[], list[ExportedOffset]], needed: Sequence[tuple[str, int]], log: Log,
    *, rebuildable: Callable[[], bool], put: Callable[[Export], None] | None = None,
) -> None:  # fmt: skip
    """Before a store of whole partitions is opened: it is there and fits the log, or is restored, or is refused.

    `stored` reads what the database on disk includes; `needed` are the partitions that it reads; `rebuildable` says
    whether the log retains enough to begin without any state; `put` takes an export for a store that is no directory.
    Processes that share the store may all ask.

    :raises StateDamagedError: naming the remedy.
    """
    with _alone(home.path):
        places = stored()
        check_not_ahead(home, places, log)
        bounds = {place: bounds_of(log, *place) for place in needed}
        known = {(topic, number): offset for topic, number, offset in places}
        behind = [
            (*place, known.get(place, 0), begin) for place, (begin, _) in bounds.items() if begin > known.get(place, 0)
        ]
        if places and not behind:
            return
        is_first = not places and all(end == 0 for _, end in bounds.values())
        if not is_first and _restore(home, bounds, put or partial(_put, home)):
            return
        if not places:
            refuse_new_log(home, {place: end for place, (_, end) in bounds.items()})
        if is_first:
            return
        if not places and rebuildable():
            if any(has_history(log, *place) for place in needed):
                note_rebuild(home.data_dir, home.store, "the log")
                _logger.warning("rebuilds_from_the_log", store=home.store)
            return
        accept_loss(home, behind)


def has_history(log: Log, topic: str, partition: int) -> bool:
    """Whether the log is no younger than a system that starts for the first time: then somebody has read it before."""
    before = int((time.time() - _FIRST_START.total_seconds()) * 1000)
    return log.offset_at(topic, partition, before) > 0


def _restore(home: StoreHome, bounds: dict[tuple[str, int], PartitionBounds], put: Callable[[Export], None]) -> bool:
    def fits(places: Iterable[ExportedOffset]) -> bool:
        known = {(topic, number): offset for topic, number, offset in places}
        return all(known.get(place, 0) in limits for place, limits in bounds.items())

    export = newest_export(home.exports, home.store, lambda each: fits(each.manifest.offsets), report_refused)
    if export is None:
        return False
    put(export)
    note_rebuild(home.data_dir, home.store, f"export {export.number}")
    _logger.warning("restored", store=home.store, export=export.number, rows=export.manifest.rows)
    return True


def _put(home: StoreHome, export: Export) -> None:
    """As the directory of the store; what is there is kept."""
    fresh, aside = (home.path.with_name(f"{before}{home.path.name}{after}") for before, after in _BESIDE)
    shutil.rmtree(fresh, ignore_errors=True)
    load_export(export, fresh)
    if home.path.exists():
        shutil.rmtree(aside, ignore_errors=True)
        rename_flushed(home.path, aside)
    rename_flushed(fresh, home.path)  # readers miss the store for an instant, not for the time of loading


def report_refused(path: Path, error: StateError) -> None:
    """Log that an export is damaged; an older one may do."""
    _logger.error("export_refused", export=str(path), error=str(error))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; the others find what it did.

    :raises StateLockedError: the other one takes too long.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    give_up = time.monotonic() + _PATIENCE.total_seconds()
    with path.with_name(f".{path.name}.restoring").open("a") as file:
        while not try_flock(file.fileno()):
            if time.monotonic() > give_up:
                raise StateLockedError(f"{path}: another process restores it for more than {_PATIENCE}")
            time.sleep(0.05)
        yield
