"""What flows with stores of their own share: where to go on in the log, and what is set aside there."""

from collections.abc import Callable

import orjson
import structlog

from connectors.log.interface import Log, NewRecord, Record

_logger = structlog.get_logger(__name__)


def resume_offset(open_log: Callable[[], Log], stored: int, topic: str, partition: int) -> int:
    """Where to read on behind what a store holds; a store that is new begins with the oldest record there is."""
    if stored:
        return stored
    log = open_log()
    try:
        oldest = log.begin_offset(topic, partition)
    finally:
        log.close()
    if oldest:
        _logger.warning(
            "a store begins anew behind what the log retains", topic=topic, partition=partition, offset=oldest
        )
    return oldest


def dead_letter(record: Record, error: Exception, *, stage: str, at: int) -> NewRecord:
    """Says that a record could not be handled (TOPICS.md, `dead_letters`); the record itself stays where it is."""
    value = {
        "source": [record.topic, record.partition, record.offset],
        "error": str(error),
        "event_id": None,
        "sender_id": None,
        "stage": stage,
        "at": at,
    }
    return NewRecord("dead_letters", record.partition, record.key, orjson.dumps(value), (("schema", b"dead/1+json"),))
