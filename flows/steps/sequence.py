"""Sequence as Bytewax steps: what the gateway accepted becomes the decision log (DESIGN 2.2). One worker, one owner.

The source reads P1 before P2, on credit, and after each batch of events drains the settings to their ends as of then:
so a preference acknowledged before an event was accepted precedes it. A retraction waits until P2 is read up to the
same point.
"""

from collections.abc import Callable, Container
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic

from connectors.log import Log, NewRecord, Reader, Record
from connectors.log.bytewax import keyed
from flows.steps.resuming import dead_letter
from operators.sequence import (
    SETTING_TOPICS,
    announce_versions,
    sequence_event,
    sequence_setting,
    settle_versions,
    take_over,
    tick,
    unwritten_partitions,
)
from state.model.errors import MalformedRecordError
from state.model.event import decode_event
from state.model.keys import partition_of_group
from state.model.registry import Registry
from state.model.work import FollowWork, VersionsWork, Work, decode_work, encode_work
from state.sequencing import SequenceState, SequenceStore

TICK_INTERVAL = timedelta(milliseconds=250)
_BATCH_MAX = 2_000
_AWAKE = timedelta(milliseconds=20)
_NO_WAIT = timedelta()
_RETRACTS = b'"retracts":true'
Place = tuple[str, int]


class SequenceBatch(NamedTuple):
    """Settings, then events, in the order in which they are written; `now` is the clock, `ticks` says to move time."""

    settings: list[Record]
    events: list[Record]
    now: int
    ticks: bool


class SequenceOptions(NamedTuple):
    """Credit per epoch (DESIGN 2.11)."""

    p1_budget: int
    """P1 events that enter an epoch."""
    p2_budget: int
    """P2 events that enter an epoch."""


