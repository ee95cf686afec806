"""One deliver lane: the P1 and the P2 partition of the same number of every deliver topic, and what it knows of them.

A record is accepted once (by its `seq`, by its place after a restart, by its delivery keys for a day), becomes one task
per device, and is open until all of them, and what they fell back to, have ended. What ended leaves as records for the
ledger, the endpoints and the dead letters; it is committed as closed two epochs later, when those records are certainly
in the log. A kill in between repeats records with the same keys and the same content, never a send.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from connectors.log.interface import Log, NewRecord, Record
from connectors.metrics import DELIVERIES, DELIVERIES_OPEN
from flows.steps.attempt_log import recover
from flows.steps.deliver_counts import Job, LaneCounts
from flows.steps.deliver_records import LedgerWriter
from flows.steps.resuming import dead_letter
from flows.steps.sending import Sender
from flows.steps.sending_task import SendTask, Stage
from operators.attempts import UNKNOWN, DeliveryHistory
from state.envelope import header, schema_of
from state.inbox_ops import Sequence as SequenceHeader
from state.inbox_ops import parse_sequence
from state.lock import StateLock
from state.model.delivery import ToDeliver, decode_to_deliver
from state.model.errors import MalformedRecordError
from state.sending import LaneCommit, Place, SendingStore, key_digest

FILE_NAME = "lane.sqlite"
_FORGET_EVERY_MS = 600_000
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What lanes are built from."""

    directory: Path
    """DIR/state/deliver: one directory per lane below it."""
    log: Log
    sender: Sender
    half: int
    """Partitions of one priority: lane n has the partitions n and n + half."""
    topics: Sequence[str]
    now_ms: Callable[[], int]
    run_ms: int
    """When the process started: it orders its ledger records after those of the run before."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A record that was read, before it is open."""

    place: Place
    offset: int
    job: Job
    tasks: list[SendTask]
    again: bool
    """It was open at the restart."""


def lane_path(directory: Path, lane: int) -> Path:
    """Where a lane keeps its file."""
    return directory / f"p{lane:03}" / FILE_NAME


