"""What is special to a lane of deliver: decide has decided what it sends (P1 and P2).

Lane n has the n-th partition of P1 and of P2 of every deliver topic. A record is accepted once: by its `seq`, by its
offset after a restart, by its delivery keys for a day, or as `flows/steps/deliver/redelivery.py` says if it is marked
so. It becomes one task per device; a slice of a fan-out first waits (`flows/steps/deliver/slices.py`). The lane commits
by epoch, later than it hands out; a restart finds in `attempts` what happened since.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple

from connectors.log.interface import NewRecord, Record
from connectors.metrics import DECIDED_TO_PROVIDER_SECONDS, DELIVERIES_OPEN, observe_all
from flows.steps.deliver.counts import DeliverCounts
from flows.steps.deliver.marks import LaneMarks
from flows.steps.deliver.redelivery import AttemptSearch, Held, Redeliveries, delivery_keys_of
from flows.steps.deliver.rooms import OpenByChannel, full_topics, room_of
from flows.steps.deliver.slices import OPEN_BELOW, WaitingSlice, WaitingSlices
from flows.steps.deliver.withdrawals import PUSH, Withdrawals
from flows.steps.lanes.in_hand import InHand, OpenRecord
from flows.steps.lanes.parts import LaneParts, lane_path
from flows.steps.sending.task import FindHistory, SendTask
from operators.attempts import UNKNOWN, DeliveryHistory
from state.deliver.store import PARTS, LaneCommit, SendingStore, key_digest
from state.disk.poison import PoisonJournal
from state.model.dead_letter import AGAIN_HEADER
from state.model.delivery import EMISSION_SLICES, WITHDRAWAL, ToDeliver, decode_to_deliver
from state.model.envelope import OutputHeader, TopicPartition, parse_output_header, schema_of
from state.model.errors import MalformedRecordError
from state.model.ledger import CountsRecord
from state.model.topics import DELIVER

NOT_RETAINED = "attempts_not_retained"
EPOCH_RECORDS = 2_000
"""Records of a partition that may enter an epoch."""
_COUNTS_SETTLE_S = 0.5
_SLICES = frozenset(map(str.encode, EMISSION_SLICES))
_TOO_FEW_OPEN, _ENOUGH_OPEN, _TURNS = 128, 512, 8
"""A lane opens one slice in its turn. With 512 deliveries of a channel open providers have enough to take, so it opens
one of that at one turn in eight: it may be for a provider that is not away. With fewer than 128 its turn comes soon."""
_took = cache(DECIDED_TO_PROVIDER_SECONDS.labels)
"""Kept, as looking it up costs more than observing."""


class _Taken(NamedTuple):
    """A record that was read, before it is open."""

    record: OpenRecord
    tasks: list[SendTask]
    counted: bool
    """It was open at the restart, so its deliveries were counted as accepted before."""


class DeliverStrategy:
    """See the module, and `LaneStrategy`."""

    def __init__(self, parts: LaneParts, number: int, poison: PoisonJournal) -> None:
        self._parts, self._number = parts, number
        self._store = SendingStore(lane_path(parts.directory, number))
        state = self._store.load()
        self._fresh, self._marks = state.fresh, LaneMarks(state.marks)
        self._reopen = {place: state.open_offsets[place] | state.held_offsets[place] for place in state.open_offsets}
        self._uncounted = state.held_offsets
        self._counts = DeliverCounts(state.totals, self._marks.furthest())
        self._sampled_at, self._ends = 0.0, dict[TopicPartition, int]()
        self._taken: list[_Taken] = []
        self._keys = dict[str, bytes]()
        """Of what is open, and what stands for each in the file."""
        self._dirty = False
        self._forgets = 0
        """The part of the file that is looked at next."""
        self.in_hand = InHand(
            parts, number, poison,
            next_offsets=state.next_offsets, reopen=self._reopen,
            attempts_from=state.attempts_from, attempts_taken=state.attempts_taken,
        )  # fmt: skip
        self._slices, self._turns = WaitingSlices(), 0
        self._took_s = defaultdict[str, list[float]](list)
        """Not in metrics yet, by priority."""
        for priority in ("P1", "P2"):
            _took(priority)  # so that it begins at 0
        self._open_on = OpenByChannel()
        self._withdrawals = Withdrawals(self._store, self.in_hand.recovered.values(), self._slices.first_of)
        self._waiting = Redeliveries(parts.log, parts.now_ms, self.in_hand.begun, self._remember_ended)

    @property
    def open(self) -> int:
        """Deliveries accepted and not ended, those that wait to be, and withdrawals; slices by their size."""
        return self._counts.open + self._held + self._slices.sizes.total()

    def full(self, open_max: int) -> Collection[str]:
        """What waits for the lane to have read on as far as it must does not count, and of that nothing is full."""
        if self.open < room_of("any but push", open_max):
            return ()
        opened = {channel: self._open_on[channel] + self._slices.sizes[channel] for channel in DELIVER}
        if self.in_hand.catch_up:
            again = self.in_hand.read_again()
            return [topic for topic in full_topics(opened, open_max) if topic not in again]
        for channel, size in self._waiting.sizes.items():
            opened[channel] += size
        opened[PUSH] += self._withdrawals.open
        return full_topics(opened, open_max)

    @property
    def _held(self) -> int:
        return self._waiting.sizes.total() + self._withdrawals.open

    # a batch of records

    def begin(self) -> None:
        return

    def read(self, record: Record) -> None:
        """Make the tasks of a record that is new, or was open at the restart; nothing of any other."""
        place, offset = (record.topic, record.partition), record.offset
        resumed = offset < self.in_hand.next.get(place, 0)
        if resumed and (offset not in self._reopen.get(place, ()) or offset in self.in_hand.records.get(place, ())):
            return
        headers = dict(record.headers)
        sequence = parse_output_header(headers.get("seq"))
        again, is_new = AGAIN_HEADER in headers, self._marks.is_new(place, sequence)
        if not (resumed or again or is_new):
            return
        opened = self._opened(record, sequence)
        if headers.get("schema") == WITHDRAWAL.json:
            self._withdrawals.hold(opened, WITHDRAWAL.decode(record.value))
            if is_new:
                self._marks.take(place, sequence)
            return
        counted = resumed and offset not in self._uncounted.get(place, ())
        if headers.get("schema") in _SLICES and not again and not counted and self._may_wait(record):
            self._slices.put(WaitingSlice(record, sequence), in_p2=place[1] >= self._parts.lanes)
        elif not again:
            self._take(opened, record, counted=counted)
        elif emissions := decode_to_deliver(schema_of(record.headers), record.value):
            self._waiting.hold(Held(opened, emissions, counted, is_new, self._begun(place[1], emissions)))
        if is_new:
            self._marks.take(place, sequence)

    def _may_wait(self, record: Record) -> bool:
        """Unless what `attempts` says of the slice would be forgotten meanwhile."""
        return not self.in_hand.recovered[record.partition].histories

    def _take(self, opened: OpenRecord, record: Record, *, counted: bool) -> None:
        emissions = decode_to_deliver(schema_of(record.headers), record.value)
        tasks = _all_tasks(opened, emissions, self.in_hand.find(record.partition))
        self._preset_lost(tasks, record.partition, record.timestamp_ms)
        self._taken.append(_Taken(opened, tasks, counted))

    def put_off(self) -> Iterator[tuple[Record, Callable[[], None]]]:
        """The slice whose turn it is."""
        self._turns += 1
        most = _ENOUGH_OPEN if self._turns % _TURNS else OPEN_BELOW
        if waiting := self._slices.take(self._open_on.__getitem__, most):
            record, sequence = waiting
            opened = self._opened(record, sequence)
            yield record, partial(self._take, opened, record, counted=False)
            self._withdrawals.look_again()

    @property
    def hungry(self) -> bool:
        return self._slices.may_take(self._open_on.__getitem__, _TOO_FEW_OPEN)

    def _opened(self, record: Record, sequence: OutputHeader) -> OpenRecord:
        place = (record.topic, record.partition)
        return OpenRecord(self.in_hand, place, record.offset, sequence.group, sequence.offset)

    def refused(self, record: Record, error: Exception | None) -> None:
        if not isinstance(error, MalformedRecordError):  # it is decide's: written twice it is one
            self._marks.pass_over(record)

    def admit(self) -> list[NewRecord]:
        taken, self._taken, self._dirty = self._taken, [], True
        self._open_all(taken)
        DELIVERIES_OPEN.labels(str(self._number)).set(self.open)
        return []

    def _preset_lost(self, tasks: Sequence[SendTask], partition: int, written_ms: int) -> None:
        """A lane without its file does not send what an older part of `attempts` may have known."""
        lost = self.in_hand.recovered[partition].trimmed_before_ms
        if self._fresh and lost is not None and written_ms < lost:
            _preset_unknown(tasks)

    def _open_all(self, taken: Sequence[_Taken], search: AttemptSearch | None = None) -> None:
        """Open the records; a key that is open already, or ended within its day, is left out."""
        unsent = self._unsent(task for each in taken for task in each.tasks)
        _tell_many(taken)
        for record, all_tasks, counted in taken:
            tasks = [task for task in all_tasks if self._is_unsent(task, unsent)]
            self._open(record, tasks, search)
            self._counts.accept(record, again=counted)
            self._open_on.opened(tasks)

    def _open(self, record: OpenRecord, tasks: Sequence[SendTask], search: AttemptSearch | None = None) -> None:
        if tasks:
            record.attempts_from = self.in_hand.attempts_begin(record.place[1], tasks, search.start if search else None)
            self.in_hand.open(record, tasks)
            self._withdrawals.opened(record, tasks)

    def _unsent(self, tasks: Iterable[SendTask]) -> Mapping[str, bytes]:
        digests = {task.key: key_digest(task.key) for task in tasks}
        sent = self._store.sent_among(set(digests.values()), self._parts.now_ms())
        return {key: digest for key, digest in digests.items() if digest not in sent} if sent else digests

    def _is_unsent(self, task: SendTask, unsent: Mapping[str, bytes]) -> bool:
        digest = unsent.get(task.key)
        if digest is None or task.key in self._keys:
            task.siblings.tasks.remove(task)
            return False
        self._keys[task.key] = digest
        return True

    # what was handed out again

    def go_on(self) -> list[NewRecord]:
        """Open what was handed out again and has been compared with `attempts`; what was open at the start is first."""
        for held, search in () if self.in_hand.catch_up else self._waiting.ready():
            tasks = _all_tasks(held.record, held.emissions, partial(self._waiting.find, held))
            if not search.reaches_back(held.since_ms, self._parts.now_ms()):
                tasks = _without_attempts(tasks, is_new=held.is_new)
            self._open_all([_Taken(held.record, tasks, held.counted)], search)
            self._dirty = True
        for record, tasks in self._withdrawals.ready(self._parts.now_ms()):
            unsent = self._unsent(tasks)
            self._open(record, [task for task in tasks if self._is_unsent(task, unsent)])
            self._dirty = True
        return []

    def _begun(self, partition: int, emissions: Sequence[ToDeliver]) -> dict[str, DeliveryHistory]:
        """What the start found of these in `attempts`; a record that is open keeps what concerns its emissions."""
        find, found = self.in_hand.find(partition), dict[str, DeliveryHistory]()
        for emission in emissions:
            keys = list(delivery_keys_of(emission))
            if self._keys.keys().isdisjoint(keys):
                found |= {key: history for key in keys if (history := find(key)) is not None}
        return found

    def _remember_ended(self, keys: list[str]) -> None:
        """From a search's thread: not to be sent again, unless it is open here and its end is not on the ledger yet."""
        with self.in_hand.lock:
            told = [key for key in keys if key not in self._keys and key not in self.in_hand.begun]
            self._store.remember_sent(told, self._parts.now_ms())

    # ends and counts

    def ended(self, record: OpenRecord, task: SendTask | None, spawned: int) -> None:
        assert task is not None, "deliver hurries nothing"
        self._withdrawals.ended(record, task, spawned)
        siblings, history = task.siblings, task.history
        if not siblings.withdraws:
            self._counts.ended(record.group, spawned)
            if history.outcome == "DELIVERED":
                took_ms = history.ended_at - siblings.emission.decided_at
                self._took_s[siblings.emission.priority].append(max(0, took_ms) / 1000)
            self._open_on.ended(task, spawned)
        record.ended_keys.append(task.key)

    def counts(self, *, last: bool) -> list[CountsRecord]:
        """See `flows/steps/deliver/counts.py`: sample, wait, take the ends, and settle when everything below them was
        read.
        """
        for priority, seconds in self._took_s.items():
            observe_all(_took(priority), seconds)
            seconds.clear()
        if last:  # decide has ended already and everything was read: no need to wait for other topics
            return (
                self._counts.settle(self._slices.first_of)
                if self.in_hand.reached.has(self.in_hand.ends()) and self._counts.sample()
                else []
            )
        now = time.monotonic()
        if not self._counts.sampled:
            if self._counts.sample():
                self._sampled_at = now
            return []
        if not self._ends and now - self._sampled_at >= _COUNTS_SETTLE_S:
            self._ends = self.in_hand.ends()
        if not self._ends or not self.in_hand.reached.has(self._ends):
            return []
        self._ends = {}
        return self._counts.settle(self._slices.first_of)

    # the file

    def commit(self, closing: Sequence[OpenRecord]) -> None:
        if not self._fresh and self.in_hand.narrow_catch_up(EPOCH_RECORDS):
            self._dirty = True  # a start need not read `attempts` from so far back
        if not (closing or self._dirty):
            return
        self._dirty = False
        sent: list[str] = []
        for record in closing:
            sent += record.ended_keys
            record.ended_keys = []
            self._counts.close(record)
        places = self.in_hand.next
        self._store.commit(
            LaneCommit(
                next_offsets=places,
                open_offsets={place: self._open_offsets(place) for place in places},
                held_offsets={place: self._held_offsets(place) for place in places},
                attempts_from=self.in_hand.lowest_attempts(),
                attempts_taken=self.in_hand.attempts_taken(),
                marks=self._marks.all,
                totals=self._counts.totals(),
                sent=[self._keys.get(key) or key_digest(key) for key in sent],
                now=self._parts.now_ms(),
                shown=self._withdrawals.take_changed(),
            )
        )
        for key in sent:
            self._keys.pop(key, None)

    def forget(self) -> bool:
        self._store.forget_sent(self._parts.now_ms(), self._forgets)
        self._forgets = (self._forgets + 1) % PARTS
        return not self._forgets

    def close(self) -> None:
        self._store.close()

    def _open_offsets(self, place: TopicPartition) -> set[int]:
        """What is open, and what was before the restart and has not been read again."""
        reached, uncounted = self.in_hand.reached[place], self._uncounted.get(place, ())
        before = {o for o in self._reopen.get(place, ()) if o >= reached and o not in uncounted}
        waiting = self._waiting.offsets(place, counted=True) | self._withdrawals.offsets(place)
        return self.in_hand.records.get(place, {}).keys() | waiting | before

    def _held_offsets(self, place: TopicPartition) -> set[int]:
        before = {offset for offset in self._uncounted.get(place, ()) if offset >= self.in_hand.reached[place]}
        return self._waiting.offsets(place, counted=False) | self._slices.offsets(place) | before


