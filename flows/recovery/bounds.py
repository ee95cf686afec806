"""Whether state fits the log, which every flow asks at its start. What is done if not: `flows/recovery/restore.py`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import structlog

from connectors.log.interface import Log
from state.model.errors import StateDamagedError

ACCEPT_LOSS = "accept-loss"
_ACCEPTED_FOR = timedelta(hours=1)
_logger = structlog.get_logger(__name__)


class StoreHome(NamedTuple):
    """Where a store lives, and its exports."""

    store: str
    """Name of its exports: `sequence`, `inbox/3`; of decide without the slot."""
    path: Path
    """Directory of its database."""
    data_dir: Path
    keys: str = ""
    """Where it is if it is in Redis; then `path` is no more than a name for locks."""

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

    @property
    def where(self) -> str:
        """For messages."""
        return self.keys or str(self.path)

    @property
    def removal(self) -> str:
        """How it goes together with its exports."""
        if self.keys:
            return f"delete {self.keys} and move {self.exports / self.flow} aside"
        return f"move {self.flow_directory} and {self.exports / self.flow} aside"


class PartitionBounds(NamedTuple):
    """What a partition retains: offsets from `begin` on; the next record gets `end`."""

    begin: int
    end: int

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.begin <= offset <= self.end


def bounds_of(log: Log, topic: str, partition: int) -> PartitionBounds:
    """As of now."""
    return PartitionBounds(log.begin_offset(topic, partition), log.end_offset(topic, partition))


def check_not_ahead(home: StoreHome, places: Iterable[tuple[str, int, int]], log: Log) -> None:
    """:raises StateDamagedError: the state includes what the log does not have."""
    for topic, partition, offset in places:
        end = log.end_offset(topic, partition)
        if offset > end:
            raise StateDamagedError(ahead_text(home, f"{topic}/{partition}", offset, end))


def refuse_new_log(home: StoreHome, ends: Mapping[tuple[str, int], int]) -> None:
    """Before state is begun with nothing but the log: it is the first start of all, unless exports say otherwise.

    `ends` is where partitions, or key groups, end. A new log is not empty for long: gateways write to it, too.

    :raises StateDamagedError: a system that lost its log would start as if nobody had ever set anything.
    """
    from state.disk.exports import exported_stores, list_exports  # loads RocksDB, which not all flows have

    for store in exported_stores(home.exports, home.flow):
        exports = list_exports(home.exports, store) if f"{store}/".startswith(f"{home.store}/") else []
        for topic, number, offset in (place for export in exports for place in export.manifest.offsets):
            end = ends.get((topic, number), offset)
            if offset > end:
                where = str(home.exports / store)
                raise StateDamagedError(ahead_text(home, f"{topic}/{number}", offset, end, where))


def ahead_text(home: StoreHome, place: str, offset: int, end: int, where: str = "") -> str:
    """What to say of state, or of exports (`where`), that include what the log does not have."""
    return (
        f"{where or home.where}: includes {place} up to offset {offset}, and the log ends at {end}: the log was lost,"
        f" or is another one. Restore the log; for a new log, {home.removal}"
    )


def goes_on_from(home: StoreHome, stored: int | None, topic: str, partition: int, log: Log) -> int:
    """Where a flow without exports goes on; `stored` is None where its state is new.

    :raises StateDamagedError: the log lacks what it has not read, or ends before what it has read.
    """
    begin = log.begin_offset(topic, partition)
    if stored is None:
        return begin
    check_not_ahead(home, [(topic, partition, stored)], log)
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
        f"{home.where}: retention has removed records that {home.flow} had not read: {places}. Restore them, or a newer"
        f" state or export in {home.exports / home.store}; to go on without them: touch {marker}, and start again"
    )
