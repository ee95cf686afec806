"""What `sequence` reads, and in which order: settings before events, P1 before P2, all on credit.

After each batch of events, the topics of settings are read to the ends that they have then, and handed on first. So a
preference that was acknowledged before an event was accepted comes before it. What comes in bulk (follows, segments,
profiles) is read on credit, and waited for only if it takes no more than seconds: an import must not hold events up. A
retraction waits until P2 is read up to the same point.

While another station says that it is loaded there is no credit for P2, and then half of it for P1 (RULES 1, "Load").
The lag of sequence itself does not count here: less credit would not make it smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from connectors.load import LoadLevels, is_load
from connectors.log import Log, Reader, Record
from connectors.log.backlog import Backlog
from flows.steps.sequence.clock import DecisionClock
from state.model.durations import in_ms
from state.model.envelope import TopicPartition
from state.model.errors import MalformedRecordError
from state.model.load import P1_HALVED, P1_WAITS, P2_WAITS
from state.model.settings import SETTINGS
from state.model.topics import FOLLOWS, PROFILES, RETRIES, SEGMENTS

TICK_INTERVAL = timedelta(milliseconds=250)
REST_TICK_INTERVAL = timedelta(seconds=1)
"""At rest: each tick wakes every key group, and what is still held then is held for longer than seconds."""
_REST_AFTER = timedelta(seconds=15)
"""Without a record."""
_BATCH_MAX = 2_000
_AWAKE = timedelta(milliseconds=20)
_IDLE = timedelta(milliseconds=40)
_REST_IDLE = timedelta(milliseconds=400)
_NO_WAIT = timedelta()
_RETRACTS = b'"retracts":true'
_BULK = (FOLLOWS, SEGMENTS, PROFILES)


class SequenceBatch(NamedTuple):
    """Settings, then events, in the order in which they are written; `now` is the clock, `ticks` says to move time."""

    settings: list[Record]
    events: list[Record]
    now: int
    ticks: bool
    under_load: bool = False
    """Whether a place is at the level at which what was accepted is shed."""
    away: frozenset[str] = frozenset()
    """What cannot be sent now (RULES 3.E)."""
    lead: int = 0
    """By how much `now` is ahead of the machine's clock, which was set back then; in ms."""


class SequenceOptions(NamedTuple):
    """Credit per epoch (DECISIONS, Credit)."""

    p1_budget: int
    """P1 events that enter an epoch."""
    p2_budget: int
    """P2 events that enter an epoch."""

    @property
    def bulk_budget(self) -> int:
        """Records of follows, segments and profiles that enter an epoch: 5 000 a second; decide takes 6 000."""
        return self.p2_budget // 2

    @property
    def bulk_before_events(self) -> int:
        """As many of them as events wait for: four seconds' worth by default."""
        return self.p2_budget * 10


