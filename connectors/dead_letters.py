"""The topic `dead_letters` as an operator reads it: each letter once, with what was done about it; and the records that
the letters are about, from the log or, where that has dropped them, from the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from connectors.archive.records import TopicRecords
from connectors.log.interface import Log, Record
from connectors.log.read_to_ends import stored_records
from state.model.dead_letter import (
    ACTION_SCHEMA,
    LETTER_SCHEMA,
    DeadAction,
    DeadLetter,
    Source,
    decode_action,
    decode_letter,
    is_final,
)
from state.model.errors import MalformedRecordError, OffsetOutOfRangeError, UnknownTopicError

TOPIC = "dead_letters"
_WAIT = timedelta(seconds=5)
FINAL = "final"
OPEN = "open"


class Filed(NamedTuple):
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


class Found(NamedTuple):
    """Letters by time."""

    letters: list[Filed]
    unreadable: int
    """Records of the topic that are neither a letter nor an action."""


class DeadLetters:
    """Reads; the caller keeps the log open. Memory is that of the letters asked for."""

    def __init__(self, log: Log, archive: Path | None) -> None:
        """`archive` is `DIR/archive`, if there is one."""
        self._log, self._archive = log, archive

    def find(self, wanted: Callable[[DeadLetter], bool]) -> Found:
        """The letters in the log that are wanted, by (time, id); one that was written twice comes once.

        :raises LogError: the log cannot be read.
        """
        letters: dict[str, tuple[DeadLetter, int, int]] = {}
        actions: dict[str, list[DeadAction]] = {}
        unreadable = 0
        for partition in range(self._log.partitions(TOPIC)):
            for record in self._records(TOPIC, partition, self._log.begin_offset(TOPIC, partition)):
                try:
                    found = _decoded(record)
                except MalformedRecordError:
                    unreadable += 1
                    continue
                if isinstance(found, DeadAction):
                    actions.setdefault(found.id, []).append(found)
                elif wanted(found):
                    letters.setdefault(found.id, (found, record.partition, record.offset))
        filed = [Filed(*letter, tuple(actions.get(name, ()))) for name, letter in letters.items()]
        return Found(sorted(filed, key=lambda each: (each.letter.at, each.letter.id)), unreadable)

    def record(self, source: Source) -> Record | None:
        """The record at a place, or None where neither the log nor the archive holds it any more.

        :raises LogError: the log cannot be read.
        """
        topic, partition, offset = source
        try:
            records = TopicRecords(topic, archive=self._archive, log=self._log)
            for chunk in records.read(partition, offset, offset + 1):
                for record in chunk:
                    return record
        except (OffsetOutOfRangeError, UnknownTopicError):
            return None
        return None

    def any_later(self, source: Source, matches: Callable[[Record], bool]) -> bool:
        """Whether a record behind this place, in the log, matches. Reads on to the end of the partition."""
        topic, partition, offset = source
        start = max(offset + 1, self._log.begin_offset(topic, partition))
        return any(matches(record) for record in self._records(topic, partition, start))

    def _records(self, topic: str, partition: int, start: int) -> Iterator[Record]:
        """From an offset to the end as of now."""
        return stored_records(self._log, {(topic, partition): start}, deadline=_WAIT)


def _decoded(record: Record) -> DeadLetter | DeadAction:
    schema = dict(record.headers).get("schema", b"")
    if schema == ACTION_SCHEMA:
        return decode_action(record.value)
    if schema == LETTER_SCHEMA:
        return decode_letter(record.value)
    raise MalformedRecordError(f"{TOPIC}/{record.partition}: {record.offset} is of no schema of this topic")
