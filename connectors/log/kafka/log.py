"""The log on Apache Kafka: an idempotent producer that reports every failure, and consumers without a group.

- An append returns when every record has its delivery report (acks=all). No report within the deadline is an error, and
  what is still queued is dropped, so that nothing is sent later without the caller's knowledge. What a broker has
  received already may still be stored, but never behind a later append of the same log (`kafka.appending`).
- A broker that hangs is given up after seconds (`_CLIENT`), and one that returns is found within half a second: the
  client's own defaults are a minute and ten seconds.
- Readers keep their offsets: partitions are assigned, nothing is committed, an offset that is gone is an error.
- Who appended a record, and which records are void: `kafka.fencing`, `kafka.markers`.
- Kafka's null is the empty value here: appended empty values are tombstones, and null keys are read as empty.
- Topics made here take the broker's clock as the time of a record (LogAppendTime), and records up to
  `RECORD_MAX_BYTES`. They never choose a leader that lacks acknowledged records, and acknowledge with two copies where
  they have three.

Fairness between partitions is that of the fetches: a partition's turn is at most about a megabyte.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]  # the package re-exports both

from connectors.log.interface import RECORD_MAX_BYTES, Claim, NewRecord, TopicSpec, other_partitions
from connectors.log.kafka.appending import ConfirmingProducer
from connectors.log.kafka.errors import may_pass, named_errors, unless
from connectors.log.kafka.fencing import owner_header
from connectors.log.kafka.locating import locate
from connectors.log.kafka.markers import Publications, lay_markers
from connectors.log.kafka.options import KafkaOptions
from connectors.log.kafka.reading import KafkaReader
from state.model.errors import LogError, LogUnavailableError, UnknownTopicError

_log = logging.getLogger(__name__)
T = TypeVar("T")

_REFRESH = timedelta(seconds=1)
_RETRY = timedelta(milliseconds=20)
_ASK = timedelta(seconds=2)
"""One question: the broker that was asked may be the one that hangs, so it is asked again until the deadline."""
_SPREADS = timedelta(seconds=1)
"""How long one broker may not know yet of a topic that another one has made."""
_CLOCKS_APART_MS = 60_000
_NONE_FOUND = -1
"""What brokers say when no record is young enough; below are the client's own marks."""
_COPIES = 3
_CLIENT: dict[str, Any] = {
    "socket.timeout.ms": 5_000,
    "socket.connection.setup.timeout.ms": 3_000,
    "socket.keepalive.enable": True,
    "api.version.request.timeout.ms": 3_000,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 1_000,
}
"""How soon a hanging broker is given up, and how soon one that is back is found. A client that has nothing to send, or
waits for the one that hangs, learns within a second who leads instead.
"""
_QUESTIONS = {"socket.timeout.ms": int(_ASK.total_seconds() * 1000)}
"""Who asks questions may be connected to the broker that hangs alone: it turns to others when it gives that one up."""
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the library lacks its annotation
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # same reason


