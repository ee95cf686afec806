"""A source that was held up goes on as soon as it can: the engine adds no sleep to a wait for brokers.

The engine sleeps until `next_awake` from when it began to call a source. A source that names the time as of the end of
its call doubles every wait: an outage of 16 s was followed by 16 s of silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.testing import TestingSink, run_main

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, TopicSpec
from connectors.log.source import LogSource
from flows.steps.sources.owner import SoleSource

HELD_UP = timedelta(seconds=2)
AT_MOST = timedelta(milliseconds=1_200)
"""What a busy machine may add."""
TOPIC = "events"
EPOCH = timedelta(milliseconds=20)

Source = FixedPartitionedSource[Any, Any]


class Hold:
    """Holds the flow up once, where an epoch is complete, and notes when the source is called after it."""

    def __init__(self) -> None:
        self.ended_at: float | None = None
        self.called_at: float | None = None

    def on_epoch(self) -> None:
        if self.ended_at is None:
            time.sleep(HELD_UP.total_seconds())
            self.ended_at = time.monotonic()

    def drain(self) -> bool:
        """Called with each batch; ends the flow when it went on after the hold."""
        if self.ended_at is not None and self.called_at is None:
            self.called_at = time.monotonic()
        return self.called_at is not None

    def went_on_after(self) -> timedelta:
        assert self.ended_at is not None, "it was not held up"
        assert self.called_at is not None
        return timedelta(seconds=self.called_at - self.ended_at)


class HeldOwner:
    """An owner with nothing to do."""

    def __init__(self, hold: Hold) -> None:
        self._hold, self._held = hold, False

    def work(self) -> list[NewRecord]:
        time.sleep(0.002)
        if self._held and self._hold.drain():
            raise StopIteration
        self._held = self._hold.ended_at is not None  # this call is the one that was held up
        return []

    def epoch_ended(self) -> None:
        return

    def epoch_complete(self) -> None:
        self._hold.on_epoch()

    def close(self) -> None:
        return


def _log_source(
    open_log: Callable[[], EmbeddedLog], hold: Hold, budget: int, has_room: Callable[[int], bool] = lambda _number: True
) -> LogSource:
    return LogSource(
        open_log,
        [TOPIC],
        start=lambda _topic, _part: 0,
        budget=budget,
        drain=hold.drain,
        on_epoch=hold.on_epoch,
        has_room=has_room,
    )


SOURCES: dict[str, Callable[[Callable[[], EmbeddedLog], Hold], Source]] = {
    "log": lambda open_log, hold: _log_source(open_log, hold, 1_000),
    "log_without_credit": lambda open_log, hold: _log_source(open_log, hold, 1),
    "log_without_room": lambda open_log, hold: _log_source(open_log, hold, 5, has_room=lambda _number: False),
    "owner": lambda _open, hold: SoleSource("owner", lambda: HeldOwner(hold)),
}


def _opener(directory: Path) -> Callable[[], EmbeddedLog]:
    def open_log() -> EmbeddedLog:
        return EmbeddedLog(directory, clock=lambda: time.time_ns() // 1_000_000)

    log = open_log()
    log.ensure_topics([TopicSpec(TOPIC, 1, retention_ms=3_600_000)])
    log.append([NewRecord(TOPIC, 0, b"", b"x", ()) for _ in range(200)])
    log.close()
    return open_log


@pytest.mark.parametrize("kind", SOURCES)
def test_what_was_held_up_goes_on_at_once(kind: str, tmp_path: Path) -> None:
    """Who adds a sleep does so each time, and a busy machine does not stand still each time."""
    open_log = _opener(tmp_path)

    def goes_on_at_once() -> bool:
        hold, flow = Hold(), Dataflow("held")
        op.output("out", op.input("in", flow, SOURCES[kind](open_log, hold)), TestingSink([]))
        run_main(flow, epoch_interval=EPOCH)
        return hold.went_on_after() < AT_MOST

    assert any(goes_on_at_once() for _ in range(5))
