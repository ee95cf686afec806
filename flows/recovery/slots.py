"""What one process of decide owns: its slot of the state directory, the key groups that it decides; and from which
offsets the cluster reads `work`.

`placement.json` says how many processes and workers decide last ran with (`state.decide.moving`). All processes of
decide hold a shared lock on `placement.lock` for life, and each an exclusive lock on its slot (`state.disk.lock`). When
decide is started with another number of processes, one of them moves the groups first, alone, under the exclusive lock,
while the others wait. If processes of the old number still run, it waits a little and then refuses to start.
"""

from __future__ import annotations

import fcntl
import os
import time
from datetime import timedelta
from pathlib import Path

import structlog

from flows.process.cluster import ClusterPlace
from state.decide.checkpoint import GroupStore
from state.decide.moving import (
    DATABASE,
    POISON,
    Layout,
    move_groups,
    publish_offsets,
    published_offset,
    read_layout,
    slot_directory,
)
from state.disk.lock import FILE_NAME, StateLock, try_flock
from state.disk.poison import PoisonJournal
from state.model.errors import StateLockedError
from state.model.keys import groups_of_partition

LOCK = "placement.lock"
_OTHERS_END_WITHIN = timedelta(seconds=20)
"""How long processes of another number may take to end, once this one has started."""
_MOVED_WITHIN = timedelta(minutes=30)
"""How long one process may move groups before those that wait for it give up."""
_LOOK_EVERY = timedelta(milliseconds=50)

_logger = structlog.get_logger(__name__)


class PlacementLock:
    """A lock on the placement of a state directory: shared by those who live by it, or of the one who changes it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def share(self) -> bool:
        """Whether nobody changes the placement; from then on nobody can."""
        return try_flock(self._descriptor, fcntl.LOCK_SH)

    def own(self) -> bool:
        """Whether nobody lives by the placement; it may be changed until `free`."""
        return try_flock(self._descriptor)

    def free(self) -> None:
        """Let the others at it."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release it."""
        os.close(self._descriptor)


def settle_placement(directory: Path, layout: Layout, *, others_end_within: timedelta) -> PlacementLock:
    """The lock of a process that lives by this layout; moves the groups to it if they are placed otherwise.

    :raises StateLockedError: processes of another number are alive, or a move takes too long.
    :raises StateDamagedError: a database does not open.
    """
    lock = PlacementLock(directory)
    try:
        _settle(lock, directory, layout, others_end_within)
    except BaseException:
        lock.close()
        raise
    return lock


def _settle(lock: PlacementLock, directory: Path, layout: Layout, others_end_within: timedelta) -> None:
    began = time.monotonic()
    while True:
        if lock.share():
            if read_layout(directory) == layout:
                return
            if lock.own():
                _move(directory, layout)
            elif time.monotonic() - began > others_end_within.total_seconds():
                raise StateLockedError(_others_alive(directory, layout))
            lock.free()
        elif time.monotonic() - began > _MOVED_WITHIN.total_seconds():
            raise StateLockedError(f"{directory}: another process moves key groups for more than {_MOVED_WITHIN}")
        time.sleep(_LOOK_EVERY.total_seconds())


def _move(directory: Path, layout: Layout) -> None:
    began, before = time.monotonic(), read_layout(directory)
    moved = move_groups(directory, layout)
    _logger.info(
        "key_groups_moved", groups=moved, seconds=round(time.monotonic() - began, 2),
        before=before and before.processes, processes=layout.processes, workers=layout.workers,
    )  # fmt: skip


def _others_alive(directory: Path, layout: Layout) -> str:
    holders = [path.read_text(encoding="utf-8").strip() for path in sorted(directory.glob(f"*/{FILE_NAME}"))]
    return (
        f"{directory}: decide still runs as a cluster of another number of processes or workers than"
        f" {layout.processes} with {layout.workers} each; stop all of it first. Last seen:"
        f" {', '.join(filter(None, holders)) or 'unknown'}"
    )


class DecideSlot:
    """The slot of this process, held until `close` or the end of the process."""

    def __init__(
        self, directory: Path, place: ClusterPlace, *, others_end_within: timedelta = _OTHERS_END_WITHIN
    ) -> None:
        """Take it, and move the groups before if their number of processes was another one.

        :raises ConfigurationError: the groups do not spread evenly over so many workers.
        :raises StateLockedError: another live process owns the slot, or decide runs as another number of processes.
        """
        self._directory, self.number = directory, place.process
        self._layout = Layout(place.processes, place.workers_per_process)
        self._layout.validate()
        own = slot_directory(directory, place.process)
        self._lock = StateLock.acquire(own, f"decide, process {place.process} of {place.processes}")
        try:
            self._placement = settle_placement(directory, self._layout, others_end_within=others_end_within)
        except BaseException:
            self._lock.release()
            raise
        self.groups = frozenset(self._layout.groups_of(place.process))
        """Key groups that this process decides."""
        self.path = own / DATABASE
        """Where its database is."""
        self.store = GroupStore(self.path)
        self.journal = PoisonJournal.open(own / POISON, unit=directory)

    def publish(self) -> None:
        """Say from where on this process needs `work`, before the cluster runs."""
        publish_offsets(
            self._directory, self.number, {group: self.store.next_offset(group) for group in sorted(self.groups)}
        )

    def first_offset(self, partition: int, partitions: int) -> int:
        """Where the cluster reads a partition of `work`: at the group that is furthest behind, of all processes.

        The process that reads the partition hands each record to the process of its group, and a group drops what it
        has. Asked when the cluster runs, so all processes have published their offsets.
        """
        groups = groups_of_partition(partition, partitions)
        return min(published_offset(self._directory, self._layout, group) for group in groups)

    def close(self) -> None:
        """Give the slot back, without committing what is collected."""
        self.store.close()
        self.journal.close()
        self._placement.close()
        self._lock.release()
