"""What becomes of a record that cannot be handled, the same at every station; and where to go on in the log.

A record may not decode, may make the rules raise an error, or may have ended the process five times in a row
(`state.disk.poison`). It is set aside: a dead letter says so, and the station goes on with its state as it was before
the record. An error of the log or of the store says nothing about the record: it ends the flow.
"""

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeVar

import structlog

from connectors.log.interface import Log, NewRecord, Record
from connectors.log.read_to_ends import stored_records
from connectors.metrics import DEAD_LETTERS
from state.disk.poison import PoisonJournal, RecordLocation
from state.model.dead_letter import (
    ACTION_SCHEMA,
    KILLED,
    LETTER_SCHEMA,
    DeadAction,
    DeadLetter,
    Kind,
    encode_action,
    encode_letter,
    error_text,
    letter_id,
    names_in,
)
from state.model.errors import (
    LogError,
    MalformedRecordError,
    StateDamagedError,
    StateError,
    StoreUnavailableError,
)
from state.progress import made

_KEY_LENGTH_MAX = 1024
"""Of a letter: poison may have a key of any length."""
_logger = structlog.get_logger(__name__)


_T = TypeVar("_T")


def _nowhere(_offset: int) -> None:
    """Nothing was begun."""


class Unhandled(NamedTuple):
    """Why a record could not be handled; no error: it ended the process again and again."""

    error: Exception | None


class RecordHandler:
    """Handles the records of one station, each noted in the journal while it is in hand."""

    def __init__(self, stage: str, journal: PoisonJournal, partitions: int) -> None:
        """`partitions` of `dead_letters`."""
        self._stage, self._journal, self._partitions = stage, journal, partitions

    def handle(
        self, where: RecordLocation, make: Callable[[], _T], settle: Callable[[_T], None] = lambda _made: None
    ) -> _T | Unhandled:
        """What `make` gives. It must leave the state as it was when it raises; `settle` then changes the state.

        :raises LogError, StateError, MemoryError: no fault of the record; the flow ends.
        """
        if self._journal.suspect(*where):
            return Unhandled(None)
        self._journal.begin(*where)
        try:
            made = make()
        except MemoryError:
            raise  # it stays noted: a record that needs too much is skipped in the end
        except Exception as error:
            self._journal.end()
            if environment_failed(error):
                raise
            return Unhandled(error)
        settle(made)
        self._journal.end()
        return made

    def batch(self) -> "RecordBatch":
        """For one thread that handles many records at a time."""
        return RecordBatch(self, self._journal)

    def set_aside(self, record: Record, unhandled: Unhandled, at: int, group: int | None = None) -> NewRecord:
        """The dead letter, for the caller to append before the record counts as read; it is counted and logged."""
        letter = dead_letter(
            record, unhandled.error, stage=self._stage, at=at, partitions=self._partitions, group=group
        )
        DEAD_LETTERS.labels(self._stage).inc()
        _logger.error(
            "record_set_aside", stage=self._stage, topic=record.topic, partition=record.partition,
            offset=record.offset, group=group,
            error=KILLED if unhandled.error is None else type(unhandled.error).__name__,
        )  # fmt: skip
        return letter


class RecordBatch:
    """Handles record after record as `RecordHandler.handle` does, with one note in the journal, which moves on; but
    nothing is noted any more after `end`.
    """

    def __init__(self, handler: RecordHandler, journal: PoisonJournal) -> None:
        self._handler, self._journal = handler, journal
        self._counts = journal.counts
        self._move_on: Callable[[int], object] = _nowhere
        self._place: tuple[str, int, int] | None = None

    def handle(
        self, topic: str, partition: int, offset: int, group: int, make: Callable[..., _T], *given: object
    ) -> _T | Unhandled:
        """What `make` gives. It stays noted until the next one, or the end."""
        place = topic, partition, group
        if self._counts:
            return self._handler.handle(RecordLocation(topic, partition, offset, group), partial(make, *given))
        if place == self._place:
            made()
            self._move_on(offset)
        else:
            self._journal.begin(topic, partition, offset, group)
            self._place, self._move_on = place, self._journal.mover()
        try:
            return make(*given)
        except MemoryError:
            raise
        except Exception as error:
            self.end()
            if environment_failed(error):
                raise
            return Unhandled(error)

    def end(self) -> None:
        """All of them are processed."""
        if self._place is not None:
            self._place = None
            self._journal.end()


def location_of(record: Record, group: int = -1) -> RecordLocation:
    """As the journal names it."""
    return RecordLocation(record.topic, record.partition, record.offset, group)


def resume_offset(open_log: Callable[[], Log], stored: int, topic: str, partition: int) -> int:
    """Where to read on in a compacted topic behind what a store holds; a store that is new begins with the oldest.

    :raises StateDamagedError: the log is not the one that the store has read.
    """
    log = open_log()
    try:
        begin, end = log.begin_offset(topic, partition), log.end_offset(topic, partition)
    finally:
        log.close()
    if stored and not begin <= stored <= end:
        raise StateDamagedError(
            f"the state goes on at {topic}/{partition} offset {stored}, and the log ends at {end} and begins at"
            f" {begin}: the log was lost, or is another one. Restore the log, or move the state directory of {topic}"
            f" aside: it is made again from the topic"
        )
    return stored or begin


def dead_letter(
    record: Record,
    error: Exception | None,
    *,
    stage: str,
    at: int,
    partitions: int,
    group: int | None = None,
) -> NewRecord:
    """Says that a record could not be handled (TOPICS.md, `dead_letters`); the record itself stays where it is.

    Without an error it is one that ended the process again and again. `partitions` of `dead_letters`: a topic of lanes
    has more. `group` is the one that skipped it, at the stage `decide`.
    """
    source = (record.topic, record.partition, record.offset)
    names = names_in(record.value)
    letter = DeadLetter(
        id=letter_id(stage, source, group),
        source=source,
        group=group,
        kind=_kind(error),
        error=KILLED if error is None else error_text(error),
        event_id=names.event_id,
        sender_id=names.sender_id,
        type=names.type,
        stage=stage,
        at=at,
    )
    headers = (("schema", LETTER_SCHEMA),)
    key = record.key if len(record.key) <= _KEY_LENGTH_MAX else b""
    return NewRecord("dead_letters", record.partition % partitions, key, encode_letter(letter), headers)


def _kind(error: Exception | None) -> Kind:
    if error is None:
        return "killed"
    return "malformed" if isinstance(error, MalformedRecordError) else "raised"


def environment_failed(error: Exception) -> bool:
    """Whether an error says nothing about the record at hand: the log or the state is at fault, and the flow ends.

    A full disk and missing memory are such errors. A record that needs too much of them fails again after each restart,
    and is found by the journal of records in hand.
    """
    damaged = type(error) is sqlite3.DatabaseError
    return damaged or isinstance(
        error, LogError | StateError | StoreUnavailableError | MemoryError | sqlite3.OperationalError
    )


def dead_action(action: DeadAction, partition: int) -> NewRecord:
    """What an operator decided about a letter, for the partition of the letter."""
    headers = (("schema", ACTION_SCHEMA),)
    return NewRecord("dead_letters", partition, action.id.encode(), encode_action(action), headers)


def read_dead_letters(log: Log) -> Iterator[Record]:
    """All that `dead_letters` retains now, in order per partition.

    :raises LogUnavailableError: nothing came for half a minute.
    """
    places = [("dead_letters", partition) for partition in range(log.partitions("dead_letters"))]
    return stored_records(log, {place: log.begin_offset(*place) for place in places})
