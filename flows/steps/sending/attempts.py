"""Topic `attempts`, written by the dispatcher and read by a starting lane (DECISIONS, Intent before the first byte)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from connectors.log.grouped import BatchingAppender
from connectors.log.interface import Log, NewRecord, Record
from connectors.log.read_to_ends import stored_records
from operators.attempts import DeliveryHistory
from state.model.dead_letter import error_text
from state.model.delivery import ATTEMPT, Attempt
from state.model.envelope import header
from state.model.errors import MalformedRecordError

TOPIC = "attempts"
_FAR_FUTURE_MS = 1 << 62
_logger = structlog.get_logger(__name__)


class AttemptLog:
    """Appends in groups, and knows for each partition an offset below which all its own records are."""

    def __init__(self, appender: BatchingAppender, partitions: int) -> None:
        self._appender = appender
        self.ends = [0] * partitions
        """The offset after the last own record, per partition."""

    async def append(self, records: Sequence[tuple[int, Attempt]], *, urgent: bool = False) -> None:
        """Store the records durably, in order per partition.

        :raises LogError: they are not stored, or perhaps not.
        """
        if not records:
            return
        offsets = await self._appender.append(
            [
                NewRecord(TOPIC, partition, record.key.encode(), ATTEMPT.encode(record), ATTEMPT.headers)
                for partition, record in records
            ],
            urgent=urgent,
        )
        for (partition, _), offset in zip(records, offsets, strict=True):
            if offset >= self.ends[partition]:
                self.ends[partition] = offset + 1


@dataclass(slots=True)
class Recovered:
    """What a partition says of its deliveries from `start` to `end`."""

    start: int
    end: int
    histories: dict[str, DeliveryHistory] = field(default_factory=dict)
    """By delivery key; who takes one over removes it."""
    taken: int = 0
    """Below this offset all concerns records that the last run had taken at its last commit."""
    settled: set[str] = field(default_factory=set)
    """Keys of which nothing is above that: whatever nobody takes over once these records are read again is closed."""
    trimmed_before_ms: int | None = None
    """Older attempts were asked for, and are retained no more; None: nothing is missing."""

    def forget_settled(self) -> None:
        """The records below `taken` were read again."""
        for key in self.settled:
            self.histories.pop(key, None)
        self.settled.clear()

    def forget(self) -> None:
        """All records were."""
        self.histories.clear()
        self.settled.clear()


def recover(log: Log, partition: int, start: int, taken: int) -> Recovered:
    """Read a partition from `start` to its present end.

    :raises LogError: it cannot be read; nothing may be sent without it.
    """
    place, begin = (TOPIC, partition), log.begin_offset(TOPIC, partition)
    recovered = Recovered(max(start, begin), log.end_offset(TOPIC, partition))
    recovered.taken = min(taken, recovered.end)
    if begin > start:
        recovered.trimmed_before_ms = _FAR_FUTURE_MS
    for record in stored_records(log, {place: recovered.start}, {place: recovered.end}):
        _apply(recovered, record)
    return recovered


def _apply(recovered: Recovered, record: Record) -> None:
    if recovered.trimmed_before_ms is not None:
        recovered.trimmed_before_ms = min(recovered.trimmed_before_ms, record.timestamp_ms)
    if header(record.headers, "schema") == ATTEMPT.json:
        attempt = read_attempt(record)
        recovered.histories.setdefault(attempt.key, DeliveryHistory()).apply(attempt)
        if record.offset < recovered.taken:
            recovered.settled.add(attempt.key)
        else:
            recovered.settled.discard(attempt.key)


def read_attempt(record: Record) -> Attempt:
    """The record; one that does not decode counts as an intent without an answer, since it may have been one."""
    try:
        return ATTEMPT.decode(record.value)
    except MalformedRecordError as error:
        _logger.warning("attempt_malformed", partition=record.partition, offset=record.offset, error=error_text(error))
        return Attempt(state="intent", key=record.key.decode("utf-8", "replace"), at=record.timestamp_ms)
