"""The log at the start of a dataflow: a source on credit, with ticks.

The flow keeps its offsets itself and gives the source the offsets to start with. After a crash the records that follow
the last complete epoch are read again.

Bytewax gets one source partition for each partition number (`p000`, `p001`, ...), so that a recovery store fits any
number of workers. But source partitions of a worker wait for each other at every end of an epoch, and the engine does
not sleep while they do. So the first one of a worker reads for all, through one reader, and the others end at once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from operator import attrgetter
from typing import NamedTuple

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.log.backlog import Backlog
from connectors.log.interface import Log, Reader, Record
from connectors.log.sharing import Partitions, SharedLog, logged

AT_ONCE = datetime.fromtimestamp(0, UTC)
"""What a source that waits by itself answers to `next_awake`: a time long past, and never "now". The engine counts the
sleep from the start of `next_batch`, and sleeps after the call: a call that took as long as an outage of the brokers
would be followed by a sleep of the same length.
"""
SHORT_WAIT = timedelta(milliseconds=10)
"""How long a call waits for a record while other steps of the worker, or other workers, may have work."""
LONG_WAIT = timedelta(milliseconds=100)
"""How long it waits while nothing but a record or a tick can bring work."""
REST_WAIT = timedelta(milliseconds=400)
"""How long it waits once nothing came for `_REST_AFTER` calls: the epochs of what came before are complete then. A
drain may be noticed this much later.
"""
_REST_AFTER = 3
_PAUSE = timedelta(milliseconds=2)
"""How often a partition that has no room is asked whether it has some again."""
_FETCH_MAX = 4096
PORTION_BYTES = 1_000_000
"""The most bytes of records that are handed out at once; a single record may have more."""


class Tick(NamedTuple):
    """An interval has passed: work that must happen while nothing arrives can be done for the partition."""

    partition: int


SourceBatch = list[Record] | Tick


def partition_key(item: SourceBatch) -> str:
    """The engine's key by which an item goes to the owner of its partition number."""
    return str(item.partition if isinstance(item, Tick) else item[0].partition)