def _all_tasks(record: OpenRecord, emissions: Sequence[ToDeliver], find: FindHistory) -> list[SendTask]:
    """Tasks for the devices of the emissions of one record."""
    return [task for siblings in record.siblings(emissions, find) for task in siblings.make_tasks()]


def _tell_many(taken: Sequence[_Taken]) -> None:
    """Where a fan-out reaches too few of a key group for a slice, each has a record of his own."""
    if len({(each.record.group, each.record.work_offset) for each in taken}) == len(taken):
        return  # what one record has for many was told when it was read
    users = {(each.record.group, each.record.work_offset, task.emission.user) for each in taken for task in each.tasks}
    reached = Counter((group, offset) for group, offset, _ in users)
    for record, tasks, _ in taken:
        for task in tasks if reached[record.group, record.work_offset] > 1 else ():
            task.siblings.for_many = True


def _preset_unknown(tasks: Sequence[SendTask]) -> None:
    for task in tasks:
        if not task.known:
            task.preset = (UNKNOWN, NOT_RETAINED)


def _without_attempts(tasks: list[SendTask], *, is_new: bool) -> list[SendTask]:
    """Nothing may be sent; what was perhaps taken in long ago is left to what the ledger says of it."""
    _preset_unknown(tasks)
    return tasks if is_new else [task for task in tasks if task.known]