class SequenceSource(FixedPartitionedSource[SequenceBatch, None]):
    """One partition: the reader of every topic that `sequence` owns."""

    def __init__(
        self,
        open_log: Callable[[], Log],
        positions: Callable[[], dict[Place, int]],
        options: SequenceOptions,
        *,
        clock: Callable[[], int],
        drain: Callable[[], bool],
        on_epoch: Callable[[], None],
    ) -> None:
        self._open_log, self._positions, self._options = open_log, positions, options
        self._clock, self._drain, self._on_epoch = clock, drain, on_epoch

    def list_parts(self) -> list[str]:
        return ["sequence"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_SequencePartition":
        return _SequencePartition(
            self._open_log(), self._positions(), self._options, self._clock, self._drain, self._on_epoch
        )


class _SequencePartition(StatefulSourcePartition[SequenceBatch, None]):
    def __init__(
        self,
        log: Log,
        positions: dict[Place, int],
        options: SequenceOptions,
        clock: Callable[[], int],
        drain: Callable[[], bool],
        on_epoch: Callable[[], None],
    ) -> None:
        self._log, self._options, self._clock, self._drain = log, options, clock, drain
        self._on_epoch = on_epoch
        self._p1 = _places(log, ("events.p1",))
        self._p2 = _places(log, ("events.p2",))
        self._settings = _places(log, SETTING_TOPICS)
        places = (*self._p1, *self._p2, *self._settings)
        self._reader: Reader = log.reader({p: positions[p] if p in positions else log.begin_offset(*p) for p in places})
        self._p1_credit, self._p2_credit = options.p1_budget, options.p2_budget
        self._next_tick = 0
        self._new_epoch = False
        self._ended = False
        self._events: list[Record] = []
        """Read, and handed on when the settings have been read to `_settings_until`."""
        self._settings_until: dict[Place, int] = {}
        self._retracting: list[Record] = []
        """Retractions and what came with them: handed on when P2 has been read to `_p2_until`."""
        self._p2_until: dict[Place, int] = {}

    def next_batch(self) -> list[SequenceBatch]:
        if self._ended and not self._events and not self._retracting:
            raise StopIteration
        self._ended = self._drain()
        if self._new_epoch:
            self._new_epoch = False
            self._on_epoch()
        settings, events = self._read()
        now = self._clock()
        ticks = now >= self._next_tick or self._ended  # the last thing is a tick: it lets decide count
        if ticks:
            self._next_tick = now + TICK_INTERVAL // timedelta(milliseconds=1)
        return [SequenceBatch(settings, events, now, ticks)] if settings or events or ticks else []

    def _read(self) -> tuple[list[Record], list[Record]]:
        """A bounded batch of settings, and the events that wait for them once the last of them is in it."""
        if not self._events:
            self._events = self._next_events()
            self._settings_until = self._ends(self._settings) if self._events else {}
        wait = _AWAKE if self._behind(self._settings_until) else _NO_WAIT
        settings = self._poll(self._settings, _BATCH_MAX, wait)
        if self._events:
            if self._behind(self._settings_until):
                return settings, []
            events, self._events = self._events, []
            return settings, events
        if not settings:
            self._wait()
        return settings, []

    def _next_events(self) -> list[Record]:
        """P1 before P2; a batch with a retraction after everything that was in P2 when it was read."""
        if self._retracting:
            return self._p2_before_retractions()
        urgent = self._poll(self._p1, self._p1_credit, _NO_WAIT)
        self._p1_credit -= len(urgent)
        if not urgent and self._p2_credit > 0:
            urgent = self._poll(self._p2, self._p2_credit, _NO_WAIT)
            self._p2_credit -= len(urgent)
        elif any(_RETRACTS in record.value for record in urgent):
            self._retracting, self._p2_until = urgent, self._ends(self._p2)
            return self._p2_before_retractions()
        return urgent

    def _p2_before_retractions(self) -> list[Record]:
        behind = self._behind(self._p2_until)
        later = self._poll(behind, _BATCH_MAX, _AWAKE) if behind else []
        if self._behind(self._p2_until):
            return later
        later, self._retracting = later + self._retracting, []
        return later

    def _ends(self, places: list[Place]) -> dict[Place, int]:
        return {place: self._log.end_offset(*place) for place in places}

    def _behind(self, until: dict[Place, int]) -> dict[Place, int]:
        """Those of the partitions that are not read so far."""
        position = self._reader.position() if until else {}
        return {place: end for place, end in until.items() if position[place] < end}

    def _wait(self) -> None:
        """Until a record arrives or it is time for a tick: the doorbell wakes a poll that takes nothing away."""
        places = [*self._settings]
        places += self._p1 if self._p1_credit > 0 else ()
        places += self._p2 if self._p2_credit > 0 else ()
        remaining = max(0, self._next_tick - self._clock())
        arrived = self._reader.poll(1, min(timedelta(milliseconds=remaining), _AWAKE), places)
        for record in arrived:
            self._reader.seek(record.topic, record.partition, record.offset)

    def _poll(self, places: Container[Place], most: int, wait: timedelta) -> list[Record]:
        return self._reader.poll(min(most, _BATCH_MAX), wait, places) if most > 0 else []

    def next_awake(self) -> datetime:
        return datetime.now(UTC)

    def snapshot(self) -> None:
        self._new_epoch = True
        self._p1_credit, self._p2_credit = self._options.p1_budget, self._options.p2_budget

    def close(self) -> None:
        self._reader.close()
        self._log.close()


def _places(log: Log, topics: tuple[str, ...]) -> list[Place]:
    return [(topic, partition) for topic in topics for partition in range(log.partitions(topic))]


class Sequence(StatefulBatchLogic[SequenceBatch, tuple[str, NewRecord], None]):
    """Batches to records of `work`, `followers` and `dead_letters`."""

    def __init__(
        self, state: SequenceState, store: SequenceStore, log: Log, registry: Registry, versions: VersionsWork
    ) -> None:
        self._state, self._store, self._log, self._registry = state, store, log, registry
        self._versions = versions
        self._partitions = log.partitions("work")

    def on_batch(self, values: list[SequenceBatch]) -> tuple[list[tuple[str, NewRecord]], bool]:
        written: list[NewRecord] = []
        for batch in values:
            self._state.stamp = max(self._state.stamp, batch.now)
            for versions in announce_versions(self._state, self._versions):
                written += self._work(versions)
            for record in (*batch.settings, *batch.events):
                written += self._one(record)
                self._state.positions[record.topic, record.partition] = record.offset + 1
            if batch.ticks:
                written += self._work(tick(self._state))
        return [keyed(record) for record in written], False

    def _one(self, record: Record) -> list[NewRecord]:
        source = (record.topic, record.partition, record.offset)
        try:
            if record.topic in SETTING_TOPICS:
                works = sequence_setting(self._state, record.topic, record.value, source)
            else:
                works = sequence_event(self._state, self._registry, decode_event(record.value), source)
        except MalformedRecordError as error:
            partitions = self._log.partitions("dead_letters")
            return [dead_letter(record, error, stage="sequence", at=self._state.stamp, partitions=partitions)]
        return [written for work in works for written in (*self._work(work), *self._follower(work))]

    def _work(self, work: Work) -> list[NewRecord]:
        value, headers = encode_work(work), (("schema", b"work/1+json"),)
        if work.g is None:
            missing = unwritten_partitions(self._state, work, self._partitions)
            return [NewRecord("work", partition, b"", value, headers) for partition in missing]
        partition = partition_of_group(work.g, self._partitions)
        return [NewRecord("work", partition, str(work.g).encode(), value, headers)]

    def _follower(self, work: Work) -> list[NewRecord]:
        """`followers` is derived here, so that both copies of the graph agree."""
        if not isinstance(work, FollowWork) or work.g is None:
            return []
        key = f"{work.followee}\0{work.follower}".encode()
        value = encode_work(work)
        partition = partition_of_group(work.g, self._log.partitions("followers"))
        return [NewRecord("followers", partition, key, value, (("schema", b"follow/1+json"),))]

    def snapshot(self) -> None:
        """The epoch ends here; committed when the next begins. What the log holds beyond these ends is taken over."""
        for partition in range(self._partitions):
            self._state.work_ends[partition] = self._log.end_offset("work", partition)
        self._store.stage(self._state)


def restored(store: SequenceStore, log: Log, registry: Registry) -> SequenceState:
    """The checkpoint, and what the decision log holds beyond it (DESIGN 2.2)."""
    state = store.load()
    start = {("work", p): state.work_ends.get(p, log.begin_offset("work", p)) for p in range(log.partitions("work"))}
    ends = {place: log.end_offset(*place) for place in start}
    reader = log.reader(start)
    try:
        while any(position < ends[place] for place, position in reader.position().items()):
            for record in reader.poll(_BATCH_MAX, _AWAKE):
                take_over(state, registry, decode_work(record.value), record.partition)
    finally:
        reader.close()
    settle_versions(state, len(start))
    return state