class LogSource(FixedPartitionedSource[SourceBatch, None]):
    """Reads topics and emits lists of records, each of one partition number, and ticks.

    Order is kept per topic and partition. At most `budget` records per partition number enter an epoch. They are handed
    out in portions of a megabyte, and only while the partition has room. A record may hold thousands of recipients, so
    a bound may be exceeded by one portion.
    """

    def __init__(
        self,
        open_log: Callable[[], Log],
        topics: Sequence[str],
        *,
        start: Callable[[str, int], int],
        budget: int,
        drain: Callable[[], bool] = lambda: False,
        drain_within: timedelta = timedelta(),
        on_epoch: Callable[[], None] = lambda: None,
        tick: timedelta | None = None,
        ticks: Callable[[int], bool] = lambda _number: True,
        mine: Callable[[int], bool] = lambda _number: True,
        has_room: Callable[[int], bool] = lambda _number: True,
        full: Callable[[int], Collection[str]] = lambda _number: (),
        wait: Callable[[], timedelta] = lambda: SHORT_WAIT,
        weigh: Callable[[Record], int] = lambda record: len(record.value),
        fetch_max: int = _FETCH_MAX,
        backlog: Backlog | None = None,
        held_since: Callable[[int], int | None] = lambda _number: None,
    ) -> None:
        """Describe the source; nothing is opened before a worker asks for its partitions.

        `open_log` gives this process a log of its own, which the source closes.
        `start(topic, partition)` gives the first offset.
        `drain()`: when it turns true, the source ends, which commits the last epoch. With `drain_within` it first reads
        on to where its topics ended at that moment, for at most that long.
        `on_epoch()` is called once in a process at the start of every epoch but the first, by the worker that starts it
        first: the last epoch is then complete on all workers, and its outputs are in the log. After a clean drain the
        last epoch is complete when the run returns.
        `tick`: at the start and after each interval a tick comes for every partition number that `ticks`.
        `mine(number)`: whether this process reads the partitions of that number; in a cluster exactly one process must
        say so, the one that holds their state.
        `has_room(number)`: whether records of that number may be read now; a drain is never held up.
        `full(number)`: topics of which no record of that number is fetched now, but for a drain; what was fetched is
        handed out.
        `wait()`: how long a call may wait for a record; timers of the flow may be late by that much.
        `weigh(record)`: what the record counts for in a portion, in bytes. What a portion leads to is all made before
        any of it is written.
        `backlog` is told at each call how far each partition number is behind: what was fetched, and this epoch.
        `held_since(number)`: when the oldest was written that the flow itself lets wait, in ms; None: nothing waits.
        """
        self._shared, self._topics = SharedLog(open_log), list(topics)
        self._start, self._mine = start, mine
        self._partitions = Partitions(self._shared, topics)
        self._told = _Told(
            drain, drain_within, tick, ticks, has_room, full, wait, weigh, budget, fetch_max, backlog, held_since
        )
        self._epochs = _Epochs(on_epoch)
        self._workers: dict[int, _Worker] = {}

    def list_parts(self) -> list[str]:
        """Name as many partitions as the widest topic has, as far as they are this process's."""
        return [f"p{number:03}" for number in range(self._partitions.most()) if self._mine(number)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> SourcePartition:
        """Let the worker, which is a thread of its own, read the partition too, from its first offset on."""
        number = int(for_part[1:])
        with logged("source"):
            starts = {(topic, number): self._start(topic, number) for topic in self._partitions.topics_with(number)}
        worker = self._workers.setdefault(threading.get_ident(), _Worker(self._shared, self._told, self._epochs))
        worker.join(number, starts)
        return SourcePartition(worker)


class _Told(NamedTuple):
    """The source's arguments, see there."""

    drain: Callable[[], bool]
    drain_within: timedelta
    tick: timedelta | None
    ticks: Callable[[int], bool]
    has_room: Callable[[int], bool]
    full: Callable[[int], Collection[str]]
    wait: Callable[[], timedelta]
    weigh: Callable[[Record], int]
    budget: int
    fetch_max: int
    backlog: Backlog | None
    held_since: Callable[[int], int | None]


class SourcePartition(StatefulSourcePartition[SourceBatch, None]):
    """The first of a worker reads for all, the others end when they are asked for the first time."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker
        self._leads = worker.users == 1

    def next_batch(self) -> list[SourceBatch]:
        if not self._leads:
            raise StopIteration
        with logged("source"):
            items = self._worker.next_batch()
        if items is None:
            raise StopIteration
        return items

    def next_awake(self) -> datetime:
        """At once, since a fetch waits by itself; a little later where nothing may be fetched."""
        return self._worker.awake if self._leads else AT_ONCE

    def snapshot(self) -> None:
        if self._leads:
            self._worker.epoch_ended()

    def close(self) -> None:
        self._worker.leave()


class _Worker:
    """What one thread reads: every partition that it was given, through one reader."""

    def __init__(self, shared: SharedLog, told: _Told, epochs: _Epochs) -> None:
        self._shared, self._told, self._epochs = shared, told, epochs
        self._starts: dict[tuple[str, int], int] = {}
        self._queues: dict[int, _Queue] = {}
        self._reader: Reader | None = None
        self._ends: dict[tuple[str, int], int] | None = None
        self._deadline = self._due = 0.0
        self._epoch = self._begun = self._empty_calls = 0
        self.users, self.awake = 0, AT_ONCE

    def join(self, number: int, starts: dict[tuple[str, int], int]) -> None:
        """Read these too, from the next fetch on."""
        if self._reader is not None:
            self._starts = self._positions(self._reader)
            self._close()
        self.users += 1
        self._starts |= starts
        self._queues[number] = _Queue(self._told.budget, self._told.weigh)

    def leave(self) -> None:
        """The last one closes what was opened."""
        self.users -= 1
        if self.users == 0:
            self._close()

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            self._shared.release()

    def _positions(self, reader: Reader) -> dict[tuple[str, int], int]:
        """Behind what was handed out; the queues are emptied, since the rest is read again."""
        positions = reader.position()
        for queue in self._queues.values():
            while queue.records:
                record = queue.records.pop()
                positions[record.topic, record.partition] = record.offset
        return positions

    def epoch_ended(self) -> None:
        """Another epoch's credit; what is handed out from now on belongs to it."""
        self._epoch += 1
        for queue in self._queues.values():
            queue.credit = self._told.budget

    def next_batch(self) -> list[SourceBatch] | None:
        """The next records and ticks, after a wait if there are none; None when drained."""
        self.awake, soon = AT_ONCE, datetime.now(UTC) + _PAUSE
        reader, draining = self._open(), self._told.drain()
        self._epochs.announce(self._epoch)
        if self._begun != self._epoch:
            self._begun = self._epoch
            for queue in self._queues.values():
                queue.epoch_complete()
        if draining and self._drained(reader):
            return None
        may = {number: queue for number, queue in self._queues.items() if self._told.has_room(number) or draining}
        if any(queue.credit > 0 for queue in may.values()):
            self._fetch(reader, may)
        else:  # no credit before the next epoch, or no room
            self.awake = soon
        portions = [portion for queue in may.values() if (portion := queue.portion())]
        self._empty_calls = 0 if portions else self._empty_calls + 1
        if self._told.backlog is not None:
            for number, queue in self._queues.items():
                waiting = [at for at in (queue.oldest_ms(), self._told.held_since(number)) if at is not None]
                self._told.backlog.tell(number, min(waiting, default=None))
        return [*portions, *self._due_ticks()]

    def _open(self) -> Reader:
        if self._reader is None:
            self._reader = self._shared.acquire().reader(self._starts)
            self._due = time.monotonic()
        return self._reader

    def _fetch(self, reader: Reader, may: dict[int, _Queue]) -> None:
        """Fill the queues that are empty; wait only if there is nothing at all to hand out."""
        hungry = {number: queue for number, queue in may.items() if queue.is_hungry()}
        if not hungry:
            return
        serves = any(queue.serves() for queue in may.values())
        credit = sum(queue.credit for queue in hungry.values())
        wait = timedelta() if serves else self._wait()
        only = self._places(hungry)
        fetched = reader.poll(min(self._told.fetch_max, credit), wait, only)
        for number, records in groupby(fetched, attrgetter("partition")):
            hungry[number].records.extend(records)

    def _places(self, hungry: Collection[int]) -> list[tuple[str, int]] | None:
        """Where to fetch; None: everywhere."""
        numbers = () if self._told.drain() else hungry
        full = {(topic, number) for number in numbers for topic in self._told.full(number)}
        if not full and len(hungry) == len(self._queues):
            return None
        return [place for place in self._starts if place[1] in hungry and place not in full]

    def _wait(self) -> timedelta:
        wait = self._told.wait()
        if wait == LONG_WAIT and self._empty_calls >= _REST_AFTER:
            wait = REST_WAIT
        if self._told.tick is None:
            return wait
        return max(timedelta(), min(wait, timedelta(seconds=self._due - time.monotonic())))

    def _due_ticks(self) -> list[SourceBatch]:
        now = time.monotonic()
        if self._told.tick is None or now < self._due:
            return []
        self._due = now + self._told.tick.total_seconds()
        return [Tick(number) for number in self._queues if self._told.ticks(number)]

    def _drained(self, reader: Reader) -> bool:
        """Whether there is nothing more to read before the end."""
        if not self._told.drain_within:
            return True
        if self._ends is None:
            self._deadline = time.monotonic() + self._told.drain_within.total_seconds()
            log = self._shared.acquire()
            self._ends = log.end_offsets(list(self._starts))
            self._shared.release()
        if time.monotonic() > self._deadline:
            return True
        position = reader.position()
        unread = any(queue.records or self._told.held_since(number) for number, queue in self._queues.items())
        return not unread and all(position[place] >= end for place, end in self._ends.items())


class _Queue:
    """What was fetched of one partition number and not handed out yet, and how much more may enter the epoch."""

    def __init__(self, credit: int, weigh: Callable[[Record], int]) -> None:
        self.credit, self._weigh = credit, weigh
        self.records: deque[Record] = deque()
        self._in_hand_ms: int | None = None
        """When the first record of this epoch was appended: the flow may still have all of them before it."""

    def oldest_ms(self) -> int | None:
        """When the oldest record was appended that was fetched, and whose epoch is not complete."""
        if self._in_hand_ms is None and self.records:
            return self.records[0].timestamp_ms
        return self._in_hand_ms

    def epoch_complete(self) -> None:
        """Everything that was handed out is done with."""
        self._in_hand_ms = None

    def is_hungry(self) -> bool:
        """Whether something should be fetched."""
        return not self.records and self.credit > 0

    def serves(self) -> bool:
        """Whether there is something to hand out."""
        return bool(self.records) and self.credit > 0

    def portion(self) -> list[Record]:
        """The next records to hand out."""
        records = self.records
        most = size = 0
        for weight in map(self._weigh, islice(records, self.credit)):
            size += weight
            if most and size > PORTION_BYTES:
                break
            most += 1
        portion = [records.popleft() for _ in range(most)]
        self.credit -= most
        if portion:
            self._in_hand_ms = self._in_hand_ms or portion[0].timestamp_ms
        return portion


class _Epochs:
    """Which epoch was announced in this process: two calls in one epoch would call what it wrote complete too early."""

    def __init__(self, on_epoch: Callable[[], None]) -> None:
        self._on_epoch, self._announced = on_epoch, 0
        self._lock = threading.Lock()

    def announce(self, epoch: int) -> None:
        """Call the hook once when the first worker enters an epoch; all of them count from 0."""
        if epoch <= self._announced:
            return
        with self._lock:
            if epoch > self._announced:
                self._on_epoch()
                self._announced = epoch
