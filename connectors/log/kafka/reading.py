"""The Kafka log's reader: one consumer with assigned partitions, no group, no commits.

Void records and markers (`connectors.log.kafka.fencing`) are not handed out: the reader moves past them.

A consumer that fetches nothing any more is replaced by a new one (`connectors.log.kafka.arrivals`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Mapping
from datetime import timedelta
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as KafkaTopicPartition

from connectors.log.interface import Headers, Record
from connectors.log.kafka.arrivals import ArrivalWatch, AskEnds
from connectors.log.kafka.errors import is_passing, named_errors, translated
from connectors.log.kafka.fencing import OWNER_HEADER, FenceState, RawHeaders, read_marker
from connectors.log.kafka.markers import Marker
from state.model.envelope import TopicPartition
from state.model.errors import OffsetOutOfRangeError

_GONE = {
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - the public name of librdkafka's own code
}
_HELD_MAX = 20_000
_logger = structlog.get_logger(__name__)

MarkersBelow = Callable[[Mapping[TopicPartition, int]], dict[TopicPartition, list[Marker]]]
"""Gives the markers before these places."""


class KafkaReader:
    """See `connectors.log.interface.Reader`."""

    def __init__(
        self,
        ask_ends: AskEnds,
        common: Mapping[str, Any],
        prefix: str,
        start: Mapping[TopicPartition, int],
        markers_below: MarkersBelow | None,
    ) -> None:
        """Begin at these places. Without `markers_below` everything is given, as it is stored."""
        self._prefix = prefix
        self._sieve = None if markers_below is None else _FenceFilter(markers_below, start)
        self._watch = ArrivalWatch(ask_ends, time.monotonic())
        self._settings: dict[str, Any] = {
            "group.id": "carillon-without-group",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 5,
            "fetch.error.backoff.ms": 100,
            "queued.max.messages.kbytes": 32 << 10,
            "check.crcs": True,
            "max.poll.interval.ms": 86_400_000,  # a flow that waits for brokers to append to does not read meanwhile
            **common,
        }
        self._consumer = Consumer(self._settings)
        self._position = dict(start)
        self._only_given: Record | None = None
        """What the last call gave, where it was a single record."""
        self._held: dict[TopicPartition, list[Record]] = {}
        self._gone: dict[TopicPartition, str] = {}
        self._paused: set[TopicPartition] = set()
        self._skipped: dict[TopicPartition, int] = {}
        """The offset behind the last record that was dropped, where the position is not known to be beyond."""
        self._assign()

    def poll(self, max_records: int, wait: timedelta, only: Container[TopicPartition] | None = None) -> list[Record]:
        """Take up to `max_records`; what arrives for partitions outside of `only` is held for a later call."""
        give_up = time.monotonic() + wait.total_seconds()
        left, moved = 0.0, False
        while True:
            arrived = self._fetch(max_records, left, only)
            taken = self._take(max_records, only)
            moved = self._move_on(only) or moved
            if taken or (moved and not arrived):
                self._only_given = taken[0] if len(taken) == 1 else None
                return taken
            self._raise_gone(only)
            left = give_up - time.monotonic()
            if left <= 0:
                return []
            left = 0.0 if moved else left

    def position(self) -> dict[TopicPartition, int]:
        """Give the next offset of every partition."""
        return dict(self._position)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Go on at this offset; what was fetched for other partitions is fetched again.

        To give back the one record that was just taken fetches nothing again: while the client waits for the answer to
        its question before, which takes half a second where nothing comes, it asks no other. Who takes a record only to
        see that there is one would lose it over and over.
        """
        if (topic, partition) not in self._position:
            raise KeyError((topic, partition))
        given = self._only_given
        if given is not None and (given.topic, given.partition, given.offset) == (topic, partition, offset):
            if (behind := self._position[topic, partition]) > offset + 1:  # it moved on past what was dropped
                self._skipped[topic, partition] = max(behind, self._skipped.get((topic, partition), 0))
            self._only_given, self._position[topic, partition] = None, offset
            self._held[topic, partition] = [given, *self._held.get((topic, partition), ())]
            return
        if self._sieve is not None:
            self._sieve.go_to((topic, partition), self._position[topic, partition], offset)
        self._position[topic, partition] = offset
        self._assign()

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _assign(self) -> None:
        self._only_given = None
        self._held, self._gone, self._paused, self._skipped = {}, {}, set(), {}
        if self._sieve is not None:
            self._sieve.begin_at(self._position)
        places = [KafkaTopicPartition(self._prefix + topic, part, at) for (topic, part), at in self._position.items()]
        with named_errors():
            self._consumer.assign(places)

    def _fetch(self, max_records: int, wait_s: float, only: Container[TopicPartition] | None) -> bool:
        """Take over what has arrived, or wait for one record; `consume` alone would wait for as many as it may give.

        Says whether anything came.
        """
        held = sum(len(records) for place, records in self._held.items() if only is None or place in only)
        if held >= max_records and not wait_s:
            return False
        messages = self._consumer.consume(max_records, 0)
        if not messages and wait_s:
            messages = self._consumer.consume(1, wait_s)
            messages += self._consumer.consume(max_records - 1, 0) if messages and max_records > 1 else []
        for message in messages:
            self._accept(message)
        self._balance()
        if not messages and self._watch.is_due(time.monotonic()):
            self._look_for_missing()
        return bool(messages)

    def _look_for_missing(self) -> None:
        """Go on with another consumer if this one fetches nothing any more where there is something."""
        fetched_to = {place: self._fetched_to(place) for place in self._position if place not in self._paused}
        if stuck := self._watch.stuck(fetched_to, time.monotonic()):
            _logger.warning("reader_was_stuck", partitions=sorted(f"{topic}/{number}" for topic, number in stuck))
            threading.Thread(target=self._consumer.close, name="stuck-reader", daemon=True).start()  # it may hang, too
            self._consumer = Consumer(self._settings)
            self._assign()

    def _fetched_to(self, place: TopicPartition) -> int:
        """The offset behind all of a partition that has come."""
        held = self._held.get(place)
        return held[-1].offset + 1 if held else max(self._position[place], self._skipped.get(place, 0))

    def _accept(self, message: Any) -> None:
        place = (message.topic().removeprefix(self._prefix), message.partition())
        error = message.error()
        if error is None:
            headers = message.headers() or ()
            if headers and headers[-1][0] == OWNER_HEADER and self._sieve is not None:
                headers = self._sieve.passed(place, message.offset(), headers, message.value())
            if headers is None:
                self._skipped[place] = message.offset() + 1
            else:
                self._held.setdefault(place, []).append(_record(place, message, headers))
        elif error.code() in _GONE:
            self._gone[place] = error.str()
        elif not is_passing(error):
            raise translated(error)

    def _take(self, max_records: int, only: Container[TopicPartition] | None) -> list[Record]:
        """Hand out held records, an equal share of each partition first."""
        places = [place for place in self._held if only is None or place in only]
        taken: list[Record] = []
        while places and len(taken) < max_records:
            share = max(1, (max_records - len(taken)) // len(places))
            for place in places:
                taken += self._hand_out(place, min(share, max_records - len(taken)))
            places = [place for place in places if place in self._held]
        return taken

    def _hand_out(self, place: TopicPartition, count: int) -> list[Record]:
        held = self._held.pop(place)
        if len(held) > count:
            self._held[place] = held[count:]  # behind the others: the next call begins with another partition
        given = held[:count]
        if given:
            self._position[place] = given[-1].offset + 1
        return given

    def _move_on(self, only: Container[TopicPartition] | None) -> bool:
        """Move past what was dropped, where nothing is held before it; says whether that led anywhere."""
        moved = False
        for place in [p for p in self._skipped if p not in self._held and (only is None or p in only)]:
            behind = self._skipped.pop(place)
            moved = moved or behind > self._position[place]
            self._position[place] = max(behind, self._position[place])
        return moved

    def _balance(self) -> None:
        """Pause partitions of which much is held, resume those of which little is."""
        full = {place for place, held in self._held.items() if len(held) > _HELD_MAX}
        for change, places in (
            (self._consumer.pause, full - self._paused),
            (self._consumer.resume, self._paused - full),
        ):
            if places:
                change([KafkaTopicPartition(self._prefix + topic, number) for topic, number in places])
        self._paused = full

    def _raise_gone(self, only: Container[TopicPartition] | None) -> None:
        for place, reason in self._gone.items():
            if only is None or place in only:
                raise OffsetOutOfRangeError(f"{place[0]}/{place[1]}: offset {self._position[place]}: {reason}")


class _FenceFilter:
    """What passes, by partition, in the order in which records are fetched."""

    def __init__(self, markers_below: MarkersBelow, start: Mapping[TopicPartition, int]) -> None:
        self._markers_below = markers_below
        self._known = {place: dict(markers) for place, markers in markers_below(start).items()}
        """Every marker below `_known_to`, and what was met behind, by its offset."""
        self._known_to = dict(start)
        self._passages: dict[TopicPartition, FenceState] = {}

    def go_to(self, place: TopicPartition, read_to: int, offset: int) -> None:
        """Know the markers below the offset; those below `read_to` were met.

        :raises LogError: they cannot be found.
        """
        if offset > max(read_to, self._known_to[place]):
            self._known.setdefault(place, {}).update(self._markers_below({place: offset}).get(place, ()))
            self._known_to[place] = offset

    def begin_at(self, position: Mapping[TopicPartition, int]) -> None:
        """Fetched is from there on."""
        self._passages = {
            place: FenceState(claim for at, claim in sorted(self._known.get(place, {}).items()) if at < offset)
            for place, offset in position.items()
        }

    def passed(self, place: TopicPartition, offset: int, headers: RawHeaders, value: bytes | None) -> RawHeaders | None:
        """The headers of a record as its reader is to see them; None if nobody is."""
        passage, claim = self._passages[place], read_marker(headers, value)
        if claim is not None:
            self._known.setdefault(place, {})[offset] = claim
            passage.meet(claim)
            return None
        validity = passage.judge(headers[-1][1] or b"")
        if validity == "void":
            return None
        return headers[:-1] if validity == "valid" else headers


def _record(place: TopicPartition, message: Any, raw: RawHeaders) -> Record:
    headers: Headers = tuple((name, value or b"") for name, value in raw)
    return Record(
        *place, message.offset(), message.timestamp()[1], message.key() or b"", message.value() or b"", headers
    )
