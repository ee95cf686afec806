"""Sequence as a Bytewax source: what the gateway accepted becomes the decision log (DECISIONS, Sequence writes the
log). One owner.

A record that cannot be sequenced goes to `dead_letters` and leaves the state as it was (`flows.steps.dead_letters`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from connectors.load import is_load
from connectors.log import Log, NewRecord, Record
from connectors.log.backlog import Backlog
from connectors.log.interface import RECORD_MAX_BYTES, Headers, Reader
from connectors.log.read_to_ends import read_to_ends
from flows.recovery.rebuild import ends_of_unread, handled_positions, oldest_work_ms
from flows.steps.dead_letters import RecordHandler, Unhandled, location_of
from flows.steps.sequence.reading import SequenceBatch, SequenceOptions, SequenceReading
from flows.steps.sources.owner import SoleSource
from operators.sequence import (
    Sequenced,
    announce_load,
    announce_versions,
    recover_record,
    sequence_event,
    sequence_retry,
    sequence_setting,
    settle_versions,
    tick,
    unwritten_partitions,
    versions_in_force,
)
from state.disk.poison import PoisonJournal
from state.model.addresses import Served
from state.model.dead_letter import AGAIN_HEADER, ATTEMPT_HEADER
from state.model.envelope import refuse_other_versions
from state.model.errors import MalformedRecordError
from state.model.event import EVENT
from state.model.keys import KEY_GROUPS, partition_of_group
from state.model.load import LOAD
from state.model.registry import Registry, TypesToDate
from state.model.settings import SETTINGS
from state.model.topics import RETRIES
from state.model.work import FollowWork, Work, decode_work, encode_work
from state.sequence.store import SequenceState, SequenceStore

STAGE = "sequence"
_RESTORE_WITHIN = timedelta(seconds=60)
"""Without any progress."""
_SCHEMA = (("schema", b"work/1+json"),)
_GIVEN_BACK = (AGAIN_HEADER, ATTEMPT_HEADER)
_STORED_IDLE_EPOCHS = 25
_LEAD_MS = 1_000
"""What a clock that is kept right by small steps never comes to."""


@dataclass(frozen=True, slots=True)
class SequenceParts:
    """What the owner works with. It closes neither store nor journal."""

    open_log: Callable[[], Log]
    store: SequenceStore
    journal: PoisonJournal
    types: TypesToDate
    served: Served | None
    """What providers reach; None: whatever is on file."""
    options: SequenceOptions
    clock: Callable[[], int]
    """The wall clock in ms."""
    drain: Callable[[], bool]
    backlog: Backlog | None = None
    """Is told how far P1 is behind."""


def sequence_source(parts: SequenceParts | None) -> SoleSource:
    """The source that is the sequencer; None in the processes that are not the owner."""
    return SoleSource(STAGE, None if parts is None else lambda: SequenceLogic(parts))


class SequenceLogic:
    """Reads, sequences and hands out records of `work`, `followers` and `dead_letters`."""

    def __init__(self, parts: SequenceParts) -> None:
        self._store, self._log = parts.store, parts.open_log()
        self._sequencer = Sequencer(self._log, parts.journal, parts.types, parts.served)
        self._state = self._sequencer.restore(parts.store, parts.clock())
        self._reading = SequenceReading(
            self._log,
            self._state.positions,
            parts.options,
            clock=parts.clock,
            drain=parts.drain,
            backlog=parts.backlog,
            not_before=self._state.stamp,
        )
        self._read_since_commit = True
        self._idle_epochs = 0

    def work(self) -> list[NewRecord]:
        """The next batch, sequenced."""
        batch = self._reading.next_batch()
        if batch is None:
            return []
        self._read_since_commit = self._read_since_commit or bool(batch.settings or batch.events)
        return self._sequencer.sequence(self._state, batch)

    def epoch_ended(self) -> None:
        """New credit."""
        self._reading.refill()

    def epoch_complete(self) -> None:
        """The decision log ends where the state does: what a crash leaves beyond these ends is recovered.

        Of epochs with nothing but ticks one in some seconds is stored: a start takes ticks over too. None is stored
        while something that was recovered has a source that is not read again: what of it is in the log is known to
        this process alone, and the next start must find it there.
        """
        if self._state.awaits_rereading():
            return
        self._idle_epochs = 0 if self._read_since_commit else self._idle_epochs + 1
        if self._idle_epochs % _STORED_IDLE_EPOCHS:
            return
        self._read_since_commit = False
        for partition in range(self._log.partitions("work")):
            self._state.work_ends[partition] = self._log.end_offset("work", partition)
        self._store.collect(self._state)
        self._store.commit()

    def close(self) -> None:
        """Free the log."""
        self._reading.close()
        self._log.close()


class Sequencer:
    """Batches to records."""

    def __init__(self, log: Log, journal: PoisonJournal, types: TypesToDate, served: Served | None = None) -> None:
        self._log, self._types, self._served = log, types, served
        self._registry = types.up_to_date()
        self._versions = versions_in_force(self._registry, served)
        self._partitions = {topic: log.partitions(topic) for topic in ("work", "followers")}
        self._handler = RecordHandler(STAGE, journal, log.partitions("dead_letters"))
        self._batch = self._handler.batch()
        self._lead = 0

    def sequence(self, state: SequenceState, batch: SequenceBatch) -> list[NewRecord]:
        """What a batch becomes; the state includes it then."""
        state.stamp, self._lead = max(state.stamp, batch.now), batch.lead
        self._renew_types(self._types.up_to_date() if batch.events else self._types.current)
        written: list[NewRecord] = []
        for versions in announce_versions(state, self._versions):
            written += self._work(state, versions)
        for switch in announce_load(state, under_load=batch.under_load, away=batch.away):
            written += self._work(state, switch)
        for record in (*batch.settings, *batch.events):
            written += self._one(state, record)
            state.include(record.topic, record.partition, record.offset)
        self._batch.end()
        if batch.ticks:
            written += self._work(state, tick(state))
        return written

    def _renew_types(self, registry: Registry) -> None:
        """What was published before an event was accepted comes before it, as settings do."""
        if registry is not self._registry:
            self._registry, self._versions = registry, versions_in_force(registry, self._served)

    def _one(self, state: SequenceState, record: Record) -> list[NewRecord]:
        made = self._batch.handle(record.topic, record.partition, record.offset, -1, self._made, state, record)
        if isinstance(made, Unhandled):
            return [self._handler.set_aside(record, made, state.stamp)]
        made[0].settle()
        return made[1]

    def _made(self, state: SequenceState, record: Record) -> tuple[Sequenced, list[NewRecord]]:
        sequenced = self._sequenced(state, record, record[:3])
        return sequenced, self._written(state, sequenced, record)

    def _sequenced(self, state: SequenceState, record: Record, place: tuple[str, int, int]) -> Sequenced:
        if record.headers != EVENT.headers:
            refuse_other_versions(record.headers)
        if record.topic in SETTINGS:
            if is_load(record):
                LOAD.decode(record.value)
                return Sequenced([], lambda: None)  # the pace of reading is all that it changes
            return sequence_setting(state, record.topic, record.value, place, record.timestamp_ms)
        if record.topic == RETRIES:
            again, attempt = _given_back(record.headers) or ("", "")
            return sequence_retry(state, record.value, _group(record.key), place, again=again, attempt=attempt)
        event = EVENT.decode(record.value)
        if self._lead > _LEAD_MS:  # or it would be too old for its ttl as soon as it comes
            event = msgspec.structs.replace(event, ahead_ms=self._lead)
        return sequence_event(state, self._registry, event, place, record.timestamp_ms)

    def _written(self, state: SequenceState, sequenced: Sequenced, record: Record) -> list[NewRecord]:
        written: list[NewRecord] = []
        headers: Headers = ()
        if record.topic == RETRIES:
            headers = tuple(header for header in record.headers if header[0] in _GIVEN_BACK)
        for work in sequenced.works:
            written += self._work(state, work, headers)
            if isinstance(work, FollowWork):
                written.append(follower_record(work, self._partitions["followers"]))
        return written

    def _work(self, state: SequenceState, work: Work, headers: Headers = ()) -> list[NewRecord]:
        ahead = self._lead if self._lead > _LEAD_MS else 0
        if work.ahead != ahead:  # also where a record is given back
            work = msgspec.structs.replace(work, ahead=ahead)
        value, headers = encode_work(work), _SCHEMA + headers
        if len(value) > RECORD_MAX_BYTES:
            raise MalformedRecordError(f"a record of the decision log would hold more than {RECORD_MAX_BYTES} bytes")
        if work.g is None:
            missing = unwritten_partitions(state, work, self._partitions["work"])
            return [NewRecord("work", partition, b"", value, headers) for partition in missing]
        partition = partition_of_group(work.g, self._partitions["work"])
        return [NewRecord("work", partition, str(work.g).encode(), value, headers)]

    def restore(self, store: SequenceStore, now: int) -> SequenceState:
        """The checkpoint, and what the decision log holds beyond it (DECISIONS, Sequence writes the log); without a
        checkpoint, all of that.

        `now` is the wall clock in ms.

        :raises LogUnavailableError: a partition of it could not be read for a minute.
        """
        state, log = store.load(), self._log
        begins_anew = not state.work_ends
        partitions = self._partitions["work"]
        start = {("work", p): max(state.work_ends.get(p, 0), log.begin_offset("work", p)) for p in range(partitions)}
        reader = log.reader(start)
        try:
            self._recover_all(state, reader)
            if not begins_anew:
                self._mark_ends(state, now)
                self._recover_all(state, reader)
        finally:
            reader.close()
        settle_versions(state, partitions)
        if begins_anew:
            state.work_since = oldest_work_ms(log) or 0
            state.positions.update(handled_positions(state, self._registry, log, stage=STAGE))
        state.reread_until = ends_of_unread(state, log)
        # What retention removed is not read again: it must not keep the checkpoint waiting for ever.
        begins = {place: log.begin_offset(*place) for place in {each[:2] for each in state.recovered_sources}}
        state.recovered_sources = {each for each in state.recovered_sources if each[2] >= begins[each[:2]]}
        return state

    def _mark_ends(self, state: SequenceState, now: int) -> None:
        """Append a tick to every partition. Brokers may hold records of the last process that are not copied yet and
        cannot be read yet. They are before the tick, so they can be read once it is acknowledged. Time does not fall:
        the stamps that can be read already were recovered.
        """
        state.stamp = max(state.stamp, now)
        self._lead = state.stamp - now
        self._log.append(self._work(state, tick(state)))

    def _recover_all(self, state: SequenceState, reader: Reader) -> None:
        ends = self._log.end_offsets(list(reader.position()))
        for records in read_to_ends(reader, ends, deadline=_RESTORE_WITHIN):
            for record in records:
                self._recover(state, record)

    def _recover(self, state: SequenceState, record: Record) -> None:
        """A record that cannot be recovered was written by another version, or is damaged: decide skips it too, and
        its source is sequenced again if the checkpoint does not include it.
        """

        def take() -> None:
            work = decode_work(record.value)
            recover_record(state, self._registry, work, record.partition, _given_back(record.headers))

        taken = self._handler.handle(location_of(record), take)
        if taken is not None:
            self._log.append([self._handler.set_aside(record, taken, state.stamp)])


def follower_record(work: FollowWork, partitions: int) -> NewRecord:
    """`followers` is derived from `follows` here, so that both copies of the graph agree."""
    assert work.g is not None, "that of a pair"
    key = f"{work.followee}\0{work.follower}".encode()
    partition = partition_of_group(work.g, partitions)
    return NewRecord("followers", partition, key, encode_work(work), (("schema", b"follow/1+json"),))


def _given_back(headers: Headers) -> tuple[str, str] | None:
    """The dead letter that a record was given back for, and the number of the attempt."""
    named = dict(headers)
    if AGAIN_HEADER not in named:
        return None
    return named[AGAIN_HEADER].decode("utf-8", "replace"), named.get(ATTEMPT_HEADER, b"1").decode("utf-8", "replace")


def _group(key: bytes) -> int:
    """:raises MalformedRecordError: the key of a record of `retries` names no key group."""
    text = key.decode("ascii", "replace")
    if not text.isdecimal() or int(text) >= KEY_GROUPS:
        raise MalformedRecordError(f"{RETRIES}: the key must be a key group, 0 to {KEY_GROUPS - 1}, in decimal")
    return int(text)
