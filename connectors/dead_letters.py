"""The topic `dead_letters` as an operator reads it: each letter once, with what was done about it; and the records that
the letters are about, from the log or, where that has dropped them, from the archive.

A delivery that ended as DEAD_LETTER because its address is gone raises no alarm, so no letter is written. An operator
sees one all the same, made of its record on the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
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
)
from state.model.delivery import delivery_key
from state.model.envelope import LogPosition
from state.model.errors import MalformedRecordError, OffsetOutOfRangeError, UnknownTopicError

TOPIC = "dead_letters"
_WAIT = timedelta(seconds=5)
_FIRST_LOOK = 256
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

    def find(self, wanted: Callable[[DeadLetter], bool], *, newest: int | None = None) -> FoundLetters:
        """The letters that are wanted, by (time, id); one that was written twice comes once.

        :param newest: no more than these; of the topic only its last records are read. None: all.
        :raises LogError: the log cannot be read.
        """
        letters: dict[str, tuple[DeadLetter, int, int]] = {}
        actions: dict[str, list[DeadAction]] = {}
        hashes: set[str] = set()
        unreadable = 0
        for partition in range(self._log.partitions(TOPIC)):
            for record in self._records(TOPIC, partition, self._start(partition, wanted, newest)):
                try:
                    found = _decoded(record)
                except MalformedRecordError:
                    unreadable += 1
                    continue
                if isinstance(found, DeadAction):
                    actions.setdefault(found.id, []).append(found)
                    continue
                hashes.add(found.id.rpartition("/")[2])
                if wanted(found):
                    letters.setdefault(found.id, (found, record.partition, record.offset))
        for made in self._unwritten(hashes):
            if wanted(made):
                letters[made.id] = made, made.source[1] % self._log.partitions(TOPIC), -1
        filed = [FiledLetter(*letter, tuple(actions.get(name, ()))) for name, letter in letters.items()]
        filed.sort(key=lambda each: (each.letter.at, each.letter.id))
        return FoundLetters(filed if newest is None else filed[max(0, len(filed) - newest) :], unreadable)

    def _start(self, partition: int, wanted: Callable[[DeadLetter], bool], newest: int | None) -> int:
        """An offset behind which a partition has so many letters; what was decided about them follows them."""
        begin, stop = self._log.begin_offset(TOPIC, partition), self._log.end_offset(TOPIC, partition)
        names, look = set[str](), _FIRST_LOOK
        while newest is not None and stop > begin:
            first = max(begin, stop - look)
            for record in stored_records(
                self._log, {(TOPIC, partition): first}, {(TOPIC, partition): stop}, deadline=_WAIT
            ):
                found = _decoded_if_it_can(record)
                if isinstance(found, DeadLetter) and wanted(found):
                    names.add(found.id)
            if len(names) >= newest:
                return first
            stop, look = first, 2 * look
        return begin

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


def _decoded_if_it_can(record: Record) -> DeadLetter | DeadAction | None:
    try:
        return _decoded(record)
    except MalformedRecordError:
        return None


def _decoded(record: Record) -> DeadLetter | DeadAction:
    schema = dict(record.headers).get("schema", b"")
    if schema == ACTION_SCHEMA:
        return decode_action(record.value)
    if schema == LETTER_SCHEMA:
        return decode_letter(record.value)
    raise MalformedRecordError(f"{TOPIC}/{record.partition}: {record.offset} is of no schema of this topic")
