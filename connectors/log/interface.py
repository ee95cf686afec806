"""The log as the rest of the system sees it: topics of ordered partitions, appended to and read by offset.

Two implementations keep the same laws (`tests/connectors/log`): `connectors.log.embedded.log` (SQLite files
of one machine) and `connectors.log.kafka.log`. The laws, in short:

- Records of one partition are read in the order of their offsets, which rise and may have gaps (compaction).
- An append is durable when it returns; one that fails raises `LogUnavailableError`, and may have been stored or not,
  but never behind a later append of the same `Log`.
- Reading starts at explicit offsets. Nothing is skipped silently: an offset that retention has removed raises
  `OffsetOutOfRangeError`. Compaction is no removal: a key's newest record stays.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol

from state.model.errors import LogError

Headers = tuple[tuple[str, bytes], ...]
"""Names and values in the order in which they were appended; a name may repeat."""

RECORD_MAX_BYTES = 8 << 20
"""An append of a larger value raises LogError and stores nothing of the record: no retry can help."""


class Record(NamedTuple):
    """One record as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """The log's clock at the append, milliseconds since 1970 in UTC."""
    key: bytes
    value: bytes
    """Empty in a compacted topic: a tombstone, which removes the key."""
    headers: Headers


class NewRecord(NamedTuple):
    """One record to append."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: Headers = ()


class TopicSpec(NamedTuple):
    """What a topic should be. `retention_ms` of None keeps records for ever."""

    name: str
    partitions: int
    compacted: bool = False
    retention_ms: int | None = None


def other_partitions(spec: TopicSpec, found: int) -> LogError:
    """What a topic that exists with another number says."""
    return LogError(
        f"topic {spec.name} has {found} partitions, not {spec.partitions}: log.partitions is fixed once there are "
        "topics; set it as it was"
    )


OWNERS = "owners"
"""The topic of claims: one partition, compacted (TOPICS.md)."""


class Claim(NamedTuple):
    """That one process of a flow owns its place: what `connectors.log.owners` makes and appends are checked by."""

    flow: str
    process: int
    """Its number, from 0."""
    processes: int
    """How many the flow has; places beyond belong to nobody any more."""
    epoch: int
    """Later claims have higher ones."""

    @property
    def owner(self) -> str:
        """The name of the place."""
        return f"{self.flow}/{self.process}"


class Log(Protocol):
    """A log opened by one process. Every method may be called by any thread; all of them may block."""

    def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics that are missing; one that exists keeps its records and its number of partitions.

        :raises LogError: a topic exists with another number of partitions.
        """
        ...

    def partitions(self, topic: str) -> int:
        """Give the number of partitions.

        :raises UnknownTopicError: there is no such topic; `ensure_topics` makes it.
        """
        ...

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        """Store the records durably, in order per partition, and give their offsets in the order of the input.

        :raises LogUnavailableError: not acknowledged in time; any part of the records may have been stored.
        :raises LogError: a value is larger than RECORD_MAX_BYTES. This and an unknown topic leave nothing stored.
        :raises UnknownTopicError: a topic or partition does not exist.
        """
        ...

    def reader(self, start: Mapping[tuple[str, int], int]) -> Reader:
        """Read the (topic, partition) pairs from these offsets on: one consumer, however many partitions."""
        ...

    def begin_offset(self, topic: str, partition: int) -> int:
        """Give the oldest offset that may be read."""
        ...

    def end_offset(self, topic: str, partition: int) -> int:
        """Give the offset that the next record will get."""
        ...

    def end_offsets(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Give the next offsets of several partitions: on Kafka with one question."""
        ...

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Give the first offset whose record is not older than the time; the end offset if there is none."""
        ...

    def close(self) -> None:
        """Free everything; readers of this log must be closed before."""
        ...


class ClaimableLog(Log, Protocol):
    """A log with owners: opened under a claim, its appends are checked by the claim."""

    def fence(self, claim: Claim, topics: Sequence[str]) -> None:
        """From now on, nothing that an earlier owner of the place appends to these topics is read.

        :raises StateFencedError: a later claim holds already.
        :raises LogError: the log cannot be read or written.
        """
        ...


class Reader(Protocol):
    """A cursor over several partitions, used by one thread at a time."""

    def poll(self, max_records: int, wait: timedelta, only: Container[tuple[str, int]] | None = None) -> list[Record]:
        """Take up to `max_records`, in order per partition and fair between partitions, and move past them.

        Waits up to `wait` for the first record, without polling: an append wakes it. It also returns, with nothing,
        when it has moved past records that nobody gets (void ones on Kafka). `only` restricts this call to some of the
        partitions; the others stay where they are.

        :raises OffsetOutOfRangeError: retention has removed a partition's next offset; `seek` decides where to go on.
        :raises LogUnavailableError: the log cannot be read.
        """
        ...

    def position(self) -> dict[tuple[str, int], int]:
        """Give the next offset of every partition."""
        ...

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Go on at this offset."""
        ...

    def close(self) -> None:
        """Free the cursor."""
        ...
