"""Replay: a decision log is decided again, from the embedded log, Kafka or the archive (`carillon replay`).

    work (log, archive) ─► state from exports ─► decide ─► ledger records  |  deliver.*, again  |  state/decide

It covers P1 and P2, which `work` decides. P0's decisions are in P0's own store and are never made again; no replay
touches them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import structlog

from connectors.archive.manifest import FILE
from connectors.archive.records import TopicRecords
from connectors.log.interface import Log, NewRecord, Record
from flows.config.settings import Settings
from flows.decide import DIRECTORY as DECIDE
from flows.process.directories import ARCHIVE
from flows.process.opening import open_configured_log
from flows.recovery.other_types import OtherTypes
from flows.recovery.stretch import PartitionReplay, ReplaySource, offsets_of_time, temporary_replay
from flows.steps.decide.epoch_credit import highest_credit
from state.decide.checkpoint import GroupStore
from state.decide.moving import DATABASE, slot_directory
from state.disk.files import rename_flushed
from state.disk.lock import StateLock
from state.ledger import empty_table, latest, ledger_table
from state.model.dead_letter import AGAIN_HEADER
from state.model.delivery import WITHDRAWAL
from state.model.envelope import header, parse_output_header
from state.model.errors import (
    ConfigurationError,
    OffsetOutOfRangeError,
    StateDamagedError,
    StateError,
    UnknownTopicError,
)
from state.model.keys import KEY_GROUPS

pc: Any = pyarrow.compute  # its stubs refuse expressions
KAFKA = "kafka"
EXPORTS = Path("exports")
_LEDGER_CHUNK = 20_000
_APPEND_CHUNK = 1_000
_LOOK_BACK = 5_000
OnProgress = Callable[[int, int], None]
"""Told (records decided, records to decide in all) now and then."""
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayOrigin:
    """Where a decision log is read from."""

    source: ReplaySource
    log: Log | None
    """None: an archive alone."""
    data_dir: Path | None
    """Whose state and archive they are; None: an archive that lies by itself."""


@contextmanager
def opened_origin(text: str, settings: Settings) -> Iterator[ReplayOrigin]:
    """What `LOG` names: `kafka` (the configured brokers, and the archive of the data directory), a data directory (its
    log and its archive), or an archive.

    :raises ConfigurationError: it is none of them.
    """
    if text == KAFKA:
        given = replace(settings, profile="kafka")
        yield from _origin(open_configured_log(given), given.data_dir, given)
        return
    directory = Path(text)
    if any(directory.glob(f"work/*/{FILE}")):
        yield from _archive_alone(directory, settings)
    elif (directory / "log").exists():
        given = replace(settings, profile="embedded", data_dir=directory)
        yield from _origin(open_configured_log(given), directory, given)
    elif any((directory / ARCHIVE).glob(f"work/*/{FILE}")):
        yield from _archive_alone(directory / ARCHIVE, settings)
    else:
        raise ConfigurationError(f"{text}: is neither a data directory, nor an archive, nor the word {KAFKA}")


def _origin(log: Log, data_dir: Path, settings: Settings) -> Iterator[ReplayOrigin]:
    try:
        archive = data_dir / ARCHIVE
        topics = [TopicRecords(name, archive=archive, log=log) for name in ("work", "dead_letters")]
        yield ReplayOrigin(
            ReplaySource(topics[0], topics[1], data_dir / EXPORTS, settings.registry(), _refused), log, data_dir
        )
    finally:
        log.close()


def _archive_alone(archive: Path, settings: Settings) -> Iterator[ReplayOrigin]:
    work = TopicRecords("work", archive=archive, log=None)
    try:
        letters = TopicRecords("dead_letters", archive=archive, log=None)
    except UnknownTopicError:
        letters = None
    yield ReplayOrigin(ReplaySource(work, letters, archive.parent / EXPORTS, settings.registry(), _refused), None, None)


def _refused(path: Path, error: Exception) -> None:
    _logger.warning("export_damaged", directory=path.name, error=str(error))


@dataclass(frozen=True, slots=True)
class ReplayRange:
    """What to decide again: stamps of [from_ms, to_ms), of one partition or of all."""

    from_ms: int
    to_ms: int
    partition: int | None = None


def replayed(
    origin: ReplayOrigin,
    wanted: ReplayRange,
    progress: OnProgress = lambda _done, _all: None,
    other: OtherTypes | None = None,
) -> Iterator[NewRecord]:
    """Everything that the records of the range lead to, by partition; the bytes that decide wrote, unless other types
    are given.

    :raises OffsetOutOfRangeError: records of the range, or between the state before it and the range, are missing.
    """
    work = origin.source.work
    spans = {p: offsets_of_time(work, p, wanted.from_ms, wanted.to_ms) for p in _partitions(work, wanted)}
    counted = _Counted(progress)
    for partition, (first, end) in spans.items():
        _refuse_cut_off(work, partition, first)
        if origin.log is None and end == work.end(partition):
            _logger.warning("the archive may end before the range does", partition=partition, end=end)
        if first == end:
            continue
        with temporary_replay(origin.source, partition, first) as replay:
            counted.expect(end - replay.start)
            if other is not None:
                yield from (output for _, output in other.decide(replay, first, end, counted.advance))
                continue
            for offset, output in replay.decide(end, counted.advance):
                if offset >= first:
                    yield output


def _partitions(work: TopicRecords, wanted: ReplayRange) -> Sequence[int]:
    if wanted.partition is None:
        return range(work.partitions)
    if not 0 <= wanted.partition < work.partitions:
        raise ConfigurationError(f"--partition {wanted.partition}: work has the partitions 0 to {work.partitions - 1}")
    return [wanted.partition]


def _refuse_cut_off(work: TopicRecords, partition: int, first: int) -> None:
    """What is missing just before the first record that is there could belong to the range."""
    if first and work.missing(partition, first - 1, first):
        raise OffsetOutOfRangeError(
            f"work/{partition}: the range begins before offset {first}, and what stood there is neither in the log "
            "nor in the archive; begin later, or restore the archive's directory"
        )


class _Counted:
    """Counts what is done against what there is to do, as it becomes known."""

    def __init__(self, progress: OnProgress) -> None:
        self._progress, self._done, self._all = progress, 0, 0

    def expect(self, records: int) -> None:
        self._all += records

    def advance(self, records: int) -> None:
        self._done += records
        self._progress(self._done, self._all)


def replayed_decisions(
    origin: ReplayOrigin,
    wanted: ReplayRange,
    progress: OnProgress = lambda _done, _all: None,
    other: OtherTypes | None = None,
) -> pa.Table:
    """The decisions that the range leads to, as `carillon ledger` has them: the last state of each, by time."""
    tables = [empty_table()]
    gathered: list[Record] = []
    for output in replayed(origin, wanted, progress, other):
        if output.topic == "ledger":
            gathered.append(Record("ledger", output.partition, len(gathered), 0, *output[2:]))
        if len(gathered) >= _LEDGER_CHUNK:
            tables.append(_decisions(gathered))
            gathered = []
    tables.append(_decisions(gathered))
    return latest(pa.concat_tables(tables)).sort_by([("time", "ascending"), ("user", "ascending")])


def _decisions(records: Sequence[Record]) -> pa.Table:
    table, _ = ledger_table(records)
    return table.filter(pc.field("kind") == "decision")


def redeliver(
    origin: ReplayOrigin, wanted: ReplayRange, progress: OnProgress = lambda _done, _all: None
) -> dict[str, int]:
    """Append the range's emissions to the deliver topics once more, marked as given again; gives how many by topic.

    Deliver sends only those without an intent: what was sent, or ended in another way, does not go out again.

    :raises ConfigurationError: there is no log to append to.
    """
    if origin.log is None:
        raise ConfigurationError("--redeliver: an archive has no topics to append to; name a data directory or kafka")
    mark = (AGAIN_HEADER, f"replay/{wanted.from_ms}-{wanted.to_ms}".encode())
    appended: dict[str, int] = {}
    waiting: list[NewRecord] = []
    for output in replayed(origin, wanted, progress):
        if output.topic.startswith("deliver.") and header(output.headers, "schema") != WITHDRAWAL.json:
            appended[output.topic] = appended.get(output.topic, 0) + 1
            waiting.append(output._replace(headers=(*output.headers, mark)))
        if len(waiting) >= _APPEND_CHUNK:
            origin.log.append(waiting)
            waiting = []
    if waiting:
        origin.log.append(waiting)
    return appended


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did."""

    directory: Path
    moved_to: Path | None
    """Where the state that was there went."""
    ends: dict[int, int]
    """Partition of `work` to the offset behind what the state includes; decide goes on there."""
    records: int
    appended: int
    """Outputs written that nobody had written before decide lost its state."""


