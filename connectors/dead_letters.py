"""The topic `dead_letters` as an operator reads it: each letter once, with what was done about it; and the records that
the letters are about, from the log or, where that has dropped them, from the archive.

A delivery that ended as DEAD_LETTER because its address is gone raises no alarm, so no letter is written. An operator
sees one all the same, made of its record on the ledger.
"""

from __future__ import annotations

import heapq
import itertools
import re
import time
from array import array
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash

from connectors.archive.ledger import LedgerReader
from connectors.archive.records import TopicRecords
from connectors.archive.states import TOPIC as LEDGER
from connectors.log.interface import Log, Record
from connectors.log.read_to_ends import stored_batches, stored_records
from state.model.dead_letter import (
    ACTION_SCHEMA,
    LETTER_SCHEMA,
    DeadAction,
    DeadLetter,
    decode_action,
    decode_letter,
    failed_delivery_id,
    is_final,
    place_in_id,
)
from state.model.delivery import delivery_key
from state.model.envelope import LogPosition
from state.model.errors import LogUnavailableError, MalformedRecordError, OffsetOutOfRangeError, UnknownTopicError

TOPIC = "dead_letters"
_WAIT = timedelta(seconds=5)
_NAMED_MAX = 32
"""Ids; for more it is cheaper to read the whole topic."""
CLOCKS_DIFFER_MS = 600_000
_HASH = re.compile("[0-9a-f]{16}")
FINAL = "final"
OPEN = "open"


class FiledLetter(NamedTuple):
    """A letter, where it was first found, and what was decided about it, in order."""

    letter: DeadLetter
    partition: int
    offset: int
    actions: tuple[DeadAction, ...]

    @property
    def status(self) -> str:
        """`open`, `retried`, `discarded`, or `final`: a delivery that ended is not tried again."""
        if self.actions:
            return self.actions[-1].action
        return FINAL if is_final(self.letter) else OPEN

    @property
    def is_decided(self) -> bool:
        """Whether somebody retried or discarded it."""
        return bool(self.actions)

    @property
    def retries(self) -> int:
        """How often it was retried."""
        return sum(action.action == "retried" for action in self.actions)


