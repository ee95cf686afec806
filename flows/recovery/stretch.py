"""Deciding a stretch of one partition of the decision log again: the state before it, and what its records lead to.

The state comes from exports and from the records that follow them. The same code decides as in the running system, so
the outputs have the same bytes and the same `seq` as those that decide wrote (DECISIONS, One ordered log).
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from connectors.archive.records import TopicRecords
from connectors.log.interface import NewRecord, Record
from flows.steps.decide.group import GroupDecider, restore_skips, stamp_of
from flows.steps.decide.steps import split_by_group
from operators.sequence import RULES_VERSION
from state.decide.checkpoint import GroupStore
from state.decide.exports import newest_per_group, restore_groups
from state.disk.exports import OnRefusedExport
from state.disk.poison import PoisonJournal
from state.model.addresses import forms_version
from state.model.errors import MalformedRecordError
from state.model.keys import groups_of_partition
from state.model.registry import Registry
from state.model.work import VersionsWork, decode_work, is_versions
from state.model.zones import tzdata_version

_COMMIT_EVERY = 50_000
"""Records between two commits: what a group that meets a poisonous record applies once more at most."""


_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReplaySource:
    """A decision log that can be decided again, and what that needs."""

    work: TopicRecords
    dead_letters: TopicRecords | None
    """Says which records decide skipped. None: there are no dead letters."""
    exports: Path
    """`DIR/exports`; need not exist."""
    registry: Registry
    """In force where `work` does not say another."""
    refused: OnRefusedExport = lambda _path, _error: None
    """Told of damaged exports, which are passed over."""


class PartitionReplay:
    """Decides one partition from a state before the stretch on, into a store of its own."""

    def __init__(self, source: ReplaySource, store: GroupStore, partition: int, newest: int, scratch: Path) -> None:
        """Bring the store to the newest state that includes nothing from offset `newest` on; `scratch` is a directory
        to work in.
        """
        partitions = source.work.partitions
        groups = groups_of_partition(partition, partitions)
        chosen = newest_per_group(source.exports, dict.fromkeys(groups, range(1, newest + 1)), source.refused)
        restore_groups(store.database, chosen, scratch / "export")
        if source.dead_letters is not None:
            restore_skips(store, groups, _all_records(source.dead_letters))
        journal = PoisonJournal.open(scratch / "processing.journal")
        self._deciders = {
            group: GroupDecider(group, store, source.registry, journal, partitions=partitions) for group in groups
        }
        self._source, self._store, self._partition = source, store, partition
        self._split = split_by_group(partitions)
        self.start = min(store.next_offset(group) for group in groups)
        """The first offset that must be read."""

    def decide(
        self, end: int, advanced: Callable[[int], None], changed: Callable[[Record], Record] | None = None
    ) -> Iterator[tuple[int, NewRecord]]:
        """(Offset of the record, an output of it) from `start`, which moves, up to `end`; `advanced` gets how many are
        decided. `changed`: what is decided in place of a record.

        :raises OffsetOutOfRangeError: records before the end are missing.
        """
        since_commit = 0
        for records in self._source.work.read(self._partition, self.start, end):
            yield from self._decide(records if changed is None else list(map(changed, records)))
            advanced(len(records))
            since_commit += len(records)
            if since_commit >= _COMMIT_EVERY:
                self.commit()
                since_commit = 0
        self.start = max(self.start, end)

    @property
    def registry(self) -> Registry:
        """The types that hold where everything below `start` is decided."""
        return max(self._deciders.values(), key=lambda each: each.place).registry

    def use_types(self, registry: Registry) -> None:
        """From `start` on these types hold, whatever the log says; it is committed."""
        for decider in self._deciders.values():
            decider.use_types(registry)
        self.commit()

    def _decide(self, records: list[Record]) -> Iterator[tuple[int, NewRecord]]:
        for record in records:
            if is_versions(record.value):
                _warn_of_versions(record)
        for _, (group, entries) in self._split(records):
            decider = self._deciders[group]
            for entry in entries:
                for output in decider.decide([entry]):
                    yield entry[0], output

    def finish(self, end: int) -> None:
        """Everything below `end` was decided: say so of groups too that nothing there was for, and commit."""
        for decider in self._deciders.values():
            decider.advance(end)
        self.commit()

    def commit(self) -> None:
        """Make the store hold what was decided so far."""
        for decider in self._deciders.values():
            decider.collect()
        self._store.commit()


def _warn_of_versions(record: Record) -> None:
    """Say that other rules, zones or forms of addresses decided then: what comes out now may differ."""
    try:
        then = decode_work(record.value)
    except MalformedRecordError:
        return  # a dead letter says so
    if not isinstance(then, VersionsWork):
        return
    now = {"tzdata": tzdata_version(), "rules": RULES_VERSION, "forms": forms_version() if then.forms else ""}
    if (then.tzdata, then.rules, then.forms) != tuple(now.values()):
        _logger.warning("decided_by_other_versions", partition=record.partition, offset=record.offset,
                        tzdata=then.tzdata, rules=then.rules, forms=then.forms, now=now)  # fmt: skip


@contextmanager
def temporary_replay(source: ReplaySource, partition: int, first: int) -> Iterator[PartitionReplay]:
    """A replay whose state is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="carillon-replay-") as directory:
        store = GroupStore(Path(directory) / "rocksdb")
        try:
            yield PartitionReplay(source, store, partition, first, Path(directory))
        finally:
            store.close()


def offsets_of_time(work: TopicRecords, partition: int, from_ms: int, to_ms: int) -> tuple[int, int]:
    """The offsets of the records with stamps of [from_ms, to_ms): stamps of a partition never fall."""
    first, end = (work.first_where(partition, _reached(at)) for at in (from_ms, to_ms))
    return first, end


def _reached(at_ms: int) -> Callable[[Record], bool | None]:
    """Whether a record's stamp is not before a time; None: it has none."""

    def reached(record: Record) -> bool | None:
        stamp = stamp_of(record.value)
        return stamp >= at_ms if stamp else None

    return reached


def _all_records(topic: TopicRecords) -> Iterator[Record]:
    """What there is of a topic, in all partitions; whatever is gone is older than all that it could concern."""
    for partition in range(topic.partitions):
        first, end = topic.begin(partition), topic.end(partition)
        holes = topic.missing(partition, first, end)
        for low, high in zip([first, *(hole[1] for hole in holes)], [*(hole[0] for hole in holes), end], strict=True):
            for records in topic.read(partition, low, high):
                yield from records
