"""One lane of deliver or of transactional: from records of the log to the dispatcher, and from ended deliveries to the
ledger.

Both work in the same way. They read `attempts` to its end; read a batch of records; open their deliveries and hand them
to the dispatcher; write the ends of deliveries to the ledger; and two epochs later close the record in the lane's file.
The differences are a `LaneStrategy`: deliver sends what decide has decided and commits by epoch; transactional decides
by itself and commits before it sends.

A record that does not decode, raises an error, or ended the process five times becomes a dead letter and changes
nothing else. The letter is in the log before the record is passed. If its deliveries are known (rendering one of them
ended the process), they end as DEAD_LETTER, so that the laws hold.

The walk of a record through the packages, and which thread takes each step:

    the step's thread   lanes/     LaneLogic.on_batch, Lane.accept      a batch comes, under the lock
                        deliver/, transactional/   read, admit          its deliveries are opened, or first decided
                        lanes/     InHand.submit                        over to the dispatcher
    dispatcher's loop   sending/   Dispatcher: intent, checks, answer   both durable in `attempts`
                        connectors/providers/   Channel.send            the provider
                        lanes/     OpenRecord.ended, hurried            leaves a note: no lock, no wait
    the step's thread   lanes/     LaneLogic.on_notify, Lane.collect    reads the notes; records for the ledger
    the step's thread   lanes/     Lane.store                           closes what ended, once an epoch

The dispatcher's loop also calls OpenRecord.rendering and killed_by, which write and read the journal of poison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import Protocol

from connectors.log.interface import NewRecord, Record
from connectors.metrics import DELIVERIES
from flows.steps.dead_letters import RecordHandler, Unhandled, location_of
from flows.steps.lanes.in_hand import InHand, Note, OpenRecord
from flows.steps.lanes.parts import JOURNAL_NAME, LaneParts, lane_path
from flows.steps.lanes.records import LedgerWriter
from flows.steps.sending.task import SendTask
from state.disk.lock import StateLock
from state.disk.poison import PoisonJournal
from state.model.ledger import CountsRecord

_FORGET_EVERY_MS = 600_000
_ended = cache(DELIVERIES.labels)
"""Looking a counter up by its labels costs more than counting."""


class LaneStrategy(Protocol):
    """What deliver and transactional do in their own way. A lane calls it under its lock, but for `counts`."""

    in_hand: InHand

    @property
    def open(self) -> int:
        """What has not ended, in the unit of the lane's bound."""
        ...

    def full(self, open_max: int) -> Collection[str]:
        """Topics of which no more may be read, by a bound on what is open; asked by sources."""
        ...

    def begin(self) -> None:
        """A batch of records comes."""
        ...

    def read(self, record: Record) -> None:
        """One record of the batch. Changes nothing before everything is made that may fail."""
        ...

    def refused(self, record: Record, error: Exception | None) -> None:
        """It became a dead letter; no error: it ended the process."""
        ...

    def admit(self) -> list[NewRecord]:
        """The batch is read: store what must be stored, and open what is to be sent. Gives outputs."""
        ...

    def put_off(self) -> Iterable[tuple[Record, Callable[[], None]]]:
        """Records that came earlier and whose turn it is, with what reads them, as `read`; `admit` follows."""
        ...

    @property
    def hungry(self) -> bool:
        """Whether some were put off, and too little is open."""
        ...

    def go_on(self) -> list[NewRecord]:
        """Open what did not come with a batch. Gives what a start writes again."""
        ...

    def ended(self, record: OpenRecord, task: SendTask | None, spawned: int) -> None:
        """Count the end of a delivery, or of a timer, that was noted already."""
        ...

    def counts(self, *, last: bool) -> list[CountsRecord]:
        """What the laws need, by key group, where it is time to tell it; `last`: the flow ends."""
        ...

    def commit(self, closing: Sequence[OpenRecord]) -> None:
        """Store that these are closed, and what else is to be stored by epoch."""
        ...

    def forget(self) -> bool:
        """Drop what is remembered for a time only. False: call again at the next epoch, there may be more."""
        ...

    def close(self) -> None:
        """Free files and readers."""
        ...


MakeStrategy = Callable[[LaneParts, int, PoisonJournal], LaneStrategy]
"""From the number of a lane, whose directory is owned."""


