"""What transactional counts of each key group for the laws (RULES 5, TOPICS.md "Laws"); for one lane.

Everything is as of now: all events of a group come through one partition, in order. Totals are stored with each batch;
of fallbacks only those of decisions that are done, since the others come again with their ends after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from state.model.ledger import CountsRecord
from state.model.records import Outputs
from state.transactional.store import TransactionalTotals


@dataclass(slots=True)
class _Running:
    """One group; the fallbacks in `stored` are those of decisions that are done."""

    stored: TransactionalTotals = field(default_factory=TransactionalTotals)
    fallbacks: int = 0
    in_flight: int = 0
    lost: int = 0
    """Deliveries in flight from before the store, which nobody has found."""


class TransactionalCounts:
    """The counts of one lane."""

    def __init__(self, totals: Mapping[int, TransactionalTotals], lost: Mapping[int, int]) -> None:
        self._groups = {group: _Running(each, each.fallbacks) for group, each in totals.items()}
        self._changed = set(self._groups)
        for group, number in lost.items():
            running = self._of(group)
            running.in_flight = running.lost = number

    @property
    def in_flight(self) -> int:
        """Deliveries of all groups."""
        return sum(running.in_flight for running in self._groups.values())

    def decided(self, group: int, offset: int, out: Outputs) -> None:
        """The event at `offset` was decided."""
        totals = self._of(group).stored
        totals.resolved += 1
        totals.emitted += sum(emission.deliveries for emission in out.emissions)
        totals.inbox_items += sum(decision.inbox for decision in out.decisions)
        totals.furthest = max(totals.furthest, offset)

    def found(self, group: int, number: int) -> int:
        """So many of the lost are to be resumed; any beyond that are fallbacks that no counts had. Gives what is left.

        They are in flight again when they are opened.
        """
        running = self._of(group)
        unknown = max(0, number - running.lost)
        running.lost += unknown - number
        running.in_flight += unknown - number
        running.fallbacks += unknown
        running.stored.fallbacks += unknown
        return running.lost

    def opened(self, group: int, number: int) -> None:
        """So many deliveries began."""
        self._of(group).in_flight += number

    def ended(self, group: int, ended: int, spawned: int) -> None:
        """One delivery ended, or none (a timer), and brought about `spawned` others."""
        running = self._of(group)
        running.in_flight += spawned - ended
        running.fallbacks += spawned

    def closed(self, group: int, spawned: int) -> TransactionalTotals:
        """A decision with so many fallbacks is done: what is to be stored with it."""
        totals = self._groups[group].stored
        totals.fallbacks += spawned
        return totals

    @property
    def has_changed(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._changed)

    def to_store(self) -> dict[int, TransactionalTotals]:
        """The totals of the groups that changed since the last `tell`."""
        return {group: self._groups[group].stored for group in self._changed}

    def tell(self) -> list[CountsRecord]:
        """The groups that changed since the last call."""
        changed, self._changed = sorted(self._changed), set()
        return [_record(group, self._groups[group]) for group in changed]

    def _of(self, group: int) -> _Running:
        self._changed.add(group)
        return self._groups.setdefault(group, _Running())


def _record(group: int, running: _Running) -> CountsRecord:
    totals = running.stored
    return CountsRecord(
        owner="transactional", group=group, offset=totals.furthest, resolved=totals.resolved, held=0, aggregating=0,
        emitted=totals.emitted, inbox_items=totals.inbox_items, fallbacks=running.fallbacks,
        in_flight=running.in_flight,
    )  # fmt: skip
