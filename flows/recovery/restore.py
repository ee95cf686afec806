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

import fcntl
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import structlog
from rocksdict import Rdict

from connectors.log.interface import Log
from flows.process.run_files import note_rebuild
from state.decide.exports import TOPIC, clear_group, newest_per_group, restore_groups
from state.disk.exports import ExportedOffset, load_export, newest_export
from state.disk.files import rename_flushed
from state.model.errors import StateDamagedError, StateError, StateLockedError
from state.model.keys import partition_of_group

ACCEPT_LOSS = "accept-loss"
_ACCEPTED_FOR = timedelta(hours=1)
_BESIDE = ((".", ".fresh"), ("", ".aside"))
"""Names of what is being loaded, and of what it takes the place of, which is kept."""
_FIRST_START = timedelta(minutes=1)
_PATIENCE = timedelta(minutes=5)
"""How long one process waits while another restores the same store."""
_logger = structlog.get_logger(__name__)


class StoreHome(NamedTuple):
    """Where a store lives, and its exports."""

    store: str
    """Name of its exports: `sequence`, `inbox/3`; of decide without the slot."""
    path: Path
    """Directory of its database."""
    data_dir: Path

    @property
    def exports(self) -> Path:
        """Directory of all exports."""
        return self.data_dir / "exports"

    @property
    def flow(self) -> str:
        """The flow it belongs to."""
        return self.store.partition("/")[0]

    @property
    def flow_directory(self) -> Path:
        """Where `accept-loss` is looked for."""
        return self.data_dir / "state" / self.flow


class PartitionBounds(NamedTuple):
    """What a partition retains: offsets from `begin` on; the next record gets `end`."""

    begin: int
    end: int

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.begin <= offset <= self.end


def bounds_of(log: Log, topic: str, partition: int) -> PartitionBounds:
    """As of now."""
    return PartitionBounds(log.begin_offset(topic, partition), log.end_offset(topic, partition))


def check_not_ahead(home: StoreHome, places: Iterable[ExportedOffset], log: Log) -> None:
    """:raises StateDamagedError: the state includes what the log does not have."""
    for topic, partition, offset in places:
        end = log.end_offset(topic, partition)
        if offset > end:
            raise StateDamagedError(_ahead(home, f"{topic}/{partition}", offset, end))


def _ahead(home: StoreHome, place: str, offset: int, end: int) -> str:
    return (
        f"{home.path}: includes {place} up to offset {offset}, and the log ends at {end}: the log was lost, or is"
        f" another one. Restore the log; for a new log, move {home.flow_directory} and {home.exports / home.flow} aside"
    )


def first_offset(home: StoreHome, stored: int | None, topic: str, partition: int, log: Log) -> int:
    """Where a flow without exports goes on; `stored` is None where its state is new.

    :raises StateDamagedError: the log lacks what it has not read, or ends before what it has read.
    """
    begin = log.begin_offset(topic, partition)
    if stored is None:
        return begin
    check_not_ahead(home, [ExportedOffset(topic, partition, stored)], log)
    if stored >= begin:
        return stored
    accept_loss(home, [(topic, partition, stored, begin)])
    return begin


def accept_loss(home: StoreHome, gone: Sequence[tuple[str, int, int, int]]) -> None:
    """Go on without records (topic, partition, from, until) that retention removed unread, if an operator said so.

    :raises StateDamagedError: nobody did.
    """
    marker = home.flow_directory / ACCEPT_LOSS
    places = ", ".join(f"{topic}/{partition} {first} to {until - 1}" for topic, partition, first, until in gone)
    if marker.exists() and time.time() - marker.stat().st_mtime < _ACCEPTED_FOR.total_seconds():
        _logger.error("records_given_up", store=home.store, places=places)
        return
    raise StateDamagedError(
        f"{home.path}: retention has removed records that {home.flow} had not read: {places}. Restore them, or a newer"
        f" state or export in {home.exports / home.store}; to go on without them: touch {marker}, and start again"
    )


