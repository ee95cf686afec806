"""Schedule as Bytewax steps: one owner of the one partition of `schedule`."""

from collections.abc import Callable

import msgspec
from bytewax.operators import StatefulBatchLogic

from connectors.log import NewRecord, Record
from connectors.log.bytewax import keyed
from flows.steps.resuming import dead_letter
from flows.steps.ticks import Tick
from flows.topics import EVENT_TOPICS
from operators.schedule import Cancel, Reaction, Released, on_cancel, on_event, on_released
from state.kept import KeptEvents
from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.event import Event, decode_event, encode_event
from state.model.keys import key_group, partition_of_group
from state.scheduling import ScheduleStore

_encode = msgspec.json.Encoder().encode


def routing_key(event: Event) -> str:
    """DIRECT: the target; else the actor or the segment (CONTRACT, "Log topics")."""
    if event.fan_out_type == "DIRECT":
        return event.target or event.event_id
    return (event.segment if event.fan_out_type == "SEGMENT" else event.actor) or event.event_id


class Schedule(StatefulBatchLogic[list[Record] | Tick, tuple[str, NewRecord], None]):
    """Reads the topic in order, orders releases when their time has come."""

    def __init__(self, kept: KeptEvents, store: ScheduleStore, partitions: int, clock: Callable[[], int]) -> None:
        self._kept, self._store, self._partitions, self._clock = kept, store, partitions, clock
        self._ordered: set[str] = set()
        """Releases that are in the topic but were not read yet."""
        self._next_offset = store.next_offset()

    def on_batch(self, values: list[list[Record] | Tick]) -> tuple[list[tuple[str, NewRecord]], bool]:
        written: list[NewRecord] = []
        for value in values:
            if isinstance(value, Tick):
                written += self._due()
            else:
                for record in value:
                    written += self._one(record)
                    self._next_offset = record.offset + 1
        return [keyed(record) for record in written], False

    def _one(self, record: Record) -> list[NewRecord]:
        """What does not decode is set aside: one bad record must not stop everybody's releases."""
        try:
            return self._records(self._react(record))
        except MalformedRecordError as error:
            return [dead_letter(record, error, stage="schedule", at=self._clock(), partitions=self._partitions)]

    def _due(self) -> list[NewRecord]:
        due = [event for event in self._kept.due(self._clock()) if event.event_id not in self._ordered]
        self._ordered.update(event.event_id for event in due)
        return [_answer(Released(event.event_id, "released")) for event in due]

    def _react(self, record: Record) -> Reaction:
        schema = dict(record.headers).get("schema", b"")
        if schema.startswith(b"event/"):
            return on_event(self._kept, decode_event(record.value))
        try:
            if schema.startswith(b"cancel/"):
                return on_cancel(self._kept, msgspec.json.decode(record.value, type=Cancel).event_id)
            released = msgspec.json.decode(record.value, type=Released)
        except UNDECODABLE as error:
            raise MalformedRecordError(f"schedule {record.offset}: {error}") from error
        self._ordered.discard(released.event_id)
        return on_released(self._kept, released)

    def _records(self, reaction: Reaction) -> list[NewRecord]:
        return [*map(self._event, reaction.events), *map(_answer, reaction.answers)]

    def _event(self, event: Event) -> NewRecord:
        key = routing_key(event)
        partition = partition_of_group(key_group(key), self._partitions)
        headers = (("schema", b"event/1+json"), ("lane", event.priority.lower().encode()))
        return NewRecord(EVENT_TOPICS[event.priority], partition, key.encode(), encode_event(event), headers)

    def snapshot(self) -> None:
        """The epoch ends here; committed when the next begins."""
        self._store.stage(self._kept, self._next_offset)


def _answer(released: Released) -> NewRecord:
    return NewRecord("schedule", 0, released.event_id.encode(), _encode(released), (("schema", b"released/1+json"),))