class KafkaLog:
    """See `connectors.log.interface.Log`. One producer and one thread that serves its reports."""

    def __init__(
        self,
        bootstrap: str,
        *,
        prefix: str = "",
        options: KafkaOptions | None = None,
        claim: Claim | None = None,
        compacted: Container[str] = (),
    ) -> None:
        """Connect lazily; `prefix` is put before every topic name on the brokers and nowhere else.

        `claim`: whose appends they are. `compacted` topics have no owners: there a void record would take the place of
        a valid one.
        """
        self._options, self._compacted = options or KafkaOptions(), compacted
        self._owner = None if claim is None else owner_header(claim)
        self._publications = Publications(self)
        self._deadline_s = self._options.deadline.total_seconds()
        self._prefix = prefix
        self._common: dict[str, Any] = {
            "bootstrap.servers": bootstrap, "logger": _log, **_CLIENT, **self._options.client_settings,
        }  # fmt: skip
        self._admin = AdminClient({**self._common, **_QUESTIONS, **self._options.client_settings})
        self._appender: ConfirmingProducer | None = None
        self._numbers: dict[str, int] = {}
        self._stored: dict[tuple[str, int], int] = {}
        """The highest offset of an own record, by partition."""
        self._lock = threading.Lock()

    def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create missing topics and wait until they can be used."""
        copies = self._copies()
        wanted = [self._new_topic(spec, copies) for spec in specs]
        if wanted:
            self._patiently(lambda _: self._create(wanted))
        for spec in specs:
            found = self._await_topic(spec.name)
            if found != spec.partitions:
                raise other_partitions(spec, found)

    def partitions(self, topic: str) -> int:
        """Give the number of partitions."""
        give_up = time.monotonic() + _SPREADS.total_seconds()
        while topic not in self._numbers:
            self._learn()
            if topic not in self._numbers:
                if time.monotonic() > give_up:
                    raise UnknownTopicError(f"topic {topic!r} does not exist")
                time.sleep(_RETRY.total_seconds())
        return self._numbers[topic]

    def knows(self, topic: str) -> bool:
        """Whether there is such a topic, without waiting for one that was made just now."""
        if topic not in self._numbers:
            self._learn()
        return topic in self._numbers

    def _learn(self) -> None:
        """Ask which topics there are."""
        topics = self._patiently(lambda ask_s: self._admin.list_topics(timeout=ask_s).topics)
        self._numbers |= {
            name.removeprefix(self._prefix): len(found.partitions)
            for name, found in topics.items()
            if name.startswith(self._prefix) and not found.error
        }

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        """Produce the records and wait for every delivery report."""
        for topic, number in {record[:2] for record in records}:
            if not 0 <= number < self.partitions(topic):
                raise UnknownTopicError(f"topic {topic} has no partition {number}")
        largest = max(records, key=lambda record: len(record.value), default=None)
        if largest and len(largest.value) > RECORD_MAX_BYTES:
            size = len(largest.value)
            raise LogError(f"a record of {size} bytes for {largest.topic} is larger than {RECORD_MAX_BYTES}")
        with self._lock:
            if self._appender is None or self._appender.broken:
                self._appender = ConfirmingProducer(self._common, self._prefix, self._options.deadline)
            appender = self._appender
        before = dict(self._stored)
        records = self._owned(records)
        offsets = appender.append(records)
        located = (
            self._located(records, offsets, before) if None in offsets else [at for at in offsets if at is not None]
        )
        for record, offset in zip(records, located, strict=True):
            self._stored[record[:2]] = max(offset, self._stored.get(record[:2], 0))
        return located

    def _owned(self, records: Sequence[NewRecord]) -> Sequence[NewRecord]:
        """The records with the header that says whose they are."""
        if self._owner is None:
            return records
        return [
            record
            if record[0] in self._compacted
            else NewRecord(record[0], record[1], record[2], record[3], (*record[4], self._owner))
            for record in records
        ]

    def fence(self, claim: Claim, topics: Sequence[str]) -> None:
        """Void what earlier owners of the place append from now on, in those of the topics that are not compacted.

        :raises LogError: the log cannot be read or written; nothing may be appended under the claim then.
        """
        lay_markers(self, claim, [topic for topic in topics if topic not in self._compacted])

    def _located(
        self, records: Sequence[NewRecord], offsets: Sequence[int | None], before: Mapping[tuple[str, int], int]
    ) -> list[int]:
        """Offsets for all; `before` are places below the records, where some are known."""
        found = {index: offset for index, offset in enumerate(offsets) if offset is not None}
        for place in {record[:2] for record, offset in zip(records, offsets, strict=True) if offset is None}:
            missing = [index for index, record in enumerate(records) if offsets[index] is None and record[:2] == place]
            with contextlib.closing(self.raw_reader({place: self._below(place, before)})) as reader:
                end, wanted = self.end_offset(*place), [records[index] for index in missing]
                found.update(zip(missing, locate(reader, end, wanted, self._options.deadline), strict=True))
        return [found[index] for index in range(len(records))]

    def _below(self, place: tuple[str, int], before: Mapping[tuple[str, int], int]) -> int:
        """An offset below all of an append: behind what was stored before, or of a time well before it began."""
        if place in before:
            return before[place] + 1
        began_ms = time.time_ns() // 1_000_000 - 2 * int(self._deadline_s * 1000) - _CLOCKS_APART_MS
        return self.offset_at(*place, began_ms)

    def reader(self, start: Mapping[tuple[str, int], int]) -> KafkaReader:
        """Assign the partitions to a consumer of their own."""
        self._check(start)
        return KafkaReader(self._ask_ends, self._common, self._prefix, start, self._publications.below)

    def raw_reader(self, start: Mapping[tuple[str, int], int]) -> KafkaReader:
        """As `reader`; gives everything as it is stored, with what is void, the markers and the owners."""
        self._check(start)
        return KafkaReader(self._ask_ends, self._common, self._prefix, start, None)

    def _ask_ends(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Future[Any]]:
        """Where they end, once the brokers answer."""
        asked = {TopicPartition(self._prefix + topic, number): _LATEST for topic, number in places}
        answers = self._admin.list_offsets(asked, request_timeout=_ASK.total_seconds())
        return {(each.topic.removeprefix(self._prefix), each.partition): found for each, found in answers.items()}

    def _check(self, places: Mapping[tuple[str, int], int]) -> None:
        for topic, number in places:
            if number >= self.partitions(topic):
                raise UnknownTopicError(f"topic {topic} has no partition {number}")

    def begin_offset(self, topic: str, partition: int) -> int:
        """Give the oldest offset that may be read."""
        return self.begin_offsets([(topic, partition)])[topic, partition]

    def begin_offsets(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Give the oldest offsets of several partitions with one question."""
        return self._ask(_EARLIEST, places)

    def end_offset(self, topic: str, partition: int) -> int:
        """Give the offset that the next record will get."""
        return self.end_offsets([(topic, partition)])[topic, partition]

    def end_offsets(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Give the next offsets of several partitions with one question."""
        return self._ask(_LATEST, places) if places else {}

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Give the first offset whose record is not older than the time."""
        found = self._ask(OffsetSpec.for_timestamp(timestamp_ms), [(topic, partition)])[topic, partition]
        return found if found >= 0 else self.end_offset(topic, partition)

    def close(self) -> None:
        """Stop the producer."""
        with self._lock:
            if self._appender:
                self._appender.close()
                self._appender = None

    def _ask(self, spec: OffsetSpec, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        for topic, _ in places:
            self.partitions(topic)
        asked = {TopicPartition(self._prefix + topic, number): spec for topic, number in places}
        lowest = 0 if spec is _EARLIEST or spec is _LATEST else _NONE_FOUND
        return self._patiently(lambda ask_s: self._ask_once(asked, lowest, ask_s))

    def _patiently(self, question: Callable[[float], T]) -> T:
        """Ask again what brokers could not answer in a moment of change, until the deadline.

        The question gets the number of seconds that it may take this time.
        """
        give_up = time.monotonic() + self._deadline_s
        while True:
            left = give_up - time.monotonic()
            try:
                with named_errors():
                    return question(min(_ASK.total_seconds(), max(0.1, left)))
            except LogUnavailableError as error:
                if not may_pass(error) or time.monotonic() > give_up:
                    raise
            self._learn_leaders(give_up)

    def _learn_leaders(self, give_up: float) -> None:
        """Ask whoever answers who leads now: a question alone would ask the old leader again."""
        learnt = False
        while not learnt and time.monotonic() < give_up:
            time.sleep(_RETRY.total_seconds())
            with contextlib.suppress(KafkaException):
                self._admin.list_topics(timeout=_REFRESH.total_seconds())
                learnt = True

    def _create(self, topics: list[NewTopic]) -> None:
        for future in self._admin.create_topics(topics).values():
            with unless(KafkaError.TOPIC_ALREADY_EXISTS):
                future.result(self._deadline_s)

    def _ask_once(
        self, asked: dict[TopicPartition, OffsetSpec], lowest: int, ask_s: float
    ) -> dict[tuple[str, int], int]:
        answers = self._admin.list_offsets(asked, request_timeout=ask_s)
        found = {
            (place.topic.removeprefix(self._prefix), place.partition): future.result(ask_s).offset
            for place, future in answers.items()
        }
        if min(found.values(), default=0) < lowest:
            raise TimeoutError  # in a moment of change the client may give a mark that means "not known"
        return found

    def _copies(self) -> int:
        """How many copies topics made now get; -1 leaves it to the brokers.

        Brokers that are named and down count too: their topics are made when they are back, or not at all.
        """
        if self._options.replication:
            return self._options.replication
        brokers = self._patiently(lambda ask_s: self._admin.list_topics(timeout=ask_s).brokers)
        named = str(self._common["bootstrap.servers"]).count(",") + 1
        return min(_COPIES, max(named, len(brokers)))

    def _new_topic(self, spec: TopicSpec, copies: int) -> NewTopic:
        policies = ["compact"] * spec.compacted + ["delete"] * (spec.retention_ms is not None or not spec.compacted)
        settings = {
            "cleanup.policy": ",".join(policies),
            "retention.ms": str(-1 if spec.retention_ms is None else spec.retention_ms),
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(RECORD_MAX_BYTES + (1 << 20)),
            "unclean.leader.election.enable": "false",
            **({"min.insync.replicas": "2"} if copies >= _COPIES else {}),
            **self._options.topic_settings,
        }
        return NewTopic(self._prefix + spec.name, spec.partitions, copies, config=settings)

    def _await_topic(self, topic: str) -> int:
        """Wait until every partition of the topic has a leader, and give their number."""
        give_up = time.monotonic() + self._deadline_s
        while time.monotonic() < give_up:
            topics = self._patiently(lambda ask_s: self._admin.list_topics(timeout=ask_s).topics)
            found = topics.get(self._prefix + topic)
            if found and not found.error and all(part.leader >= 0 for part in found.partitions.values()):
                self._numbers[topic] = len(found.partitions)
                return self._numbers[topic]
            time.sleep(_RETRY.total_seconds())
        raise LogUnavailableError(f"topic {topic} has no leader after {self._deadline_s} s")
