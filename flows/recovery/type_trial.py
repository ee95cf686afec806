"""What a change of a type would have done: the decision log of the last day is decided twice, by the types of now and
with the change (RULES 7). The code is that of the running system; what it writes is thrown away.

Both runs begin with the state of an export. P0 is not in this log.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from connectors.archive.records import TopicRecords
from connectors.log.interface import Log, Record
from connectors.types import types_in_force
from flows.config.settings import Settings
from flows.process.directories import ARCHIVE
from flows.process.open import clock_ms
from flows.recovery.other_types import OtherTypes
from flows.recovery.replay import EXPORTS
from flows.recovery.stretch import ReplaySource, offsets_of_time, temporary_replay
from state.ledger import latest, ledger_table
from state.model.durations import DAY_MS
from state.model.errors import OffsetOutOfRangeError
from state.model.registry import Registry, names_type
from state.model.type_record import with_published

RECORDS_MAX = 20_000
"""Of a partition, the newest so many records of the day: some seconds."""
_BUDGET_S = 20.0
"""After so long no other partition is begun."""


class TypeTrial(NamedTuple):
    """What would have been decided otherwise."""

    since_ms: int
    """Where what was decided again begins, at the latest partition."""
    partitions: int
    """Those that were decided again."""
    partitions_all: int
    events: int
    """Of the type."""
    refused: int
    """Of these, whose payload the changed schema would have refused; they are decided all the same."""
    outcomes: list[tuple[str, int, int]]
    """Outcome (and reason) of the type's decisions: so often by the types of now, so often with the change."""
    channels: list[tuple[str, int, int]]
    """The same of the channels that its notifications went to."""
    moved: list[tuple[str, str, int]]
    """From an outcome to another, so often."""
    others: int
    """Decisions of other types that would have been others, since caps and digests are shared."""


def trial(settings: Settings, log: Log, name: str, table: dict[str, Any] | None) -> TypeTrial:
    """Decide again what is kept of the last day.

    :raises OffsetOutOfRangeError: nothing of it can be decided again.
    """
    before = types_in_force(log, settings.types)
    tables = {each: dict(given) for each, given in before.tables.items() if each != name}
    after = with_published(tables, {name: settings.types.get(name) if table is None else table})
    found = _Compared(name, before, after)
    now, begun, refused = clock_ms(), time.monotonic(), None
    work = TopicRecords("work", archive=settings.data_dir / ARCHIVE, log=log)
    for partition in range(work.partitions):
        if time.monotonic() - begun > _BUDGET_S:
            break
        first, end = offsets_of_time(work, partition, now - DAY_MS, now + 1)
        try:
            found.add(settings, log, partition, max(first, end - RECORDS_MAX), end)
        except OffsetOutOfRangeError as error:
            refused = error
    if refused is not None and not found.partitions:
        raise refused
    return found.told(work.partitions)


class _Compared:
    """What the partitions come to."""

    def __init__(self, name: str, before: Registry, after: Registry) -> None:
        self._name, self._before, self._after = name, before, after
        self.partitions = self._events = self._refused = self._others = self._since = 0
        self._outcomes: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._channels: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._moved: Counter[tuple[str, str]] = Counter()

    def add(self, settings: Settings, log: Log, partition: int, first: int, end: int) -> None:
        """Decide a partition twice."""
        sides = [_types_of(self._name, each) for each in (self._before, self._after)]
        was, would = (_decided(settings, log, side, partition, first, end) for side in sides)
        self.partitions += 1
        self._events, self._refused = self._events + sides[1].events, self._refused + sides[1].refused
        self._since = max(self._since, sides[1].since)
        for key in was.keys() | would.keys():
            self._compare(was.get(key), would.get(key))

    def _compare(self, was: _Decision | None, would: _Decision | None) -> None:
        if not any(names_type(self._name, each.type) for each in (was, would) if each is not None):
            self._others += was != would
            return
        for side, each in enumerate((was, would)):
            self._outcomes[side].update([_outcome(each)])
            self._channels[side].update(() if each is None else each.channels)
        if _outcome(was) != _outcome(would):
            self._moved[_outcome(was), _outcome(would)] += 1

    def told(self, partitions: int) -> TypeTrial:
        """The sums, the most frequent first."""
        moved = sorted(self._moved.items(), key=lambda each: (-each[1], each[0]))
        return TypeTrial(
            self._since, self.partitions, partitions, self._events, self._refused, _both(self._outcomes),
            _both(self._channels), [(*pair, count) for pair, count in moved], self._others,
        )  # fmt: skip


class _Decision(NamedTuple):
    type: str
    outcome: str
    reason: str | None
    channels: tuple[str, ...]


def _outcome(decision: _Decision | None) -> str:
    if decision is None:
        return "not decided"
    return decision.outcome if decision.reason is None else f"{decision.outcome} {decision.reason}"


def _both(counted: tuple[Counter[str], Counter[str]]) -> list[tuple[str, int, int]]:
    names = sorted(counted[0].keys() | counted[1].keys(), key=lambda each: (-counted[0][each], each))
    return [(each, counted[0][each], counted[1][each]) for each in names]


def _types_of(name: str, registry: Registry) -> OtherTypes:
    return OtherTypes((name,), lambda _then: registry.tables)


def _decided(
    settings: Settings, log: Log, types: OtherTypes, partition: int, first: int, end: int
) -> dict[tuple[str, str], _Decision]:
    """The last state of every decision of the range, by event and user."""
    work, letters = (
        TopicRecords(topic, archive=settings.data_dir / ARCHIVE, log=log) for topic in ("work", "dead_letters")
    )
    source = ReplaySource(work, letters, settings.data_dir / EXPORTS, settings.registry())
    gathered: list[Record] = []
    if first == end:
        return {}
    with temporary_replay(source, partition, first) as replay:
        for _, output in types.decide(replay, first, end, lambda _records: None):
            if output.topic == "ledger":
                gathered.append(Record("ledger", output.partition, len(gathered), 0, *output[2:]))
    return dict(_decisions(latest(ledger_table(gathered)[0])))


def _decisions(table: pa.Table) -> Iterator[tuple[tuple[str, str], _Decision]]:
    columns = [
        table[name].to_pylist() for name in ("kind", "event_id", "user", "type", "outcome", "reason", "channels")
    ]
    for kind, event_id, user, type_name, outcome, reason, channels in zip(*columns, strict=True):
        if kind == "decision":
            yield (event_id, user), _Decision(type_name, outcome, reason, tuple(channels or ()))