class SequenceReading:
    """The reader of every topic that `sequence` owns. Closing it leaves the log open."""

    def __init__(
        self,
        log: Log,
        positions: Mapping[TopicPartition, int],
        options: SequenceOptions,
        *,
        clock: Callable[[], int],
        drain: Callable[[], bool],
        backlog: Backlog | None = None,
        not_before: int = 0,
    ) -> None:
        """Begin at the positions, or with the oldest records; what is no longer there was given up before. `backlog` is
        told how far P1 is behind. `not_before` is the time of the last decision.
        """
        self._log, self._options, self._drain = log, options, drain
        self._clock, self._machine_clock = DecisionClock(clock, not_before), clock
        self._backlog, self._load = backlog or Backlog(), LoadLevels()
        self._p1 = _places(log, ("events.p1",))
        self._p2 = _places(log, ("events.p2",))
        self._settings = _places(log, (*(topic for topic in SETTINGS if topic not in _BULK), RETRIES))
        self._bulk = _places(log, _BULK)
        places = (*self._p1, *self._p2, *self._settings, *self._bulk)
        self._reader: Reader = log.reader({p: max(positions.get(p, 0), log.begin_offset(*p)) for p in places})
        self.refill()
        self._next_tick = 0
        self._read_at = self._clock()
        self._ended = False
        self._events: list[Record] = []
        """Read, and handed on when the settings have been read to `_settings_until`."""
        self._settings_until: dict[TopicPartition, int] = {}
        self._retracting: list[Record] = []
        """Retractions and the records read with them: handed on when P2 has been read to `_p2_until`."""
        self._p2_until: dict[TopicPartition, int] = {}

    def next_batch(self) -> SequenceBatch | None:
        """What comes next, if anything; waits a little for it.

        :raises StopIteration: drained, and everything that was read is handed out.
        """
        if self._ended and not self._events and not self._retracting:
            raise StopIteration
        self._ended = self._drain()
        settings, events = self._read()
        now = self._clock()
        if settings or events:
            self._read_at = now
            self._next_tick = min(self._next_tick, now + in_ms(TICK_INTERVAL))
        ticks = now >= self._next_tick or self._ended  # the last thing is a tick: it lets decide count
        if ticks:
            self._next_tick = now + in_ms(REST_TICK_INTERVAL if self._rests(now) else TICK_INTERVAL)
        if not (settings or events or ticks):
            return None
        lead = math.ceil(self._clock.lead)
        under_load, away = self._load.level(now - lead, but="sequence") >= P1_WAITS, self._load.away(now - lead)
        return SequenceBatch(settings, events, now, ticks, under_load, away, lead)

    def _read(self) -> tuple[list[Record], list[Record]]:
        """A bounded batch of settings, and the events that wait for them once the last of them is in it."""
        if not self._events:
            self._events = self._next_events()
            self._settings_until = self._ends_before_events() if self._events else {}
        settings = self._next_settings(_AWAKE if self._behind(self._settings_until) else _NO_WAIT)
        if self._events:
            if self._behind(self._settings_until):
                return settings, []
            events, self._events = self._events, []
            return settings, events
        if not settings:
            self._wait()
        return settings, []

    def _ends_before_events(self) -> dict[TopicPartition, int]:
        """What must be read before the events: also what comes in bulk, unless there is too much of it."""
        position, bulk = self._reader.position(), self._ends(self._bulk)
        fits = sum(end - position[place] for place, end in bulk.items()) <= self._options.bulk_before_events
        return self._ends(self._settings) | (bulk if fits else {})

    def _next_settings(self, wait: timedelta) -> list[Record]:
        bulk = self._poll(self._bulk, self._bulk_credit, _NO_WAIT)
        self._bulk_credit -= len(bulk)
        settings = self._poll(self._settings, _BATCH_MAX, _NO_WAIT if bulk else wait)
        for record in filter(is_load, settings):
            with suppress(MalformedRecordError):  # becomes a dead letter when it is sequenced
                self._load.note(record)
        return settings + bulk

    def _next_events(self) -> list[Record]:
        """P1 before P2; a batch with a retraction after everything that was in P2 when it was read."""
        if self._retracting:
            return self._p2_before_retractions()
        urgent = self._poll(self._p1, self._p1_credit, _NO_WAIT)
        if urgent or self._p1_credit > 0:
            self._backlog.tell(0, urgent[0].timestamp_ms if urgent else None)
        self._p1_credit -= len(urgent)
        if not urgent and self._p2_credit > 0:
            urgent = self._poll(self._p2, self._p2_credit, _NO_WAIT)
            self._p2_credit -= len(urgent)
        elif any(_RETRACTS in record.value for record in urgent):
            self._retracting, self._p2_until = urgent, self._ends(self._p2)
            return self._p2_before_retractions()
        return urgent

    def _p2_before_retractions(self) -> list[Record]:
        behind = self._behind(self._p2_until)
        later = self._poll(behind, _BATCH_MAX, _AWAKE) if behind else []
        if self._behind(self._p2_until):
            return later
        later, self._retracting = later + self._retracting, []
        return later

    def _ends(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return self._log.end_offsets(places)

    def _behind(self, until: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Those of the partitions that are not read so far."""
        position = self._reader.position() if until else {}
        return {place: end for place, end in until.items() if position[place] < end}

    def _wait(self) -> None:
        """Until a record arrives or it is time for a tick: the doorbell wakes a poll that takes nothing away."""
        places = [*self._settings]
        places += self._p1 if self._p1_credit > 0 else ()
        places += self._p2 if self._p2_credit > 0 else ()
        places += self._bulk if self._bulk_credit > 0 else ()
        now = self._clock()
        remaining = timedelta(milliseconds=max(0, self._next_tick - now))
        arrived = self._reader.poll(1, min(remaining, _REST_IDLE if self._rests(now) else _IDLE), places)
        for record in arrived:
            self._reader.seek(record.topic, record.partition, record.offset)

    def _rests(self, now: int) -> bool:
        return now - self._read_at > in_ms(_REST_AFTER)

    def _poll(self, places: Container[TopicPartition], most: int, wait: timedelta) -> list[Record]:
        return self._reader.poll(min(most, _BATCH_MAX), wait, places) if most > 0 else []

    def refill(self) -> None:
        """A new epoch begins: its credit."""
        options, level = self._options, self._load.level(self._machine_clock(), but="sequence")
        self._p1_credit = max(1, options.p1_budget // 2) if level >= P1_HALVED else options.p1_budget
        self._p2_credit = 0 if level >= P2_WAITS else options.p2_budget
        self._bulk_credit = options.bulk_budget

    def close(self) -> None:
        """Free the reader."""
        self._reader.close()


def _places(log: Log, topics: tuple[str, ...]) -> list[TopicPartition]:
    return [(topic, partition) for topic in topics for partition in range(log.partitions(topic))]