def rebuild_state(
    origin: ReplayOrigin,
    settings: Settings,
    *,
    force: bool,
    at_ms: int,
    progress: OnProgress = lambda _done, _all: None,
) -> Rebuilt:
    """Build decide's state from exports, archive and log, with the system stopped.

    The state includes all of `work` whose outputs are certainly in the log, and at least what the log no longer holds.
    Decide decides the rest when it starts, and readers of its outputs drop what was written before.

    :raises StateError: there is state and no `force`; or no log to go on with.
    :raises StateLockedError: the system, or decide, runs.
    """
    if origin.log is None or origin.data_dir is None:
        raise StateError("--rebuild-state: an archive alone has no system; name a data directory or kafka")
    directory = origin.data_dir / DECIDE
    draft = directory.with_name(".decide.rebuilding")
    with StateLock.acquire(origin.data_dir / "run", "carillon replay"), _locks(directory, force=force):
        shutil.rmtree(draft, ignore_errors=True)
        store = GroupStore(slot_directory(draft, 0) / DATABASE)
        try:
            ends, records, appended = _rebuild(origin, origin.log, store, draft, settings, progress)
        finally:
            store.close()
        for leftover in ("export", "processing.journal"):
            _remove(draft / leftover)
        moved_to = _move_aside(directory, at_ms)
        rename_flushed(draft, directory)
    return Rebuilt(directory, moved_to, ends, records, appended)