class Lane:
    """See the module."""

    def __init__(self, parts: LaneParts, number: int, make: MakeStrategy) -> None:
        """Own the lane's directory, and resume what is open.

        :raises StateLockedError: another process owns the lane.
        :raises LogError: the log cannot be read.
        """
        self._parts = parts
        path = lane_path(parts.directory, number)
        self._lock_file = StateLock.acquire(path.parent, f"{parts.station} lane {number}")
        poison = PoisonJournal.open(path.with_name(JOURNAL_NAME), unit=parts.directory)
        self._handler = RecordHandler(parts.station, poison, parts.log.partitions("dead_letters"))
        self._strategy = make(parts, number, poison)
        self._in_hand = self._strategy.in_hand
        self._writer = LedgerWriter(parts)
        self._ended = Counter[tuple[str, str | None]]()
        """Not counted yet, by channel and outcome."""
        self._letters: list[NewRecord] = []
        self._to_store = False
        """An epoch is complete, and what it closed is not stored yet."""
        self._forgot_at = parts.now_ms()
        self._in_hand.submit()

    @property
    def open(self) -> int:
        """What has not ended."""
        return self._strategy.open

    @property
    def busy(self) -> bool:
        """Whether it has something to do that is not a record which comes."""
        return self.open > 0 or self._to_store

    @property
    def hungry(self) -> bool:
        """Whether providers will lack work unless it opens more."""
        return self._strategy.hungry

    def full(self, open_max: int) -> Collection[str]:
        """Topics of which no more may be read."""
        return self._strategy.full(open_max)

    def accept(self, records: Sequence[Record]) -> list[NewRecord]:
        """Take records, and begin to send what is in them."""
        with self._in_hand.lock:
            self._strategy.begin()
            batch, read = self._handler.batch(), self._strategy.read
            for record in records:
                topic, partition, offset = record.topic, record.partition, record.offset
                if (unread := batch.handle(topic, partition, offset, -1, read, record)) is not None:
                    self._set_aside(record, unread)
                self._in_hand.passed((topic, partition), offset)
            batch.end()
            outputs = self._admit()
            self._in_hand.submit()
            self._in_hand.forget_histories()
            return outputs

    def collect(self, *, last: bool = False) -> list[NewRecord]:
        """The records of what ended since the last call, and counts; `last`: the flow ends.

        :raises Exception: what ended the dispatcher.
        """
        if self._parts.dispatcher.failure is not None:
            raise self._parts.dispatcher.failure
        with self._in_hand.lock:
            records = [] if last else self._go_on()
            records += self._strategy.go_on()
            self._in_hand.submit()
            while self._in_hand.notes:
                records += self._note(self._in_hand.notes.popleft())
            self._count_ended()
        for counts in self._strategy.counts(last=last):
            group = counts.group
            records.append(self._writer.record("ledger", group, b"%d" % group, counts, "counts/1+json"))
        return records

    def epoch_complete(self) -> None:
        """Store what it closed: at once where nothing is open, else in the lane's next turn."""
        if self.open:
            self._to_store = True
        else:
            self.epoch()

    def store(self) -> bool:
        """Store what a complete epoch closed, if that was put off."""
        if self._to_store:
            self.epoch()
            return True
        return False

    def epoch(self) -> None:
        """The outputs handed out before the call before this one are in the log."""
        self._to_store = False
        with self._in_hand.lock:
            self._in_hand.forget_histories()
            self._strategy.commit(self._in_hand.close_over())
            now = self._parts.now_ms()
            due = not self._in_hand.catch_up and now - self._forgot_at >= _FORGET_EVERY_MS
            if due and self._strategy.forget():
                self._forgot_at = now

    def close(self) -> None:
        """Give the lane back."""
        self._strategy.close()
        self._lock_file.release()

    def _go_on(self) -> list[NewRecord]:
        taken = False
        for record, read in self._strategy.put_off():
            self._take(record, read)
            taken = True
        return self._admit() if taken else []

    def _admit(self) -> list[NewRecord]:
        if self._letters:  # once the records are passed, nothing would write their letters again
            self._parts.log.append(self._letters)
            self._letters = []
        return self._strategy.admit()

    def _take(self, record: Record, read: Callable[[], None]) -> None:
        unread = self._handler.handle(location_of(record), read)
        if unread is not None:
            self._set_aside(record, unread)

    def _set_aside(self, record: Record, unread: Unhandled) -> None:
        self._letters.append(self._handler.set_aside(record, unread, self._parts.now_ms()))
        self._strategy.refused(record, unread.error)

    def _count_ended(self) -> None:
        self._writer.count()
        for labels, count in self._ended.items():
            _ended(*labels).inc(count)
        self._ended.clear()

    def _note(self, note: Note) -> list[NewRecord]:
        """Take the dispatcher's notes; gives the records for the log."""
        record, task, spawned = note
        self._in_hand.note(record, spawned)
        self._strategy.ended(record, task, spawned)
        if task is None:
            return []
        if task.siblings.withdraws:
            return self._writer.withdrawn(task)
        self._ended[task.channel, task.history.outcome] += 1
        return self._writer.records_of_end(task, (*record.place, record.offset))
