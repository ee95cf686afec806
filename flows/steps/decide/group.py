"""One key group of decide: its state, what each record of `work` leads to, and what happens with one that cannot be
decided.

A record may not decode, may make the rules raise an error, or may have ended the process five times
(`state.disk.poison`). The group then skips it: its state is as before the record, a dead letter says so, and the group
goes on. The skip is stored at once and for ever. Deciding the record again, after a crash, in a rebuild or a replay,
skips it again and writes the same letter. So decide stays a function of `work` and `dead_letters` (DECISIONS, One
ordered log). If a record is for all groups, only the groups in which it fails skip it.

The same may happen when a timer comes, with what waits for a user. The record that moved the time is not at fault then,
and is applied. What waits is given up: it ends as SUPPRESSED, `dead_letter`, with a dead letter for each of its events.
That too is stored at once and repeated in the same way. Of a batch of held recipients each is then tried alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import structlog

from connectors.log import NewRecord, Record
from connectors.metrics import DEAD_LETTERS, DECIDE_WAITING
from flows.steps.dead_letters import RecordHandler, Unhandled
from flows.steps.decide.outputs import SOURCE, OutputWriter
from operators.bulk import Evaluated
from operators.decide import apply, waiting_of
from state.decide import codec
from state.decide.checkpoint import GroupStore
from state.decide.group import GroupState
from state.decide.held import HeldBatch
from state.decide.pending import BATCH, GivenUp, PendingGroup, PendingKey
from state.disk.packing import u32
from state.disk.poison import PoisonJournal, Processing, RecordLocation
from state.model.dead_letter import (
    KILLED,
    LETTER_SCHEMA,
    DeadLetter,
    decode_letter,
    encode_letter,
    error_text,
    letter_id,
)
from state.model.envelope import output_headers
from state.model.errors import MalformedRecordError, PoisonedError
from state.model.keys import partition_of_group
from state.model.registry import Registry
from state.model.work import SliceWork, TickWork, Work, decode_work, tick_stamp

if TYPE_CHECKING:
    from flows.steps.decide.slice_outputs import SliceRecord

STAGE = "decide"
GIVEN_UP_HEADER = "given_up"
"""On letters of what was given up: number u32, then the value of its row (`state.decide.codec`, Y)."""
TOPIC = "work"
_STAMP_MAX = 1 << 53
_IDLE_TICKS_MAX = 20
_BATCH_NOTES = 1 << 24

_logger = structlog.get_logger(__name__)


class SliceAhead(NamedTuple):
    """What was found of a slice before its turn; the record is that of any of the groups."""

    record: SliceWork
    evaluated: Evaluated
    encoded: Sequence[SliceRecord | None] | None
    """What it leaves behind; None: encoded in its turn."""


class GroupDecider:
    """Decides the records of one key group in order; `store` holds its checkpoint."""

    def __init__(
        self, group: int, store: GroupStore, registry: Registry, journal: PoisonJournal, *, partitions: int
    ) -> None:
        self.group = group
        self._store, self._registry, self._journal = store, registry, journal
        self.partition = partition_of_group(group, partitions)
        self._handler = RecordHandler(STAGE, journal, partitions)
        self._batch = self._handler.batch()
        self._writer = OutputWriter(group, partitions)
        self._state = self._watched(store.load(group, registry))
        self._skipped, self._given_up = store.skipped(group), store.given_up(group)
        self._applied: list[tuple[int, bytes]] = []
        """Records since the last `collect`, to apply again when a later one fails."""
        self._advanced = self._staged = False
        self._idle_ticks = 0
        """Since the last `collect`, ticks that changed nothing but the time."""
        self._passed_to = 0
        """The time that they brought."""
        self._told = dict.fromkeys(self._state.pending.counts, 0)
        """What the metric says of what waits here."""
        self._tell_waiting()

    def decide(self, entries: Iterable[tuple[int, bytes]], ahead: SliceAhead | None = None) -> list[NewRecord]:
        """What records of the group's partition of `work`, each with its offset, lead to; nothing where the state
        includes them. `ahead`: what was found of the only one.

        :raises LogError, StateError, MemoryError: no fault of a record; the flow ends.
        """
        outputs: list[NewRecord] = []
        for offset, value in entries:
            outputs += self._decide(offset, value, ahead)
        self._batch.end()
        return outputs

    def may_look_ahead(self, offset: int) -> bool:
        """Whether a record may be evaluated before its turn, beside others. Not when a process died: then each record
        is taken alone, so that it is found which one it was.
        """
        done = offset <= self._state.place or offset in self._skipped or offset in self._given_up
        return not done and not self._journal.counts

    def in_hand(self, offset: int) -> Processing:
        """Notes that a record is evaluated before its turn."""
        return self._journal.processing(*self._location(offset))

    @property
    def state(self) -> GroupState:
        """As of the last record."""
        return self._state

    def _decide(self, offset: int, value: bytes, ahead: SliceAhead | None) -> list[NewRecord]:
        if offset <= self._state.place:
            return []
        if self._staged:
            self._store.commit()  # of an epoch before this record's, so its outputs are in the log
            self._staged = False
        stamp = tick_stamp(value)
        if stamp is not None and self._only_passes_time(offset, stamp):
            return []
        self._advanced = True
        if offset in self._skipped:
            return [self._pass(offset, self._skipped[offset])]
        while (outputs := self._tried(offset, value, ahead)) is None:
            ahead = None
        return outputs

    def releases(self, value: bytes) -> bool:
        """Whether a record is a tick at which something is due."""
        stamp = tick_stamp(value)
        return stamp is not None and stamp >= self._state.pending.next_due()

    def advance(self, offset: int) -> None:
        """No record below `offset` that was not decided is for this group: its state is that of `offset` too."""
        if offset > self._state.place + 1:
            self._state.place = offset - 1
            self._advanced = True

    @property
    def place(self) -> int:
        """The offset of the last record that the state includes."""
        return self._state.place

    @property
    def registry(self) -> Registry:
        """The types that hold."""
        return self._state.registry

    def use_types(self, registry: Registry) -> None:
        """From here on these types hold, as if the log said so."""
        self._state.registry = registry
        self._state.registry_tables = {name: dict(table) for name, table in registry.tables.items()}
        self._advanced = True

    def _only_passes_time(self, offset: int, stamp: int) -> bool:
        """Apply a tick that nothing waits for. Most records of a quiet system are such, times its key groups."""
        state = self._state
        if stamp >= state.pending.next_due() or state.counted != state.count_terms():
            return False
        if self._skipped or self._given_up or self._journal.suspect(TOPIC, self.partition, offset, self.group):
            return False
        state.now = self._passed_to = max(state.now, stamp)
        state.place = offset
        self._idle_ticks += 1
        return True

    def settle(self) -> None:
        """Nothing more comes: the last ticks count too."""
        self._advanced = self._advanced or self._idle_ticks > 0

    def collect(self) -> None:
        """The epoch ends: encode what it changed. Committed when its outputs are known to be in the log.

        A group that only saw time pass waits for a few seconds' ticks: a restart reads them again.
        """
        if self._advanced or self._idle_ticks >= _IDLE_TICKS_MAX:
            self._store.collect(self.group, self._state)
            self._tell_waiting()
            self._applied.clear()
            self._advanced, self._staged, self._idle_ticks = False, True, 0

    def _tell_waiting(self) -> None:
        for outcome, number in self._state.pending.counts.items():
            if number != self._told[outcome]:
                DECIDE_WAITING.labels(outcome).inc(number - self._told[outcome])
                self._told[outcome] = number

    def _tried(self, offset: int, value: bytes, ahead: SliceAhead | None) -> list[NewRecord] | None:
        """What the record leads to; None: not yet, what failed is given up and it may be tried again."""
        outputs = self._batch.handle(TOPIC, self.partition, offset, self.group, self._apply, offset, value, ahead)
        if not isinstance(outputs, Unhandled):
            self._applied.append((offset, value))
            return outputs
        if outputs.error is not None:
            due = self._due()
            if not isinstance(outputs.error, MalformedRecordError):  # that comes before anything is changed
                self._restore()
            if due is not None and self._give_up(offset, due, outputs.error):
                return None
        return [self._skip(offset, value, outputs)]

    def _location(self, offset: int) -> RecordLocation:
        return RecordLocation(TOPIC, self.partition, offset, self.group)

    def _watched(self, state: GroupState) -> GroupState:
        """Note what waits while it is handled: if that ends the process, it is not the record's doing."""

        def watch(waiting: PendingGroup | HeldBatch | None) -> None:
            if waiting is None:
                self._journal.begin(TOPIC, self.partition, state.place, self.group)
                return
            # Below -1: no key group, so no record's own note. An offset belongs to one key group already. A batch goes
            # by its number from the other end: rows do not come so far.
            if isinstance(waiting, HeldBatch):
                note = TOPIC, self.partition, waiting.wait.place, waiting.number % _BATCH_NOTES - (1 << 31)
            else:
                note = TOPIC, self.partition, waiting.place, -2 - waiting.row
            if self._journal.suspect(*note):
                raise PoisonedError(KILLED)
            self._journal.begin(*note)

        state.pending.watch = watch
        return state

    def _due(self) -> tuple[str, PendingKey] | None:
        """Whose time had come when the record failed: it is no fault of the record."""
        firing = self._state.pending.firing
        if isinstance(firing, HeldBatch):
            return "", PendingKey(BATCH, place=firing.number)
        return None if firing is None else (self._state.users.ids[firing.row], firing.key)

    def _give_up(self, offset: int, due: tuple[str, PendingKey], error: Exception) -> bool:
        before = self._given_up.get(offset, {})
        if any((each.user, each.key) == due for each in before.values()):
            return False  # it was given up, and fails still
        number = next(each for each in count() if each not in before)  # letters tell only of those with items
        self._store.give_up(self.group, offset, number, GivenUp(*due, error_text(error)))
        if due[1].kind == BATCH:
            _logger.warning("batch_taken_apart", stage=STAGE, partition=self.partition, offset=offset, group=self.group)
            return True
        _logger.error("waiting_given_up", stage=STAGE, partition=self.partition, offset=offset, group=self.group)
        DEAD_LETTERS.labels(STAGE).inc()
        return True

    def _apply(self, offset: int, value: bytes, ahead: SliceAhead | None = None) -> list[NewRecord]:
        state, writer = self._state, self._writer
        if ahead is not None:
            out = apply(state, ahead.record, offset, evaluated=ahead.evaluated)
            return writer.encode(state, out, offset, ahead.encoded)
        record = decode_work(value)
        if record.g != self.group or not 0 <= record.stamp < _STAMP_MAX:
            self._check(record)
        given_up = dict(sorted(self._given_up.get(offset, {}).items())) if self._given_up else {}
        letters = self._letters(offset, given_up) if given_up else []
        outputs = writer.encode(state, apply(state, record, offset, given_up.values()), offset)
        outputs += letters
        if isinstance(record, TickWork):
            terms = state.count_terms()
            if terms != state.counted:
                state.counted = terms
                outputs.append(writer.counts(terms, offset))
        return outputs

    def _check(self, record: Work) -> None:
        if record.g != self.group and record.g is not None:
            raise MalformedRecordError(f"work: a record of key group {record.g} came to group {self.group}")
        if not 0 <= record.stamp < _STAMP_MAX:
            raise MalformedRecordError("work: the stamp is no time in ms")

    def _restore(self) -> None:
        """The state before the record that failed. What was written for the records before it is not written again."""
        self._state = self._watched(self._store.reload(self.group, self._state, self._registry))
        for offset, value in self._applied:
            with self._journal.processing(*self._location(offset)):
                self._apply(offset, value)
        self._state.now = max(self._state.now, self._passed_to)

    def _skip(self, offset: int, value: bytes, unhandled: Unhandled) -> NewRecord:
        source = Record(TOPIC, self.partition, offset, 0, b"%d" % self.group, value, ())
        at = max(self._state.now, stamp_of(value))
        letter = self._handler.set_aside(source, unhandled, at, self.group)
        self._store.skip(self.group, offset, letter.value)
        return self._pass(offset, letter.value)

    def _pass(self, offset: int, letter: bytes) -> NewRecord:
        self._state.place = offset
        return self._letter(offset, 0, letter)

    def _letter(self, offset: int, ordinal: int, letter: bytes, given_up: bytes | None = None) -> NewRecord:
        headers = output_headers(LETTER_SCHEMA, SOURCE, self.group, offset, ordinal)
        more = () if given_up is None else ((GIVEN_UP_HEADER, given_up),)
        return NewRecord("dead_letters", self.partition, b"%d" % self.group, letter, (*headers, *more))

    def _letters(self, offset: int, given_up: Mapping[int, GivenUp]) -> list[NewRecord]:
        """One for each event that waits in what is given up, with what a store needs to give it up again."""
        letters: list[NewRecord] = []
        for number, each in given_up.items():
            waiting = waiting_of(self._state, each) if each.key.kind != BATCH else None
            again = u32(number) + codec.encode_given_up(each)
            for item in waiting.items if waiting is not None else ():
                source = (TOPIC, self.partition, item.place)
                letter = DeadLetter(
                    id=letter_id(STAGE, source, self.group), source=source, group=self.group,
                    kind="killed" if each.error == KILLED else "raised",
                    error=each.error, event_id=item.event.event_id, sender_id=item.event.sender_id,
                    type=item.event.type, stage=STAGE, at=self._state.now,
                )  # fmt: skip
                letters.append(self._letter(offset, 1 + len(letters), encode_letter(letter), again))
        return letters


