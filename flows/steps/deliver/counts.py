"""What deliver counts of each key group for the second law (RULES 5, TOPICS.md "Laws").

`accepted`, `fallbacks` and `in_flight` are counted up to an offset X of `work`: the deliveries that decide handed out
up to X, their fallbacks, and how many of these are open here. Emissions come through several topics, so a lane may know
one beyond X while another topic still holds one below it. So X is an offset that was seen some time ago, and all topics
have been read past it since: `sample`, wait, then `settle` at ends of the topics taken after the wait. Deliveries
beyond X are subtracted, also those that have ended and are on the ledger already (`in_flight` is then lower than the
number of open ones).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flows.steps.lanes.in_hand import OpenRecord
from state.model.ledger import CountsRecord


@dataclass(slots=True)
class GroupCounts:
    """Running totals of one key group."""

    accepted: int = 0
    fallbacks: int = 0
    closed: int = 0
    """Fallbacks of records that are closed: the others come again with their ends after a restart."""
    open: int = 0
    furthest: int = -1
    """The highest work offset accepted."""
    beyond: list[OpenRecord] = field(default_factory=list)
    """Records whose work offset is above the last X that was published."""


class DeliverCounts:
    """The counts of the groups of one lane; for one thread at a time."""

    def __init__(self, totals: Mapping[int, tuple[int, int]], furthest: Mapping[int, int]) -> None:
        """Begin with what `totals` gave to be stored."""
        stored = {group: GroupCounts(accepted, closed, closed) for group, (accepted, closed) in totals.items()}
        self.groups = defaultdict(GroupCounts, stored)
        for group, offset in furthest.items():
            self.groups[group].furthest = offset
        self.open = 0
        """Open deliveries of all groups."""
        self._changed = set(self.groups)
        self._sample: dict[int, int] = {}

    def accept(self, record: OpenRecord, *, again: bool) -> None:
        """A record was opened; `again`: after a restart, it was counted as accepted before."""
        counts = self.groups[record.group]
        counts.open += record.size
        self.open += record.size
        if not again:
            counts.accepted += record.size
        counts.furthest = max(counts.furthest, record.work_offset)
        counts.beyond.append(record)
        self._changed.add(record.group)

    def ended(self, group: int, spawned: int) -> None:
        """A delivery ended, and fell back to `spawned` others."""
        counts = self.groups[group]
        counts.open += spawned - 1
        self.open += spawned - 1
        counts.fallbacks += spawned
        self._changed.add(group)

    def close(self, record: OpenRecord) -> None:
        """It is closed."""
        self.groups[record.group].closed += record.spawned

    def totals(self) -> dict[int, tuple[int, int]]:
        """What is to be stored: accepted deliveries, and fallbacks of records that are closed."""
        return {group: (counts.accepted, counts.closed) for group, counts in self.groups.items()}

    @property
    def sampled(self) -> bool:
        """Whether there is a sample to settle."""
        return bool(self._sample)

    def sample(self) -> bool:
        """Note up to where each changed group is known now; false if none changed."""
        self._sample = {group: self.groups[group].furthest for group in self._changed}
        return bool(self._sample)

    def settle(self, first_waiting: Callable[[int], int | None]) -> list[CountsRecord]:
        """The counts as of the sample; the topics have been read past everything that was in them after it.

        `first_waiting`: from which offset on something of a group was read and is not accepted yet.
        """
        settled = []
        for group, sampled in sorted(self._sample.items()):
            waiting = first_waiting(group)
            settled.append(self._settle(group, sampled if waiting is None else min(sampled, waiting - 1)))
        self._changed -= {group for group in self._sample if not self.groups[group].beyond}
        self._sample = {}
        return settled

    def _settle(self, group: int, offset: int) -> CountsRecord:
        counts = self.groups[group]
        counts.beyond = [record for record in counts.beyond if record.work_offset > offset]
        later = sum(record.size for record in counts.beyond)
        spawned = sum(record.spawned for record in counts.beyond)
        return CountsRecord(
            owner="deliver",
            group=group,
            offset=offset,
            accepted=counts.accepted - later + spawned,
            fallbacks=counts.fallbacks - spawned,
            in_flight=counts.open - later,
        )
