"""The topic `dead_letters` as an operator reads it: each letter once, with what was done about it; and the records that
the letters are about, from the log or, where that has dropped them, from the archive.

A delivery that ended as DEAD_LETTER because its address is gone raises no alarm, so no letter is written. An operator
sees one all the same, made of its record on the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from connectors.archive.ledger import LedgerReader
from connectors.archive.records import TopicRecords
from connectors.archive.states import TOPIC as LEDGER
from connectors.log.interface import Log, Record
from connectors.log.read_to_ends import stored_records
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
from state.model.errors import MalformedRecordError, OffsetOutOfRangeError, UnknownTopicError

TOPIC = "dead_letters"
_WAIT = timedelta(seconds=5)
_NAMED_MAX = 32
"""Ids; for more it is cheaper to read the whole topic."""
_CLOCKS_DIFFER_MS = 600_000
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


class FoundLetters(NamedTuple):
    """Letters by time."""

    letters: list[FiledLetter]
    unreadable: int
    """Records of the topic that are neither a letter nor an action."""


class DeadLetters:
    """Reads; the caller keeps the log open. Memory is that of the letters asked for."""

    def __init__(self, log: Log, archive: Path | None, *, deliveries_since_ms: int | None = None) -> None:
        """`archive` is `DIR/archive`, if there is one; deliveries without a letter count from then on, None: never."""
        self._log, self._archive, self._since_ms = log, archive, deliveries_since_ms

    def find(self, wanted: Callable[[DeadLetter], bool]) -> FoundLetters:
        """All letters that are wanted, by (time, id); one that was written twice comes once. Reads the whole topic.

        :raises LogError: the log cannot be read.
        """
        partitions = range(self._log.partitions(TOPIC))
        read = self._read({partition: self._log.begin_offset(TOPIC, partition) for partition in partitions}, wanted)
        for made in self._unwritten(read.hashes):
            if wanted(made):
                read.letters[made.id] = made, made.source[1] % len(partitions), -1
        filed = read.filed()
        filed.sort(key=lambda each: (each.letter.at, each.letter.id))
        return FoundLetters(filed, read.unreadable)

    def named(self, ids: Collection[str]) -> dict[str, FiledLetter]:
        """The letters of these ids; what there is not is left out.

        A letter and what was decided about it are behind its source, by the log's time, and mostly in the partition of
        the same number: only that is read. Where it is not there, all of the topic is.

        :raises LogError: the log cannot be read.
        """
        found: dict[str, FiledLetter] = {}
        starts = self._starts(ids) if len(ids) <= _NAMED_MAX else {}
        if starts:
            found = {each.letter.id: each for each in self._read(starts, lambda letter: letter.id in ids).filed()}
        if left := {*ids} - {*found}:
            found |= {each.letter.id: each for each in self.find(lambda letter: letter.id in left).letters}
        return found

    def _starts(self, ids: Collection[str]) -> dict[int, int]:
        """By partition, where the first of these letters may be."""
        partitions = self._log.partitions(TOPIC)
        starts: dict[int, int] = {}
        for source in filter(None, map(place_in_id, ids)):
            record, partition = self.record(source), source[1] % partitions
            since_ms = 0 if record is None else record.timestamp_ms - _CLOCKS_DIFFER_MS
            start = self._log.offset_at(TOPIC, partition, max(0, since_ms))
            starts[partition] = min(start, starts.get(partition, start))
        return starts

    def _read(self, starts: Mapping[int, int], wanted: Callable[[DeadLetter], bool]) -> _Gathered:
        read = _Gathered(wanted)
        for partition, start in starts.items():
            for record in self._records(TOPIC, partition, start):
                read.take(record)
        return read

    def _unwritten(self, hashes: Container[str]) -> Iterator[DeadLetter]:
        """What a letter about a delivery would say, where `hashes`, the ends of the letters' ids, have none."""
        if self._since_ms is None or self._archive is None:
            return
        for row in LedgerReader(self._archive / LEDGER, self._log).undelivered(self._since_ms):
            stage = "transactional" if row["source"] == "p" else "deliver"
            key = delivery_key(row["emission_id"], row["user"], row["channel"], row["device"])
            name = failed_delivery_id(stage, row["place"], key)
            if name.rpartition("/")[2] not in hashes:
                yield DeadLetter(
                    id=name, source=row["place"], kind="failed", error=row["reason"] or "",
                    event_id=row["first_event_id"], sender_id=row["sender_id"], type=row["type"], stage=stage,
                    at=row["at"],
                )  # fmt: skip

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


class _Gathered:
    """What is wanted of the records of the topic, in order."""

    def __init__(self, wanted: Callable[[DeadLetter], bool]) -> None:
        self._wanted = wanted
        self.letters: dict[str, tuple[DeadLetter, int, int]] = {}
        self._actions: dict[str, list[DeadAction]] = {}
        self.hashes: set[str] = set()
        """The ends of all letters' ids."""
        self.unreadable = 0

    def take(self, record: Record) -> None:
        try:
            found = decode_dead(record)
        except MalformedRecordError:
            self.unreadable += 1
            return
        if isinstance(found, DeadAction):
            self._actions.setdefault(found.id, []).append(found)
            return
        self.hashes.add(found.id.rpartition("/")[2])
        if self._wanted(found):
            self.letters.setdefault(found.id, (found, record.partition, record.offset))

    def filed(self) -> list[FiledLetter]:
        return [FiledLetter(*letter, tuple(self._actions.get(name, ()))) for name, letter in self.letters.items()]


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