def stamp_of(value: bytes) -> int:
    """The stamp of a record of `work` in ms; 0 where it has none that a clock could show."""
    try:
        stamp = decode_work(value).stamp
    except MalformedRecordError:
        return 0
    return stamp if 0 <= stamp < _STAMP_MAX else 0


def restore_skips(store: GroupStore, groups: Iterable[int], letters: Iterable[Record]) -> int:
    """Let a store skip what these records of `dead_letters` say that its groups skipped; gives how many they are.

    For a store that is empty or comes from an export: it decides again what was decided before.
    """
    wanted, taken = frozenset(groups), 0
    for record in letters:
        headers = dict(record.headers)
        if headers.get("schema") != LETTER_SCHEMA:
            continue
        letter = decode_letter(record.value)
        if letter.stage == STAGE and letter.group in wanted and letter.source[0] == TOPIC:
            given_up = headers.get(GIVEN_UP_HEADER)
            if given_up is None:
                store.skip(letter.group, letter.source[2], record.value)
            else:
                number, what = int.from_bytes(given_up[:4], "big"), codec.decode_given_up(given_up[4:])
                store.give_up(letter.group, _offset_in(headers["seq"]), number, what)
            taken += 1
    return taken


def _offset_in(seq: bytes) -> int:
    return int(seq.split(b":")[2])
