"""The Kafka log's producer: idempotent, acknowledged by all replicas, and never silent about a failure.

Within the deadline the client sends again what a lost connection or a change of leader left without an answer, and the
brokers drop what they already have. An append that fails at its deadline drops everything that waits, at once, so that
no record is stored behind a dropped one of the same partition. A broker may still store what it has received: a frozen
one does so when it wakes. The producer then goes on under its next epoch (Kafka's word), and brokers refuse what comes
late under the earlier one. So a failed append is never stored behind a later one of this producer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Producer

from connectors.log.interface import RECORD_MAX_BYTES, NewRecord
from connectors.log.kafka.errors import named_errors, translated
from connectors.metrics import CLOCK_OFF_SECONDS
from state.model.errors import LogError, LogUnavailableError

_POLL = timedelta(milliseconds=100)
_LOOK = timedelta(milliseconds=5)
_SETTLE = timedelta(seconds=1)
_LATER = timedelta(seconds=30)
"""By how much the client's own deadline is later than ours: its own drops record by record, and so leaves gaps."""


class ConfirmingProducer:
    """A producer and the thread that serves its delivery reports. `broken` once the client gave up for good."""

    def __init__(self, common: Mapping[str, Any], prefix: str, deadline: timedelta) -> None:
        self._prefix, self._deadline_s = prefix, deadline.total_seconds()
        settings = {
            "enable.idempotence": True,
            # One request at a time: a broker that knows nothing of the producer (a new partition, or a day without a
            # record) takes a second batch whose first it refused, and then calls the first, sent again, a repeat. The
            # client counts it as stored. So two records of a new topic were lost, at a busy broker.
            "max.in.flight.requests.per.connection": 1,
            "acks": "all",
            "delivery.timeout.ms": int((deadline + _LATER).total_seconds() * 1000),
            "request.timeout.ms": 4_000,  # a hanging follower is out of sync by then, or the request is sent again
            "linger.ms": 0,
            "compression.type": "lz4",
            "message.max.bytes": RECORD_MAX_BYTES + (1 << 20),
            "queue.buffering.max.kbytes": 256 << 10,
        }
        self._producer = Producer({**settings, **common})
        self.broken = False
        self._open = True
        self._thread = threading.Thread(target=self._serve, name="kafka-reports", daemon=True)
        self._thread.start()

    def append(self, records: Sequence[NewRecord]) -> list[int | None]:
        """Produce, wait, and give the offsets in the order of the input; None where the broker did not say (see
        `kafka.locating`).
        """
        delivery = _Delivery(len(records))
        give_up = time.monotonic() + self._deadline_s
        try:
            for index, record in enumerate(records):
                self._produce(record, partial(delivery.report, index), give_up)
                delivery.produced += 1
            delivery.wait(give_up)
        except LogError as error:
            self._drop(delivery)
            if delivery.fatal or _is_fatal(error.__cause__):
                self._retire()
            raise
        return delivery.offsets

    def close(self) -> None:
        """Stop serving reports."""
        self._open = False
        self._thread.join()

    def _produce(self, record: NewRecord, report: Any, give_up: float) -> None:
        """Queue one record; waits while the queue is full."""
        topic, number, key, value, headers = record
        while True:
            try:
                with named_errors():
                    self._producer.produce(
                        self._prefix + topic, value or None, key, number, on_delivery=report, headers=list(headers)
                    )
                return
            except BufferError:
                if time.monotonic() > give_up:
                    raise LogUnavailableError("the producer's queue stays full") from None
                time.sleep(_LOOK.total_seconds())

    def _drop(self, delivery: _Delivery) -> None:
        """Drop what was not acknowledged: the caller gets an error."""
        try:
            self._producer.purge()
        except KafkaException:
            self._retire()
        if not delivery.settled(_SETTLE):  # until the client's threads have heard of it they drop new records too
            self._retire()

    def _retire(self) -> None:
        """Nobody uses this producer any more."""
        self.broken, self._open = True, False

    def _serve(self) -> None:
        while self._open or len(self._producer):
            self._producer.poll(_POLL.total_seconds())


def compare_clock(stored: tuple[int, int], now_s: float) -> None:
    """Tell by how much this machine's clock differs from the broker's, by the kind and time of the record's stamp."""
    kind, at_ms = stored
    if kind == TIMESTAMP_LOG_APPEND_TIME:
        CLOCK_OFF_SECONDS.set(round(now_s - at_ms / 1000, 1))


def _is_fatal(cause: BaseException | None) -> bool:
    return isinstance(cause, KafkaException) and bool(cause.args[0].fatal())


class _Delivery:
    """The reports of one append."""

    def __init__(self, expected: int) -> None:
        self.offsets: list[int | None] = [None] * expected
        self._missing = expected
        self.produced = 0
        """How many the client took."""
        self._error: KafkaError | None = None
        self.fatal = False
        """The producer takes nothing any more."""
        self._done = threading.Event()

    def report(self, index: int, error: KafkaError | None, message: Any) -> None:
        """Take one report; called by the serving thread."""
        if error is None:
            self.offsets[index] = message.offset()
            if index == 0:
                compare_clock(message.timestamp(), time.time())
        else:
            self._error = self._error or error
            self.fatal = self.fatal or error.fatal()
        self._missing -= 1
        if self._missing == 0:
            self._done.set()

    def settled(self, within: timedelta) -> bool:
        """Wait until the client has said something of all that it took; false if it does not in time."""
        end = time.monotonic() + within.total_seconds()
        while (unsaid := self.produced - (len(self.offsets) - self._missing)) and time.monotonic() < end:
            time.sleep(_LOOK.total_seconds())
        return not unsaid

    def wait(self, give_up: float) -> None:
        """Wait for all reports; raises if one says no or is missing."""
        if self._missing and not self._done.wait(max(0.0, give_up - time.monotonic())):
            raise LogUnavailableError(f"{self._missing} records were not acknowledged within the deadline")
        if self._error:
            raise translated(self._error)
