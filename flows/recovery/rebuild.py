"""Where `sequence` and `schedule` go on after they lost their state: what they had handled, read from the log.

Records of `work` name their source: the accepted record that they came from. An accepted record that is a source there
was handled, and is not written again. One that is not was handled all the same if it

- is older than what is left of `work`: its records were removed, or it led to none;
- repeats another event, judged at the time at which it was accepted;
- was set aside: `dead_letters` says so.

Records of a partition are handled in order. So the first one that is missing for none of these reasons was not handled:
a crash came first, or nobody read it yet. From there on everything is read again.

The topics of settings are compacted. They are read from the start, since placement is made from them. A setting that is
older than what is left of `work` is placed and not written: decide has it, or a later one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from connectors.log.interface import Log, Record
from connectors.log.read_to_ends import stored_records
from flows.steps.dead_letters import read_dead_letters
from operators.dedup import EVENT_ID_WINDOW_MS, entries_of_latest, original_of
from state.model.dead_letter import LETTER_SCHEMA, decode_letter
from state.model.envelope import TopicPartition
from state.model.errors import MalformedRecordError
from state.model.event import EVENT, release_id
from state.model.registry import Registry
from state.model.topics import EVENTS, EVENTS_P1, EVENTS_P2, READS, RETRIES
from state.sequence.placement import groups_in
from state.sequence.store import SequenceState

ORDERED = (EVENTS_P1, EVENTS_P2)
"""Events that `sequence` puts in order."""
RETAINED = (*ORDERED, READS, RETRIES)
"""What `sequence` reads of topics that are not compacted."""
_NOT_KEPT = b'"deliver_at":null'
_MARGIN_MS = 3_600_000


def handled_positions(state: SequenceState, registry: Registry, log: Log, *, stage: str) -> dict[TopicPartition, int]:
    """For each partition the offset from which `sequence` reads on. `state` has taken over everything that `work`
    retains, and `work_since` is the time of its oldest record.

    :raises LogUnavailableError: the log is not read to its end in time.
    """
    aside = _set_aside(log, stage)
    positions: dict[TopicPartition, int] = {}
    for topic in RETAINED:
        for partition in range(log.partitions(topic)):
            place = topic, partition
            first = max(log.begin_offset(*place), log.offset_at(*place, state.work_since))
            offsets = range(first, log.end_offset(*place))
            positions[place] = _first_unhandled(state, registry, _records(log, place, offsets), offsets, aside)
    return positions


def ends_of_unread(state: SequenceState, log: Log) -> dict[TopicPartition, int]:
    """The ends of the partitions of events that are not read so far: below, a record may have been judged before."""
    places = [(topic, partition) for topic in ORDERED for partition in range(log.partitions(topic))]
    ends = {place: log.end_offset(*place) for place in places}
    return {p: end for p, end in ends.items() if max(state.positions.get(p, 0), log.begin_offset(*p)) < end}


class CarriedOut(NamedTuple):
    """Releases of kept events that took place, read from the topics of events (for a `schedule` without state)."""

    event_ids: frozenset[str]
    before_ms: int
    """Of what was ordered earlier, nothing is retained: it took place."""

    def includes(self, event_id: str, ordered_ms: int) -> bool:
        """Whether the event was released by an order of this time; `sequence` knows a repeat for a day only."""
        return event_id in self.event_ids or ordered_ms < self.before_ms


def releases_carried_out(log: Log, retained_since_ms: int) -> CarriedOut:
    """Read from the topics of events which kept events were released. A topic that is empty has lost nothing younger
    than `retained_since_ms`.

    :raises LogUnavailableError: the log is not read to its end in time.
    """
    released: set[str] = set()
    before = 0
    for place in ((topic, partition) for topic in EVENTS.values() for partition in range(log.partitions(topic))):
        begin, end = log.begin_offset(*place), log.end_offset(*place)
        first: Record | None = None
        for record in _records(log, place, range(begin, end)):
            first = first or record
            if _NOT_KEPT not in record.value:
                with suppress(MalformedRecordError):
                    released.add(release_id(EVENT.decode(record.value)))
        if begin > 0:
            before = max(before, retained_since_ms if first is None else first.timestamp_ms)
    return CarriedOut(frozenset(released), before)


def is_rebuildable(log: Log, registry: Registry, now_ms: int) -> bool:
    """Whether `work` retains the marks of all repeats that may still be recognised (RULES 1)."""
    windows = [registry.profile(name).repeat_window_ms for name in registry.names()]
    oldest = oldest_work_ms(log)
    return oldest is not None and oldest <= max(0, now_ms - max(EVENT_ID_WINDOW_MS, *windows) - _MARGIN_MS)


def oldest_work_ms(log: Log) -> int | None:
    """Since when all of `work` is retained; 0: from its begin; None: nothing is left to tell."""
    oldest = 0
    for partition in range(log.partitions("work")):
        begin, end = log.begin_offset("work", partition), log.end_offset("work", partition)
        if begin > 0:
            first = next(_records(log, ("work", partition), range(begin, end)), None)
            if first is None:
                return None
            oldest = max(oldest, first.timestamp_ms)
    return oldest


def _set_aside(log: Log, stage: str) -> set[tuple[str, int, int]]:
    records = [record for record in read_dead_letters(log) if dict(record.headers).get("schema") == LETTER_SCHEMA]
    letters = [decode_letter(record.value) for record in records]
    return {letter.source for letter in letters if letter.stage == stage}


def _first_unhandled(
    state: SequenceState,
    registry: Registry,
    records: Iterable[Record],
    offsets: range,
    aside: set[tuple[str, int, int]],
) -> int:
    for record in records:
        source = (record.topic, record.partition, record.offset)
        if _is_written(state, source):
            _mark_again(state, registry, record)
        elif source not in aside and not _is_repeat(state, record):
            return record.offset
    return max(offsets.start, offsets.stop)


def _mark_again(state: SequenceState, registry: Registry, record: Record) -> None:
    """Whoever repeats the event, before a newer one of its kind came, meets it as it was then."""
    if record.topic in ORDERED:
        event, source = EVENT.decode(record.value), (record.topic, record.partition, record.offset)
        then = state.recovered_registries.get(source, registry)
        state.repeats.put_all(entries_of_latest(state.repeats, then, event, record.timestamp_ms))


def _is_written(state: SequenceState, source: tuple[str, int, int]) -> bool:
    """Whether all records that it led to are in `work`: a crash may have cut off slices."""
    if source not in state.recovered_sources:
        return False
    plan = state.recovered_plans.get(source, 0)
    return all((*source, group) in state.recovered for group in groups_in(plan))


def _is_repeat(state: SequenceState, record: Record) -> bool:
    """As of the time at which the log took it; all marks of `work` are there, since none expires before reading."""
    if record.topic not in ORDERED:
        return False
    try:
        event = EVENT.decode(record.value)
    except MalformedRecordError:
        return False
    return original_of(state.repeats, event, record.timestamp_ms) is not None


def _records(log: Log, place: TopicPartition, offsets: range) -> Iterator[Record]:
    """The records of a partition at these offsets that there are."""
    return stored_records(log, {place: offsets.start}, {place: offsets.stop})
