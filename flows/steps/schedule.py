"""Schedule as a Bytewax source: one owner of the one partition of `schedule`.

A record that cannot be handled goes to `dead_letters` and leaves the kept events as they were
(`flows.steps.dead_letters`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from connectors.campaigns import PLACE
from connectors.log import Log, NewRecord, Record
from flows.recovery.rebuild import CarriedOut, releases_carried_out
from flows.steps.campaigns import CampaignRunner
from flows.steps.dead_letters import RecordHandler, Unhandled, location_of, resume_offset
from flows.steps.sources.owner import SoleSource
from operators.schedule import Reaction, on_cancel, on_event, on_released, settle
from state.disk.poison import PoisonJournal
from state.model.dead_letter import names_in
from state.model.envelope import refuse_other_versions
from state.model.event import EVENT, Event, event_key
from state.model.keys import key_group, partition_of_group
from state.model.registry import TypesToDate
from state.model.schedule import CANCEL, RELEASED, Released
from state.model.topics import EVENTS
from state.schedule.kept import KeptEvents
from state.schedule.store import ScheduleStore

STAGE = "schedule"
TOPIC = "schedule"
_LOOK_INTERVAL = timedelta(milliseconds=250)
_WAIT = timedelta(milliseconds=40)
_REST_WAIT = timedelta(milliseconds=250)
"""While the state of all that was read is stored."""
_BUDGET = 10_000
"""Records that enter an epoch."""
_BATCH_MAX = 2_000


@dataclass(frozen=True, slots=True)
class ScheduleParts:
    """What the owner works with. It closes neither store nor journal."""

    open_log: Callable[[], Log]
    store: ScheduleStore
    journal: PoisonJournal
    clock: Callable[[], int]
    """The wall clock in ms: when an event is due."""
    monotonic: Callable[[], float]
    """A clock in seconds that nobody sets: when to look."""
    drain: Callable[[], bool]
    types: TypesToDate
    """What campaigns' events are made by."""
    retention: timedelta = timedelta(days=7)
    """How long the topics of events keep a record at least."""


def schedule_source(parts: ScheduleParts | None) -> SoleSource:
    """The source that is the scheduler; None in the processes that are not the owner."""
    return SoleSource(STAGE, None if parts is None else lambda: ScheduleLogic(parts))


class ScheduleLogic:
    """Reads the topic in order, and orders releases when their time has come."""

    def __init__(self, parts: ScheduleParts) -> None:
        self._parts, self._log = parts, parts.open_log()
        self._next_offset = resume_offset(parts.open_log, parts.store.next_offset(), TOPIC, 0)
        carried_out = None if self._next_offset else self._carried_out()
        self._scheduler = Scheduler(parts.store.load(), parts.journal, self._log, parts.clock, carried_out)
        self._campaigns = CampaignRunner(self._log, parts.types, parts.clock, parts.retention)
        self._reader = self._log.reader({(TOPIC, 0): self._next_offset, PLACE: self._campaigns.next_offset})
        self._credit, self._stored_offset = _BUDGET, -1
        self._next_look = parts.monotonic()

    def _carried_out(self) -> CarriedOut:
        retention_ms = self._parts.retention // timedelta(milliseconds=1)
        return releases_carried_out(self._log, self._parts.clock() - retention_ms)

    def work(self) -> list[NewRecord]:
        """Some records of the topic, and a look at what is due now and then."""
        if self._parts.drain():
            raise StopIteration
        written: list[NewRecord] = []
        wait = _REST_WAIT if self._next_offset == self._stored_offset else _WAIT
        for record in self._reader.poll(min(self._credit, _BATCH_MAX), wait) if self._credit > 0 else ():
            self._credit -= 1
            if record.topic == TOPIC:
                written += self._scheduler.one(record)
                self._next_offset = record.offset + 1
                written += self._retracted()
            else:
                written += self._scheduler.of_campaigns(record, self._campaigns.take)
        written += self._campaigns.work(self._reader.position()[PLACE])
        if self._parts.monotonic() >= self._next_look:
            self._next_look = self._parts.monotonic() + _LOOK_INTERVAL.total_seconds()
            written += [*self._scheduler.due(), *self._campaigns.due()]
        return written

    def _retracted(self) -> list[NewRecord]:
        """Rollouts that began before a retraction was read have no further parts."""
        retractions, self._scheduler.retractions = self._scheduler.retractions, []
        if not retractions:
            return []
        written = [
            each
            for record in self._campaigns.unread()
            for each in self._scheduler.of_campaigns(record, self._campaigns.take)
        ]
        return written + [each for event in retractions for each in self._campaigns.retract(event)]

    def epoch_ended(self) -> None:
        """New credit."""
        self._credit = _BUDGET

    def epoch_complete(self) -> None:
        """Store what is kept, and up to where that includes the topic."""
        if self._scheduler.kept.changed or self._next_offset != self._stored_offset:
            self._parts.store.collect(self._scheduler.kept, self._next_offset)
            self._parts.store.commit()
            self._stored_offset = self._next_offset

    def close(self) -> None:
        """Free the log."""
        self._reader.close()
        self._log.close()