class DeliverLane:
    """See the module. `epoch` may be called by another thread than the rest."""

    def __init__(self, parts: LaneParts, number: int) -> None:
        """Own the lane's directory, and read `attempts` to its end before anything is sent.

        :raises StateLockedError: another process owns the lane.
        :raises LogError: `attempts` cannot be read.
        """
        self._parts, self.number = parts, number
        path = lane_path(parts.directory, number)
        self._lock_file = StateLock.acquire(path.parent, f"deliver lane {number}")
        self._store = SendingStore(path)
        state = self._store.load()
        self._next, self._marks = dict(state.next_offsets), dict(state.marks)
        self._reopen = state.open_offsets
        self._accepted, self._fallbacks = dict(state.accepted), dict(state.fallbacks)
        self.counts = LaneCounts(state.accepted, state.fallbacks, _furthest(state.marks))
        self._recovered = {
            partition: recover(parts.log, partition, state.attempts_from.get(partition, 0))
            for partition in (number, number + parts.half)
        }
        self._fresh, self._catch_up = state.fresh, self.ends()
        self._reached = {place: self._start(place) for place in self._catch_up}
        self._jobs: dict[Place, dict[int, Job]] = {}
        self._keys: set[str] = set()
        self._results: deque[tuple[SendTask, int]] = deque()
        self._ended: list[tuple[Place, int]] = []
        self._ended_before: list[tuple[Place, int]] = []
        self._dirty = False
        self._forgot_at = parts.now_ms()
        self._lock = threading.RLock()
        self.writer = LedgerWriter(parts.log, parts.run_ms, source="s")

    @property
    def open(self) -> int:
        """Deliveries accepted and not ended."""
        return self.counts.open

    def ends(self) -> dict[Place, int]:
        """The present ends of the partitions."""
        pairs = [(topic, partition) for topic in self._parts.topics for partition in self._recovered]
        return {pair: self._parts.log.end_offset(*pair) for pair in pairs}

    def has_read(self, ends: Mapping[Place, int]) -> bool:
        """Whether everything below these offsets was read."""
        return all(self._reached[place] >= end for place, end in ends.items())

    def _start(self, place: Place) -> int:
        """Where this run begins to read."""
        if place not in self._next:
            return self._parts.log.begin_offset(*place)
        offsets: list[int] = [self._next[place], *self._reopen.get(place, ())]
        return min(offsets)

    def accept(self, records: Sequence[Record]) -> list[NewRecord]:
        """Take records and send what is in them; gives dead letters."""
        taken: list[_Taken] = []
        refused: list[NewRecord] = []
        with self._lock:
            for record in records:
                try:
                    taken += self._read(record)
                except MalformedRecordError as error:
                    _logger.warning("emission_malformed", topic=record.topic, offset=record.offset, error=str(error))
                    partitions = self._parts.log.partitions("dead_letters")
                    at = self._parts.now_ms()
                    refused.append(dead_letter(record, error, stage="deliver", at=at, partitions=partitions))
                place = (record.topic, record.partition)
                self._reached[place] = record.offset + 1
                self._next[place] = max(self._next.get(place, 0), record.offset + 1)
                self._dirty = True
            tasks = self._open_all(taken)
        if tasks:
            self._parts.sender.submit(tasks)
        DELIVERIES_OPEN.labels(str(self.number)).set(self.open)
        return refused

    def collect(self) -> list[NewRecord]:
        """The records of what ended since the last call."""
        if self._parts.sender.failure is not None:
            raise self._parts.sender.failure
        records: list[NewRecord] = []
        with self._lock:
            while self._results:
                task, spawned = self._results.popleft()
                records += self._end(task, spawned)
        return records

    def settled_counts(self) -> list[NewRecord]:
        """Records of the counts that the sample of before gives now."""
        with self._lock:
            return [self.writer.counts("deliver", counts) for counts in self.counts.settle()]

    def epoch(self) -> None:
        """The outputs handed out before the call before this one are in the log: commit."""
        with self._lock:
            closing, self._ended_before, self._ended = self._ended_before, self._ended, []
            if self._catch_up and self.has_read(self._catch_up):
                self._catch_up = {}
                self._parts.sender.after(self._forget_histories)
            if closing or self._dirty:
                self._commit(closing)
                self._dirty = bool(self._ended_before)
            self._forget()

    def close(self) -> None:
        """Give the lane back."""
        self._store.close()
        self._lock_file.release()

    def _forget_histories(self) -> None:
        """Whatever was read again has taken its history over."""
        for recovered in self._recovered.values():
            recovered.histories.clear()

    def _find(self, partition: int) -> Callable[[str], DeliveryHistory | None]:
        """What `attempts` said of a key; each is asked for once."""
        histories = self._recovered[partition].histories
        return lambda key: histories.pop(key, None)

    def _read(self, record: Record) -> list[_Taken]:
        """The tasks of a record that is new, or was open at the restart; nothing for any other."""
        place = (record.topic, record.partition)
        again = record.offset < self._next.get(place, 0)
        if again and (record.offset not in self._reopen.get(place, ()) or record.offset in self._jobs.get(place, ())):
            return []
        sequence = parse_sequence(header(record.headers, "seq"))
        if not again and not self._is_new(place, sequence):
            return []
        job = Job(sequence.group, sequence.offset, 0, 0)
        emissions = decode_to_deliver(schema_of(record.headers), record.value)
        tasks = [task for emission in emissions for task in self._tasks(record, emission, job)]
        return [_Taken(place, record.offset, job, tasks, again)]

    def _open_all(self, taken: Sequence[_Taken]) -> list[SendTask]:
        """Open the jobs; a key that is open already, or ended within its day, is left out."""
        fresh = {key_digest(task.key) for each in taken if not each.again for task in each.tasks}
        sent = self._store.sent_among(fresh, self._parts.now_ms())
        opened: list[SendTask] = []
        for each in taken:
            job = each.job
            tasks = [task for task in each.tasks if self._is_unsent(task, () if each.again else sent)]
            job.size = job.open = len(tasks)
            job.attempts_from = self._attempts_begin(each.place[1], tasks)
            if tasks:
                self._jobs.setdefault(each.place, {})[each.offset] = job
            self.counts.accept(job, again=each.again)
            if not each.again:
                self._accepted[job.group] = self._accepted.get(job.group, 0) + job.size
            opened += tasks
        return opened

    def _is_unsent(self, task: SendTask, sent: Collection[bytes]) -> bool:
        if task.key in self._keys or (sent and key_digest(task.key) in sent):
            task.stage.tasks.remove(task)
            return False
        self._keys.add(task.key)
        return True

    def _is_new(self, place: Place, sequence: SequenceHeader) -> bool:
        """Whether it is above its mark, which it then becomes."""
        key = (f"{place[0]}/{place[1]}", sequence.source, sequence.group)
        if sequence.mark <= self._marks.get(key, (-1, -1)):
            return False
        self._marks[key] = sequence.mark
        return True

    def _tasks(self, record: Record, emission: ToDeliver, job: Job) -> list[SendTask]:
        """Tasks for the devices of one emission."""
        stage = Stage(
            emission, emission.channel, emission.devices, emission.rest, record.partition,
            self._find(record.partition), self, (job, (record.topic, record.partition), record.offset),
        )  # fmt: skip
        lost = self._recovered[record.partition].trimmed_before_ms
        for task in stage.make_tasks():
            if self._fresh and not task.known and lost is not None and record.timestamp_ms < lost:
                task.preset = (UNKNOWN, "attempts_not_retained")
        return list(stage.tasks)

    def ended(self, task: SendTask, spawned: int) -> None:
        """On the sender's loop."""
        self._results.append((task, spawned))

    def hurried(self, stage: Stage, spawned: int) -> None:
        """Only P0 asks for that."""
        raise AssertionError("deliver hurries nothing")

    def _end(self, task: SendTask, spawned: int) -> list[NewRecord]:
        job, place, offset = task.stage.job
        self.counts.ended(job, spawned)
        job.ended_keys.append(task.key)
        if job.open == 0:
            self._ended.append((place, offset))
        DELIVERIES.labels(task.channel, task.history.outcome).inc()
        return self.writer.ended(task, (place[0], place[1], offset), stage="deliver")

    def _attempts_begin(self, partition: int, tasks: Sequence[SendTask]) -> int:
        """Attempts of these tasks, and of what they fall back to, stand here or above."""
        if any(task.known for task in tasks):
            return self._recovered[partition].start
        return self._attempts_end(partition)

    def _attempts_end(self, partition: int) -> int:
        """Attempts of whatever is new from now on stand here or above."""
        recovered = self._recovered[partition]
        if recovered.histories:
            return recovered.start  # what is read again may have its attempts anywhere there
        return max(recovered.end, self._parts.sender.attempts.ends[partition])

    def _commit(self, closing: Sequence[tuple[Place, int]]) -> None:
        sent: list[str] = []
        for place, offset in closing:
            job = self._jobs[place].pop(offset)
            sent += job.ended_keys
            job.ended_keys = []
            self._fallbacks[job.group] = self._fallbacks.get(job.group, 0) + job.spawned
        self._store.commit(
            LaneCommit(
                next_offsets=self._next,
                open_offsets={place: self._open_offsets(place) for place in self._next},
                attempts_from={partition: self._lowest_attempts(partition) for partition in self._recovered},
                marks=self._marks,
                totals={group: (n, self._fallbacks.get(group, 0)) for group, n in self._accepted.items()},
                sent=map(key_digest, sent),
                now=self._parts.now_ms(),
            )
        )
        self._keys.difference_update(sent)

    def _open_offsets(self, place: Place) -> set[int]:
        """What is open, and what was before the restart and has not been read again."""
        reached = self._reached[place]
        return self._jobs.get(place, {}).keys() | {o for o in self._reopen.get(place, ()) if o >= reached}

    def _lowest_attempts(self, partition: int) -> int:
        jobs = (job for (_, number), jobs in self._jobs.items() if number == partition for job in jobs.values())
        return min((job.attempts_from for job in jobs), default=self._attempts_end(partition))

    def _forget(self) -> None:
        now = self._parts.now_ms()
        if now - self._forgot_at >= _FORGET_EVERY_MS:
            self._forgot_at = now
            self._store.forget_sent(now)


def _furthest(marks: dict[tuple[str, str, int], tuple[int, int]]) -> dict[int, int]:
    furthest: dict[int, int] = {}
    for (_, _, group), (offset, _) in marks.items():
        furthest[group] = max(furthest.get(group, -1), offset)
    return furthest
