"""The Kafka log's producer: idempotent, acknowledged by all replicas, and never silent about a failure."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from connectors.log.interface import RECORD_MAX_BYTES, NewRecord
from connectors.log.kafka_errors import named_errors, translated
from state.model.errors import LogError, LogUnavailableError

_POLL = timedelta(milliseconds=100)
_GRACE = timedelta(milliseconds=500)


class Appender:
    """A producer and the thread that serves its delivery reports. `broken` once it cannot be trusted any more."""

    def __init__(self, common: Mapping[str, Any], prefix: str, deadline: timedelta) -> None:
        self._prefix, self._deadline_s = prefix, deadline.total_seconds()
        settings = {
            "enable.idempotence": True,
            "acks": "all",
            "delivery.timeout.ms": int(self._deadline_s * 1000),
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

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        """Produce, wait, and give the offsets in the order of the input."""
        delivery = _Delivery(len(records))
        give_up = time.monotonic() + self._deadline_s
        try:
            for index, record in enumerate(records):
                self._produce(record, partial(delivery.report, index), give_up)
            delivery.wait(give_up + _GRACE.total_seconds())
        except LogError:
            self._abandon()
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
                time.sleep(0.005)

    def _abandon(self) -> None:
        """Drop what was not sent: the caller was told that it failed."""
        self.broken = True
        with contextlib.suppress(KafkaException):
            self._producer.purge()
        self._open = False

    def _serve(self) -> None:
        while self._open or len(self._producer):
            self._producer.poll(_POLL.total_seconds())


class _Delivery:
    """The reports of one append."""

    def __init__(self, expected: int) -> None:
        self.offsets = [-1] * expected
        self._missing = expected
        self._error: KafkaError | None = None
        self._done = threading.Event()

    def report(self, index: int, error: KafkaError | None, message: Any) -> None:
        """Take one report; called by the serving thread."""
        if error is None:
            self.offsets[index] = message.offset()
        else:
            self._error = self._error or error
        self._missing -= 1
        if self._missing == 0:
            self._done.set()

    def wait(self, give_up: float) -> None:
        """Wait for all reports; raises if one says no or is missing."""
        if self._missing and not self._done.wait(max(0.0, give_up - time.monotonic())):
            raise LogUnavailableError(f"{self._missing} records were not acknowledged within the deadline")
        if self._error:
            raise translated(self._error)