class Scheduler:
    """Records of the topic to records of the log."""

    def __init__(
        self,
        kept: KeptEvents,
        journal: PoisonJournal,
        log: Log,
        clock: Callable[[], int],
        carried_out: CarriedOut | None,
    ) -> None:
        """`carried_out` by those before, where the topic is read from its begin."""
        self.kept = kept
        self._clock, self._carried_out = clock, carried_out
        self._partitions = log.partitions(EVENTS["P1"])
        self._handler = RecordHandler(STAGE, journal, log.partitions("dead_letters"))
        self._ordered: set[str] = set()
        """Releases that are in the topic but were not read yet, or could not be carried out."""
        self.retractions: list[Event] = []
        """Those that took place and that rollouts were not held against yet."""

    def due(self) -> list[NewRecord]:
        """Orders to release what is due and was not ordered before."""
        due = [event for event in self.kept.due(self._clock()) if event.event_id not in self._ordered]
        self._ordered.update(event.event_id for event in due)
        return [_answer(Released(event.event_id, "released")) for event in due]

    def one(self, record: Record) -> list[NewRecord]:
        """One bad record must not stop everybody's releases."""

        def make() -> tuple[Reaction, list[NewRecord]]:
            reaction = self._reaction(record)
            if self._carried_out is not None:
                reaction.events = self._still_to_release(reaction.events, record.timestamp_ms)
            return reaction, self._records(reaction)

        made = self._handler.handle(location_of(record), make, lambda made: self._settle(made[0]))
        return [self._dead(record, made)] if isinstance(made, Unhandled) else made[1]

    def of_campaigns(self, record: Record, take: Callable[[Record], None]) -> list[NewRecord]:
        """A record of `campaigns` that does not fit is passed over."""
        made = self._handler.handle(location_of(record), lambda: take(record))
        return [self._handler.set_aside(record, made, self._clock())] if isinstance(made, Unhandled) else []

    def _settle(self, reaction: Reaction) -> None:
        settle(self.kept, reaction)
        self._ordered.difference_update(reaction.gone)
        if reaction.retraction is not None:
            self.retractions.append(reaction.retraction)

    def _still_to_release(self, events: list[Event], ordered_ms: int) -> list[Event]:
        carried_out = self._carried_out
        return [e for e in events if carried_out is None or not carried_out.includes(e.event_id, ordered_ms)]

    def _reaction(self, record: Record) -> Reaction:
        refuse_other_versions(record.headers)
        schema = dict(record.headers).get("schema", b"")
        if schema == EVENT.json:
            return on_event(self.kept, EVENT.decode(record.value))
        if schema == CANCEL.json:
            return on_cancel(self.kept, CANCEL.decode(record.value).event_id)
        return on_released(self.kept, RELEASED.decode(record.value))

    def _records(self, reaction: Reaction) -> list[NewRecord]:
        if reaction.kept is not None:
            EVENT.encode(reaction.kept)  # what cannot be stored is not kept
        return [*map(self._event, reaction.events), *map(_answer, reaction.answers)]

    def _event(self, event: Event) -> NewRecord:
        key = event_key(event)
        partition = partition_of_group(key_group(key), self._partitions)
        headers = (*EVENT.headers, ("lane", event.priority.lower().encode()))
        return NewRecord(EVENTS[event.priority], partition, key.encode(), EVENT.encode(event), headers)

    def _dead(self, record: Record, unhandled: Unhandled) -> NewRecord:
        """Set aside; a release that fails is not ordered again before the next start."""
        event_id = names_in(record.value).event_id
        if event_id is not None and event_id in self.kept:
            self._ordered.add(event_id)
        return self._handler.set_aside(record, unhandled, self._clock())


def _answer(released: Released) -> NewRecord:
    return NewRecord(TOPIC, 0, released.event_id.encode(), RELEASED.encode(released), RELEASED.headers)