class DeadLetters:
    """Reads; the caller keeps the log open. Memory is that of some thousand letters, however many there are."""

    def __init__(
        self, log: Log, archive: Path | None, *, deliveries_since_ms: int | None = None, at_once: int = 4_096
    ) -> None:
        """`archive` is `DIR/archive`, if there is one; deliveries without a letter count from then on, None: never.
        `at_once`: letters that are held, and records of a partition that are read.
        """
        self._log, self._archive, self._since_ms, self._at_once = log, archive, deliveries_since_ms, at_once
        self.unreadable = 0
        """Records that were met and are neither a letter nor an action."""

    def each(
        self, wanted: Callable[[DeadLetter], bool], since_ms: int = 0, *, undecided: bool = False
    ) -> Iterator[FiledLetter]:  # fmt: skip
        """The letters that are wanted, with what was decided about them so far, and the deliveries that have none.
        Reads what was written since then by the log's time, and keeps eight bytes of each letter and a number of each
        that was decided. `undecided`: only those about which nothing was decided.

        The oldest come first; where there are thousands, those without a letter come last, and what a crash had written
        again may come twice.

        :raises LogError: the log cannot be read.
        """
        hashes, partitions = array("Q"), range(self._log.partitions(TOPIC))

        def noted(letter: DeadLetter) -> bool:
            hashes.extend(_hash_in(letter.id))
            return wanted(letter)

        starts = {number: self._log.offset_at(TOPIC, number, since_ms) for number in partitions}
        streams = [self._letters_of(*start, noted) for start in starts.items()]
        made = (each for each in self._unwritten(hashes, len(partitions)) if wanted(each.letter))
        every = itertools.chain(heapq.merge(*streams, key=lambda each: each.letter.at), made)
        before: Container[str] = ()
        decided = _Closed(self._log, starts)
        while some := [*itertools.islice(every, self._at_once)]:
            fresh = {each.letter.id: each for each in reversed(some) if each.letter.id not in before}
            decided.read_on()
            closed = [each for name, each in fresh.items() if name in decided]
            filed = () if undecided else with_actions(self._log, closed, *decided.where(closed))
            untouched = (each for name, each in fresh.items() if name not in decided)
            yield from sorted([*filed, *untouched], key=_by_time)
            before = fresh

    def named(self, ids: Collection[str]) -> dict[str, FiledLetter]:
        """The letters of these ids; what there is not is left out.

        A letter and what was decided about it are behind its source, by the log's time, and mostly in the partition of
        the same number: only that is read. Where it is not there, all of the topic is.

        :raises LogError: the log cannot be read.
        """
        starts = self._starts(ids) if len(ids) <= _NAMED_MAX else {}
        streams = (self._letters_of(*start, lambda letter: letter.id in ids) for start in starts.items())
        near = {each.letter.id: each for stream in streams for each in reversed([*stream])}
        found = {each.letter.id: each for each in with_actions(self._log, [*near.values()], starts)}
        if left := {*ids} - {*found}:
            found |= {each.letter.id: each for each in self.each(lambda letter: letter.id in left)}
        return found

    def _starts(self, ids: Collection[str]) -> dict[int, int]:
        """By partition, where the first of these letters may be."""
        partitions = self._log.partitions(TOPIC)
        starts: dict[int, int] = {}
        for source in filter(None, map(place_in_id, ids)):
            record, partition = self.record(source), source[1] % partitions
            since_ms = 0 if record is None else record.timestamp_ms - CLOCKS_DIFFER_MS
            start = self._log.offset_at(TOPIC, partition, max(0, since_ms))
            starts[partition] = min(start, starts.get(partition, start))
        return starts

    def _letters_of(
        self, partition: int, start: int, wanted: Callable[[DeadLetter], bool]
    ) -> Iterator[FiledLetter]:  # fmt: skip
        """What is wanted of a partition, to its end as of now, without what was decided; read so many at a time."""
        end = self._log.end_offset(TOPIC, partition)
        for first in range(start, end, self._at_once):
            ends = {(TOPIC, partition): min(first + self._at_once, end)}
            found = map(self._letter, stored_records(self._log, {(TOPIC, partition): first}, ends, deadline=_WAIT))
            yield from [each for each in found if each is not None and wanted(each.letter)]

    def _letter(self, record: Record) -> FiledLetter | None:
        try:
            found = decode_dead(record)
        except MalformedRecordError:
            self.unreadable += 1
            return None
        return FiledLetter(found, record.partition, record.offset, ()) if isinstance(found, DeadLetter) else None

    def _unwritten(self, hashes: Sequence[int], partitions: int) -> Iterator[FiledLetter]:
        """What a letter about a delivery would say, where `hashes`, of the letters' ids, have none."""
        if self._since_ms is None or self._archive is None:
            return
        known = np.sort(np.array(hashes, np.uint64))
        for row in LedgerReader(self._archive / LEDGER, self._log).undelivered(self._since_ms):
            stage = "transactional" if row["source"] == "p" else "deliver"
            key = delivery_key(row["emission_id"], row["user"], row["channel"], row["device"])
            name = failed_delivery_id(stage, row["place"], key)
            [wanted] = _hash_in(name)
            at = np.searchsorted(known, np.uint64(wanted))
            if at == len(known) or known[at] != wanted:
                letter = DeadLetter(
                    id=name, source=row["place"], kind="failed", error=row["reason"] or "",
                    event_id=row["first_event_id"], sender_id=row["sender_id"], type=row["type"], stage=stage,
                    at=row["at"],
                )  # fmt: skip
                yield FiledLetter(letter, letter.source[1] % partitions, -1, ())

    def record(self, source: LogPosition) -> Record | None:
        """The record at a place, or None where neither the log nor the archive holds it any more.

        :raises LogError: the log cannot be read.
        """
        topic, partition, offset = source
        try:
            raw = None if topic == LEDGER else self._archive  # which has the ledger in columns
            records = TopicRecords(topic, archive=raw, log=self._log)
            for chunk in records.read(partition, offset, offset + 1):
                for record in chunk:
                    return record
        except (OffsetOutOfRangeError, UnknownTopicError):
            return None
        return None

    def any_later(self, source: LogPosition, matches: Callable[[Record], bool]) -> bool:
        """Whether a record behind this place, in the log, matches. Reads on to the end of the partition."""
        topic, partition, offset = source
        start = max(offset + 1, self._log.begin_offset(topic, partition))
        return any(matches(record) for record in self._records(topic, partition, start))

    def _records(self, topic: str, partition: int, start: int) -> Iterator[Record]:
        """From an offset to the end as of now."""
        return stored_records(self._log, {(topic, partition): start}, deadline=_WAIT)


