"""What a directly addressed event costs at each station, in microseconds of processor: `python -m bench.direct`.

Each flow runs in this process, one after the other, over an embedded log, until it is at the log's end; then once more
with nothing to do, and what that costs (opening, loading) is taken off. 1 `mention` each to users without a device: it
ends in the inbox. And the same where six of ten users have a phone: these are emitted too.
"""

import gc
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.figures import record
from bench.sites import PARTITIONS, new_log, open_log, run_flow
from connectors.log import NewRecord
from connectors.log.embedded.log import EmbeddedLog
from flows import decide, inbox, sequence, track
from flows.process.memory import settle_memory
from flows.process.open import clock_ms
from flows.steps.sequence.reading import SequenceOptions
from flows.steps.sequence.source import SequenceParts
from state.decide.checkpoint import GroupStore
from state.disk.poison import PoisonJournal
from state.model.event import EVENT, RawEvent, event_key, resolve
from state.model.keys import key_group, partition_of_group
from state.model.registry import load_registry
from state.model.settings import ENDPOINT, EndpointRecord
from state.sequence.store import SequenceStore

REGISTRY = load_registry()
USERS = 5_000
BUDGET = 20_000


class Site:
    """A log with endpoints, and the flows over it."""

    def __init__(self, directory: Path, reached: int) -> None:
        """Of ten users, `reached` have a phone."""
        self.directory = directory
        self.log = new_log(directory)
        self.ticks = PARTITIONS
        """Records of `work` that were not read from elsewhere; at first the versions."""
        self.log.append([_phone(number) for number in range(USERS) if number % 10 < reached])

    def open_log(self) -> EmbeddedLog:
        return open_log(self.directory)

    def accept(self, events: int) -> None:
        for first in range(0, events, 1_000):
            self.log.append([_mention(number) for number in range(first, min(events, first + 1_000))])

    def written(self, *topics: str) -> int:
        return sum(self.log.end_offset(topic, partition) for topic in topics for partition in range(PARTITIONS))

    def sequence(self) -> None:
        store, journal = SequenceStore(self.directory / "sequence"), PoisonJournal.open(self.directory / "s.poison")
        self.ticks += PARTITIONS  # one to each at the start and at the end: the clock stands still
        end, now = self.written("events.p1", "endpoints") + self.ticks, clock_ms()
        self.ticks += PARTITIONS

        parts = SequenceParts(
            self.open_log, store, journal, REGISTRY, None,
            SequenceOptions(BUDGET, BUDGET), clock=lambda: now, drain=lambda: self.written("work") >= end,
        )  # fmt: skip
        run_flow(sequence.wire(self.open_log, parts))
        store.close()
        journal.close()

    def decide(self) -> None:
        store, journal = GroupStore(self.directory / "decide"), PoisonJournal.open(self.directory / "d.poison")
        flow = decide.wire(
            self.open_log, store, REGISTRY, journal, partitions=PARTITIONS, budget=BUDGET, drain=lambda: True
        )
        run_flow(flow)
        store.commit()
        store.close()
        journal.close()

    def inbox(self) -> None:
        flow = inbox.wire(self.open_log, self.directory, drain=lambda: True)
        run_flow(flow)

    def track(self) -> None:
        flow = track.wire(self.open_log, self.directory, drain=lambda: True, now_ms=clock_ms)
        run_flow(flow)


def _phone(number: int) -> NewRecord:
    user = f"user{number}"
    phone: dict[str, Any] = {"user": user, "channel": "push", "id": "phone", "platform": "ios", "address": "0" * 64}
    value = ENDPOINT.encode(EndpointRecord(**phone, state="active", registered_at=clock_ms()))
    return NewRecord("endpoints", _partition(user), user.encode(), value, ENDPOINT.headers)


def _mention(number: int) -> NewRecord:
    raw = RawEvent(
        event_id=f"ev_{number:032}", type="mention", sender_id="bench", actor=f"actor{number % 97}",
        target=f"user{number * 7919 % USERS}", object=f"post{number}", payload={"title": "you were mentioned"},
        idempotency_key=f"key{number}",
    )  # fmt: skip
    event = resolve(raw, REGISTRY, ingested_at=clock_ms())
    key = event_key(event)
    return NewRecord("events.p1", _partition(key), key.encode(), EVENT.encode(event), EVENT.headers)


def _partition(key: str) -> int:
    return partition_of_group(key_group(key), PARTITIONS)


def processor_s(run: Callable[[], None]) -> float:
    gc.collect()  # of the station before
    began = time.process_time()
    run()
    return time.process_time() - began


def measure(reached: int, events: int) -> dict[str, float]:
    """Microseconds of processor per event, by station."""
    directory = Path(tempfile.mkdtemp())
    try:
        site = Site(directory, reached)
        stations = {"sequence": site.sequence, "decide": site.decide, "inbox": site.inbox, "track": site.track}
        for run in stations.values():
            run()  # settings, and groups that exist
        site.accept(events)
        found = {}
        for name, run in stations.items():
            used = processor_s(run)
            found[name] = max(0.0, used - processor_s(run)) / events * 1e6
        assert site.written("inbox") == events, "not every event came to an inbox"
        site.log.close()
    finally:
        shutil.rmtree(directory)
    return found


def main(events: int = 20_000) -> None:
    settle_memory()
    for reached in (0, 6):
        found = measure(reached, events)
        text = "direct events, key of their own, no device" if not reached else "direct events, 60 % with a phone"
        for name, value in (*found.items(), ("all", sum(found.values()))):
            record("direct", f"{name}_us_{reached}0_percent_push", value, "us/event", work=text, n=events)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