def _rebuild(
    origin: ReplayOrigin, log: Log, store: GroupStore, draft: Path, settings: Settings, progress: OnProgress
) -> tuple[dict[int, int], int, int]:
    counted, ends = _Counted(progress), dict[int, int]()
    records = appended = 0
    epoch_max = max(settings.lanes.p1_per_epoch, highest_credit(log))
    for partition in range(origin.source.work.partitions):
        certain = _certainly_written(log, partition, 2 * epoch_max)
        end = max(certain, log.begin_offset("work", partition))
        # An export holds committed state, whose outputs are in the log: it may be newer than what is certain otherwise.
        replay = PartitionReplay(origin.source, store, partition, log.end_offset("work", partition), draft)
        start = replay.start
        counted.expect(max(0, end - start))
        late = (output for offset, output in replay.decide(end, counted.advance) if offset >= certain)
        while missing := list(islice(late, _APPEND_CHUNK)):
            log.append(missing)
            appended += len(missing)
        replay.finish(end)
        ends[partition], records = max(end, start), records + max(0, end - start)
    return ends, records, appended


def _certainly_written(log: Log, partition: int, margin: int) -> int:
    """Below this offset of `work` everything has its outputs in the log, in all topics.

    An epoch's outputs are in the log before the next epoch begins, and at most the highest number of records of a
    partition that was ever noted is in hand in one. So a record that is `margin`, twice that number, before any output
    on the ledger belongs to a complete epoch.
    """
    ledger = TopicRecords("ledger", archive=None, log=log)
    begin, end = ledger.begin(partition), ledger.end(partition)
    while end > begin:
        low = max(begin, end - _LOOK_BACK)
        found = [at for records in ledger.read(partition, low, end) for at in map(_work_offset, records)]
        if any(at >= 0 for at in found):
            return _records_before(log, partition, max(found), margin)
        end = low
    return 0


def _records_before(log: Log, partition: int, end: int, count: int) -> int:
    """The offset of `work` from which there are so many records up to `end`. Records are counted, not offsets: on Kafka
    there are offsets without a record (`connectors.log.kafka.fencing`).
    """
    work = TopicRecords("work", archive=None, log=log)
    begin, left = work.begin(partition), count
    while left > 0 and end > begin:
        low = max(begin, end - left)
        offsets = [record.offset for records in work.read(partition, low, end) for record in records]
        if len(offsets) >= left:
            return offsets[-left]
        left, end = left - len(offsets), low
    return max(0, end - left)


def _work_offset(record: Record) -> int:
    """Of the record of `work` that it follows from; -1: decide did not write it."""
    value = dict(record.headers).get("seq")
    sequence = None if value is None else parse_output_header(value)
    return sequence.offset if sequence is not None and sequence.source == "d" else -1


@contextmanager
def _locks(directory: Path, *, force: bool) -> Iterator[None]:
    """Own what is there; refuse to replace it unless forced."""
    with ExitStack() as held:
        for owned in [directory, *(path.parent for path in directory.glob("*/owner.lock"))]:
            if owned.exists():
                held.enter_context(StateLock.acquire(owned, "carillon replay"))
        if not force and any(_holds_state(path.parent) for path in directory.glob("**/CURRENT")):
            raise StateError(f"{directory}: there is state; --force moves it aside")
        yield


def _holds_state(database: Path) -> bool:
    """Whether any key group is in it; a start that was refused leaves a database without one."""
    try:
        store = GroupStore(database)
    except StateDamagedError:
        return True
    try:
        return any(store.next_offset(group) for group in range(KEY_GROUPS))
    finally:
        store.close()


def _move_aside(directory: Path, at_ms: int) -> Path | None:
    if not directory.exists():
        return None
    aside = directory.with_name(f"{directory.name}.before-{at_ms}")
    rename_flushed(directory, aside)
    return aside


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