class _Closed:
    """The letters about which something was decided, by a hash of each id, and where that stands."""

    def __init__(self, log: Log, starts: Mapping[int, int]) -> None:
        self._log = log
        self._first, self._last = dict[int, int](), dict[int, int]()
        """Offsets; the last one of those about which more than one thing was decided."""
        self._next = {(TOPIC, number): start for number, start in starts.items()}

    def read_on(self) -> None:
        """Take what was decided since the last call."""
        ends = self._log.end_offsets(list(self._next))
        for records in stored_batches(self._log, self._next, ends, deadline=_WAIT):
            for record in records:
                if ("schema", ACTION_SCHEMA) in record.headers and (action := _action(record)) is not None:
                    name = _short(action.id)
                    if self._first.setdefault(name, record.offset) != record.offset:
                        self._last[name] = record.offset
        self._next = ends

    def __contains__(self, name: str) -> bool:
        return _short(name) in self._first

    def where(self, letters: Sequence[FiledLetter]) -> tuple[dict[int, int], dict[int, int]]:
        """By partition, from which to which offset there is everything that was decided about these letters."""
        starts, ends = dict[int, int](), dict[int, int]()
        for each in letters:
            name, number = _short(each.letter.id), each.partition
            first = self._first[name]
            starts[number] = min(first, starts.get(number, first))
            ends[number] = max(self._last.get(name, first) + 1, ends.get(number, 0))
        return starts, ends


def _short(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode())


def with_actions(
    log: Log, letters: Sequence[FiledLetter], starts: Mapping[int, int] | None = None,
    ends: Mapping[int, int] | None = None, within: timedelta | None = None,
) -> list[FiledLetter]:  # fmt: skip
    """The letters with what was decided about each: it may be anywhere in its partition, also before it, where a crash
    had it written again. So all actions are looked at, by their headers: a microsecond a record.

    :param starts: by partition, where they may begin; the beginning by default. Likewise `ends`.
    :raises LogError: the log cannot be read, or not `within` that time.
    """
    actions: dict[str, list[DeadAction]] = {each.letter.id: [] for each in letters}
    places = [(TOPIC, number) for number in {each.partition for each in letters}]
    given = {place: log.begin_offset(*place) if starts is None else starts[place[1]] for place in places}
    give_up = None if within is None else time.monotonic() + within.total_seconds()
    until = None if ends is None else {place: ends[place[1]] for place in places}
    for records in stored_batches(log, given, until, deadline=_WAIT):
        for record in records:
            if ("schema", ACTION_SCHEMA) in record.headers and (found := _action(record)) and found.id in actions:
                actions[found.id].append(found)
        if give_up is not None and within is not None and time.monotonic() > give_up:
            raise LogUnavailableError(f"{TOPIC} could not be read within {within.total_seconds():.0f} s")
    return [each._replace(actions=tuple(actions[each.letter.id])) for each in letters]


def _action(record: Record) -> DeadAction | None:
    try:
        return decode_action(record.value)
    except MalformedRecordError:
        return None


def _hash_in(name: str) -> list[int]:
    """What the id of a delivery's letter ends in (`failed_delivery_id`); none in other ids."""
    end = name.rpartition("/")[2]
    return [int(end, 16)] if _HASH.fullmatch(end) else []


def _by_time(filed: FiledLetter) -> tuple[int, str]:
    return filed.letter.at, filed.letter.id


def decode_dead(record: Record) -> DeadLetter | DeadAction:
    """What a record of the topic says.

    :raises MalformedRecordError: nothing that this version knows.
    """
    schema = dict(record.headers).get("schema", b"")
    if schema == ACTION_SCHEMA:
        return decode_action(record.value)
    if schema == LETTER_SCHEMA:
        return decode_letter(record.value)
    raise MalformedRecordError(f"{TOPIC}/{record.partition}: {record.offset} is of no schema of this topic")
