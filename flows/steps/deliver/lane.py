"""One deliver lane: the P1 and the P2 partition of the same number of every deliver topic, and what it knows of them.

A record is accepted once (by its `seq`, by its place after a restart, by its delivery keys for a day, or as
`deliver_again` says if it is marked so), becomes one task per device, and is open until all of them, and what they fell
back to, have ended. What ended leaves as records for the
ledger, the endpoints and the dead letters; it is committed as closed two epochs later, when those records are certainly
in the log. A kill in between repeats records with the same keys and the same content, never a send.

A record that does not decode, raises, or ended the process five times becomes a dead letter and changes nothing else.
Where its deliveries can be told (it was rendering that killed), they end as DEAD_LETTER: the laws hold.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import structlog

from connectors.log.interface import NewRecord, Record
from connectors.log.read_to_ends import Reached
from connectors.metrics import DEAD_LETTERS, DELIVERIES, DELIVERIES_OPEN
from flows.steps.dead_letters import dead_letter, environment_failed
from flows.steps.deliver.again import AttemptSearch, Held, Redeliveries, keys_of
from flows.steps.deliver.counts import Job, LaneCounts
from flows.steps.deliver.parts import JOURNAL_NAME, RENDERING, LaneMarks, LaneParts, lane_path
from flows.steps.lanes.records import LedgerWriter
from flows.steps.sending.attempts import recover
from flows.steps.sending.task import FindHistory, SendTask, Stage
from operators.attempts import UNKNOWN, DeliveryHistory
from state.deliver.store import LaneCommit, Place, SendingStore, key_digest
from state.disk.lock import StateLock
from state.disk.poison import PoisonJournal
from state.inbox.operations import parse_sequence
from state.model.dead_letter import AGAIN_HEADER
from state.model.delivery import ToDeliver, decode_to_deliver
from state.model.envelope import header, schema_of
from state.model.errors import MalformedRecordError

NOT_RETAINED = "attempts_not_retained"
_FORGET_EVERY_MS = 600_000
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A record that was read, before it is open."""

    place: Place
    offset: int
    job: Job
    tasks: list[SendTask]
    counted: bool
    """It was open at the restart, so its deliveries were counted as accepted before."""


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
        self._poison = PoisonJournal.open(path.with_name(JOURNAL_NAME), unit=parts.directory)
        self._store = SendingStore(path)
        state = self._store.load()
        self._next, self._marks = dict(state.next_offsets), LaneMarks(state.marks)
        self._reopen = {place: state.open_offsets[place] | state.held_offsets[place] for place in state.open_offsets}
        self._uncounted = state.held_offsets
        self._accepted, self._fallbacks = dict(state.accepted), dict(state.fallbacks)
        self.counts = LaneCounts(state.accepted, state.fallbacks, self._marks.furthest())
        self._recovered = {
            partition: recover(parts.log, partition, state.attempts_from.get(partition, 0))
            for partition in (number, number + parts.half)
        }
        self._fresh, self._catch_up = state.fresh, self.ends()
        self._reached = Reached(parts.log, parts.now_ms, {place: self._start(place) for place in self._catch_up})
        self._jobs: dict[Place, dict[int, Job]] = {}
        self._waiting = Redeliveries(parts.log, parts.now_ms, self._remember_ended)
        self._letters: list[NewRecord] = []
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
        """Deliveries accepted and not ended, and those that wait to be."""
        return self.counts.open + self._waiting.size

    @property
    def load(self) -> int:
        """What counts for the bound: `open`, without what waits for the lane to have read on as far as it must."""
        return self.counts.open if self._catch_up else self.open

    def ends(self) -> dict[Place, int]:
        """The present ends of the partitions."""
        pairs = [(topic, partition) for topic in self._parts.topics for partition in self._recovered]
        return {pair: self._parts.log.end_offset(*pair) for pair in pairs}

    def has_read(self, ends: Mapping[Place, int]) -> bool:
        """Whether everything below these offsets was read."""
        return self._reached.has(ends)

    def _start(self, place: Place) -> int:
        """Where this run begins to read; what the log lost was given up before (`flows.recovery.restore`)."""
        begin = self._parts.log.begin_offset(*place)
        if place not in self._next:
            return begin
        offsets: list[int] = [self._next[place], *self._reopen.get(place, ())]
        return max(begin, min(offsets))

    def accept(self, records: Sequence[Record]) -> list[NewRecord]:
        """Take records and send what is in them; gives dead letters."""
        taken: list[_Taken] = []
        with self._lock:
            for record in records:
                self._take(record, taken)
                place = (record.topic, record.partition)
                self._reached[place] = record.offset + 1
                self._next[place] = max(self._next.get(place, 0), record.offset + 1)
                self._dirty = True
            tasks = self._open_all(taken)
            refused, self._letters = self._letters, []
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
            tasks = self._open_waiting()
        if tasks:
            self._parts.sender.submit(tasks)
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

    def _take(self, record: Record, taken: list[_Taken]) -> None:
        """Read one record; what cannot be read becomes a dead letter."""
        place = (record.topic, record.partition)
        if self._poison.suspect(*place, record.offset):
            self._refuse(record, None)
            return
        with self._poison.processing(*place, record.offset):
            try:
                taken += self._read(record, place)
            except Exception as error:
                if environment_failed(error):
                    raise
                self._refuse(record, error)

    def _refuse(self, record: Record, error: Exception | None) -> None:
        partitions, at = self._parts.log.partitions("dead_letters"), self._parts.now_ms()
        self._letters.append(dead_letter(record, error, stage="deliver", at=at, partitions=partitions))
        if not isinstance(error, MalformedRecordError):  # it is decide's: written twice it is one
            self._marks.pass_over(record)
        DEAD_LETTERS.labels("deliver").inc()
        _logger.warning(
            "emission_refused", topic=record.topic, partition=record.partition, offset=record.offset,
            error="killed" if error is None else type(error).__name__,
        )  # fmt: skip

    def _read(self, record: Record, place: Place) -> list[_Taken]:
        """The tasks of a record that is new, or was open at the restart; nothing for any other."""
        resumed, offset = record.offset < self._next.get(place, 0), record.offset
        if resumed and (offset not in self._reopen.get(place, ()) or offset in self._jobs.get(place, ())):
            return []
        sequence = parse_sequence(header(record.headers, "seq"))
        again, is_new = header(record.headers, AGAIN_HEADER) is not None, self._marks.is_new(place, sequence)
        if not (resumed or again or is_new):
            return []
        job = Job(sequence.group, sequence.offset, 0, 0)
        counted = resumed and offset not in self._uncounted.get(place, ())
        emissions = decode_to_deliver(schema_of(record.headers), record.value)
        taken: list[_Taken] = []
        if not again:
            tasks = self._all_tasks(place, offset, emissions, job, self._find(place[1]))
            self._preset_lost(tasks, place[1], record.timestamp_ms)
            taken.append(_Taken(place, offset, job, tasks, counted))
        elif emissions:
            begun = self._begun(place[1], emissions)
            self._waiting.hold(Held(place, offset, job, emissions, counted, is_new, begun))
        if is_new:
            self._marks.take(place, sequence)
        return taken

    def _open_waiting(self) -> list[SendTask]:
        """Open what was handed out again and has been compared with `attempts`."""
        if self._catch_up:
            return []  # what was open at the restart comes first
        opened: list[SendTask] = []
        for held, search in self._waiting.ready():
            find = partial(self._waiting.find, held)
            tasks = self._all_tasks(held.place, held.offset, held.emissions, held.job, find)
            if not search.reaches_back(held.since_ms, self._parts.now_ms()):
                tasks = self._without_attempts(tasks, is_new=held.is_new)
            opened += self._open_all([_Taken(held.place, held.offset, held.job, tasks, held.counted)], search)
            self._dirty = True
        return opened

    def _begun(self, partition: int, emissions: Sequence[ToDeliver]) -> dict[str, DeliveryHistory]:
        """What the start found of these in `attempts`; a record that is open keeps what concerns its emissions."""
        find, found = self._find(partition), dict[str, DeliveryHistory]()
        for emission in emissions:
            keys = list(keys_of(emission))
            if self._keys.isdisjoint(keys):
                found |= {key: history for key in keys if (history := find(key)) is not None}
        return found

    def _without_attempts(self, tasks: list[SendTask], *, is_new: bool) -> list[SendTask]:
        """Nothing may be sent; what was perhaps taken in long ago is left to what the ledger says of it."""
        for task in tasks:
            if not task.known:
                task.preset = (UNKNOWN, NOT_RETAINED)
        return tasks if is_new else [task for task in tasks if task.known]

    def _remember_ended(self, keys: list[str]) -> None:
        """From a search's thread: not to be sent again, unless it is open here and its end has yet to be told."""
        with self._lock:
            told = [key for key in keys if key not in self._keys and key not in self._waiting.begun]
            self._store.remember_sent(told, self._parts.now_ms())

    def _open_all(self, taken: Sequence[_Taken], search: AttemptSearch | None = None) -> list[SendTask]:
        """Open the jobs; a key that is open already, or ended within its day, is left out."""
        sent = self._store.sent_among(
            {key_digest(task.key) for each in taken for task in each.tasks}, self._parts.now_ms()
        )
        opened: list[SendTask] = []
        for each in taken:
            job = each.job
            tasks = [task for task in each.tasks if self._is_unsent(task, sent)]
            job.size = job.open = len(tasks)
            job.attempts_from = self._attempts_begin(each.place[1], tasks, search)
            if tasks:
                self._jobs.setdefault(each.place, {})[each.offset] = job
            self.counts.accept(job, again=each.counted)
            if not each.counted:
                self._accepted[job.group] = self._accepted.get(job.group, 0) + job.size
            opened += tasks
        return opened

    def _is_unsent(self, task: SendTask, sent: Collection[bytes]) -> bool:
        if task.key in self._keys or (sent and key_digest(task.key) in sent):
            task.stage.tasks.remove(task)
            return False
        self._keys.add(task.key)
        return True

    def _all_tasks(
        self, place: Place, offset: int, emissions: Sequence[ToDeliver], job: Job, find: FindHistory
    ) -> list[SendTask]:
        """Tasks for the devices of the emissions of one record."""
        tasks: list[SendTask] = []
        for emission in emissions:
            known = (job, place, offset)
            stage = Stage(emission, emission.channel, emission.devices, emission.rest, place[1], find, self, known)
            tasks += stage.make_tasks()
        return tasks

    def _preset_lost(self, tasks: Sequence[SendTask], partition: int, written_ms: int) -> None:
        """A lane that begins anew does not send what `attempts` may have known once."""
        lost = self._recovered[partition].trimmed_before_ms
        if self._fresh and lost is not None and written_ms < lost:
            for task in tasks:
                if not task.known:
                    task.preset = (UNKNOWN, NOT_RETAINED)

    def killed_by(self, stage: Stage) -> bool:
        """On the sender's loop."""
        _, place, offset = stage.job
        return self._poison.suspect(place[0], place[1], offset, RENDERING)

    def rendering(self, stage: Stage) -> AbstractContextManager[None]:
        """On the sender's loop."""
        _, place, offset = stage.job
        return self._poison.processing(place[0], place[1], offset, RENDERING)

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

    def _attempts_begin(self, partition: int, tasks: Sequence[SendTask], search: AttemptSearch | None) -> int:
        """Attempts of these tasks, and of what they fall back to, stand here or above."""
        if search is not None and any(task.known for task in tasks):
            return min(search.start, self._recovered[partition].start)
        if any(task.known for task in tasks):
            return self._recovered[partition].start
        return self._attempts_end(partition)

    def _attempts_end(self, partition: int) -> int:
        """Attempts of whatever is new from now on stand here or above."""
        recovered = self._recovered[partition]
        if recovered.histories or self._waiting.begun:
            return recovered.start  # what is read again, or waits, may have its attempts anywhere there
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
                held_offsets={place: self._held_offsets(place) for place in self._next},
                attempts_from={partition: self._lowest_attempts(partition) for partition in self._recovered},
                marks=self._marks.all,
                totals={group: (n, self._fallbacks.get(group, 0)) for group, n in self._accepted.items()},
                sent=map(key_digest, sent),
                now=self._parts.now_ms(),
            )
        )
        self._keys.difference_update(sent)

    def _open_offsets(self, place: Place) -> set[int]:
        """What is open, and what was before the restart and has not been read again."""
        reached, uncounted = self._reached[place], self._uncounted.get(place, ())
        before = {o for o in self._reopen.get(place, ()) if o >= reached and o not in uncounted}
        return self._jobs.get(place, {}).keys() | self._waiting.offsets(place, counted=True) | before

    def _held_offsets(self, place: Place) -> set[int]:
        before = {offset for offset in self._uncounted.get(place, ()) if offset >= self._reached[place]}
        return self._waiting.offsets(place, counted=False) | before

    def _lowest_attempts(self, partition: int) -> int:
        jobs = (job for (_, number), jobs in self._jobs.items() if number == partition for job in jobs.values())
        return min((job.attempts_from for job in jobs), default=self._attempts_end(partition))

    def _forget(self) -> None:
        now = self._parts.now_ms()
        if now - self._forgot_at >= _FORGET_EVERY_MS:
            self._forgot_at = now
            self._store.forget_sent(now)
