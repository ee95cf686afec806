"""What flows with stores of their own share: where to go on in the log, and what is set aside there."""

import sqlite3
from collections.abc import Callable

import structlog

from connectors.log.interface import Log, NewRecord, Record
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
from state.model.errors import LogError, MalformedRecordError, StateDamagedError, StateError

_KEY_LENGTH_MAX = 1024
"""Of a letter: poison may have a key of any length."""
_logger = structlog.get_logger(__name__)


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
    return damaged or isinstance(error, LogError | StateError | MemoryError | sqlite3.OperationalError)


def dead_action(action: DeadAction, partition: int) -> NewRecord:
    """What an operator decided about a letter, for the partition of the letter."""
    headers = (("schema", ACTION_SCHEMA),)
    return NewRecord("dead_letters", partition, action.id.encode(), encode_action(action), headers)