def ensure_store(
    home: StoreHome, stored: Callable[[], list[ExportedOffset]], needed: Sequence[tuple[str, int]], log: Log,
    *, rebuildable: Callable[[], bool],
) -> None:  # fmt: skip
    """Before a store of whole partitions is opened: it is there and fits the log, or is restored, or is refused.

    `stored` reads what the database on disk includes; `needed` are the partitions that it reads; `rebuildable` says
    whether the log retains enough to begin without any state. Processes that share the store may all ask.

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
        if not places and all(end == 0 for _, end in bounds.values()):
            return  # the first start of all
        if _restore(home, bounds):
            return
        if not places and rebuildable():
            if any(_has_history(log, *place) for place in needed):
                note_rebuild(home.data_dir, home.store, "the log")
                _logger.warning("rebuilds_from_the_log", store=home.store)
            return
        accept_loss(home, behind)


def _has_history(log: Log, topic: str, partition: int) -> bool:
    """Whether the log is no younger than a system that starts for the first time: then somebody has read it before."""
    before = int((time.time() - _FIRST_START.total_seconds()) * 1000)
    return log.offset_at(topic, partition, before) > 0


def _restore(home: StoreHome, bounds: dict[tuple[str, int], PartitionBounds]) -> bool:
    def fits(places: Iterable[ExportedOffset]) -> bool:
        known = {(topic, number): offset for topic, number, offset in places}
        return all(known.get(place, 0) in limits for place, limits in bounds.items())

    export = newest_export(home.exports, home.store, lambda each: fits(each.manifest.offsets), _refused)
    if export is None:
        return False
    fresh, aside = (home.path.with_name(f"{before}{home.path.name}{after}") for before, after in _BESIDE)
    shutil.rmtree(fresh, ignore_errors=True)
    load_export(export, fresh)
    if home.path.exists():
        shutil.rmtree(aside, ignore_errors=True)
        rename_flushed(home.path, aside)
    rename_flushed(fresh, home.path)  # readers miss the store for an instant, not for the time of loading
    note_rebuild(home.data_dir, home.store, f"export {export.number}")
    _logger.warning("restored", store=home.store, export=export.number, rows=export.manifest.rows)
    return True


def ensure_groups(
    home: StoreHome, database: Rdict, stored: dict[int, int], log: Log, before: Callable[[Collection[int]], None]
) -> list[int]:
    """Before decide reads: every key group of `stored` (next offset, 0: nothing) is there and fits the log, or is
    restored from an export, or is refused. Gives the groups that were restored or start empty. `before` gets them while
    they are not there yet, so that a start that is killed afterwards does it again.

    :raises StateDamagedError: naming the remedy.
    """
    parts = log.partitions(TOPIC)
    by_partition = {part: bounds_of(log, TOPIC, part) for part in range(parts)}
    bounds = {group: by_partition[partition_of_group(group, parts)] for group in stored}
    for group, offset in stored.items():
        if offset > bounds[group].end:
            raise StateDamagedError(_ahead(home, f"{TOPIC}, key group {group},", offset, bounds[group].end))
    wanted = {
        group: range(max(1, begin), end + 1)
        for group, (begin, end) in bounds.items()
        if end > 0 and (stored[group] == 0 or stored[group] < begin)
    }
    if not wanted:
        return []  # all there, or the first start of all
    chosen = newest_per_group(home.exports, wanted, _refused)
    missing = [group for group in wanted if group not in chosen and bounds[group].begin > 0]
    if missing:
        raise StateDamagedError(_groups_missing(home, missing))
    before(wanted.keys())
    restored = restore_groups(database, chosen, home.path.with_name(f".{home.path.name}.restoring"))
    for group in wanted.keys() - chosen.keys():
        clear_group(database, group)
    used = ", ".join(sorted({f"export {each.directory.parent.name}/{each.number}" for each in chosen.values()}))
    if chosen or any(_has_history(log, TOPIC, part) for part in by_partition):
        note_rebuild(home.data_dir, home.store, used or "the log")
        _logger.warning("restored", store=home.store, groups=len(restored), begun_anew=len(wanted) - len(restored))
    return sorted(wanted)


def _groups_missing(home: StoreHome, groups: list[int]) -> str:
    return (
        f"{home.path}: has nothing, or too old a state, of {len(groups)} key groups (the first is {groups[0]}), and"
        f" retention has removed the start of topic {TOPIC}; no sound export in {home.exports / home.flow} goes on from"
        f" what is left. Restore the state directory or an export, or stop the system and rebuild from the archive:"
        f" carillon replay {home.data_dir} --rebuild-state"
    )


def _refused(path: Path, error: StateError) -> None:
    _logger.error("export_refused", export=str(path), error=str(error))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; the others find what it did.

    :raises StateLockedError: the other one takes too long.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    give_up = time.monotonic() + _PATIENCE.total_seconds()
    with path.with_name(f".{path.name}.restoring").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    raise StateLockedError(f"{path}: another process restores it for more than {_PATIENCE}") from error
            time.sleep(0.05)
        yield
