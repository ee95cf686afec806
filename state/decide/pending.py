"""What waits in one key group: aggregation groups, single holds and mails, with their timers (RULES 3.C, 3.D, 3.E).

A group is open or held; closed groups are not stored. Timers fire in the order of RULES 6: due, user, log place of the
event that found the group or the hold closed, then the one set first. A batch (`state.decide.held`) has one timer for
all its members, before those of all users; whose order this would break is to be taken out of it first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from state.model.event import Event

if TYPE_CHECKING:
    from state.decide.held import HeldBatch  # made of what is defined here

OPEN = "AGGREGATING"
HELD = "HELD"


class PendingKey(NamedTuple):
    """`kind`: window (type, object), digest, unread (type and object, or place: a mail that waits for its row to be
    read), or single (one held item of a type without a window, by its place).
    """

    kind: str
    type: str = ""
    object: str | None = None
    place: int = -1


DIGEST, UNREAD = "digest", "unread"
DIGEST_KEY = PendingKey(DIGEST)
BATCH = "batch"
"""Kind of the key that names a batch: by its number, in place of the place."""
_NOBODY = -1


class Item:
    """One pending (event, user); `place` is the log place of its record, times are ms."""

    __slots__ = ("cap_day", "cap_hour", "event", "follower_age_ms", "inbox", "joined_at", "place", "waited_ms")

    def __init__(
        self, event: Event, place: int, joined_at: int, *, inbox: bool, follower_age_ms: int | None = None
    ) -> None:
        self.event = event
        self.place = place
        self.joined_at = joined_at
        """When it entered its inbox row and was first evaluated."""
        self.inbox = inbox
        self.waited_ms = 0
        """Own waiting (quiet hours, mails) that does not count against the ttl."""
        self.cap_hour: int | None = None
        self.cap_day: int | None = None
        self.follower_age_ms = follower_age_ms


class PendingGroup:
    """An open or held group of one user (row); `state` is the outcome of what is pending in it."""

    __slots__ = ("counted", "due", "items", "key", "own_wait", "place", "row", "state", "timer", "waits_from")

    def __init__(self, row: int, key: PendingKey, place: int) -> None:
        self.row = row
        self.key = key
        self.place = place
        """Place of the event that found it closed; orders its timers."""
        self.state = OPEN
        self.due = 0
        self.timer = 0
        """Number of the timer that is valid."""
        self.own_wait = False
        """Whether waiting here is the user's own (quiet hours or a mail's)."""
        self.items: list[Item] = []
        self.waits_from: list[int] = []
        """Parallel to items: since when each waits in the present state."""
        self.counted = (OPEN, 0)
        """State and number of items as the table counts them."""

    def join(self, item: Item, now: int) -> None:
        """The item joins at the end; its waiting starts now."""
        self.items.append(item)
        self.waits_from.append(now)

    def remove(self, index: int) -> Item:
        """The item leaves; the time stays."""
        del self.waits_from[index]
        return self.items.pop(index)

    def settle_waits(self, now: int) -> None:
        """Add the waiting up to `now` to the items, where it is the user's own."""
        for position, item in enumerate(self.items):
            if self.own_wait:
                item.waited_ms += now - self.waits_from[position]
            self.waits_from[position] = now


class Timer(NamedTuple):
    """When a group's time comes; sorts in the order of RULES 6. `number` tells a valid timer from an old one."""

    due: int
    user: str
    place: int
    number: int
    row: int
    key: PendingKey


class GivenUp(NamedTuple):
    """What waited for a user and could not be handled when its time came, and the error's text (safe to show)."""

    user: str
    key: PendingKey
    error: str


class PendingTable:
    """All open and held groups of a key group, by row and key, and all batches, by number. `changed` collects (row,
    key) whose stored form is stale, `changed_batches` such numbers.
    """

    def __init__(self) -> None:
        self.by_row: dict[int, dict[PendingKey, PendingGroup]] = {}
        self.batches: dict[int, HeldBatch] = {}
        self.changed: set[tuple[int, PendingKey]] = set()
        self.changed_batches: set[int] = set()
        self.next_timer = 0
        self.counts = {OPEN: 0, HELD: 0}
        """Pending items by outcome: two terms of the first law (RULES 5)."""
        self.firing: PendingGroup | HeldBatch | None = None
        """Whose time has come just now; still set after an error: its doing."""
        self.watch: Callable[[PendingGroup | HeldBatch | None], None] = lambda _group: None
        """Told whose time comes now, and None when nothing more is due; may raise."""
        self._timers: list[Timer] = []
        self._batches_of: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        """How many batches each row is in: most readers are in none."""

    def get(self, row: int, key: PendingKey) -> PendingGroup | None:
        """The group, if it is not closed."""
        groups = self.by_row.get(row)
        return groups.get(key) if groups else None

    def of(self, row: int) -> list[PendingGroup]:
        """All groups of a row, in an order that a restart does not change."""
        groups = self.by_row.get(row, {}).values()
        return sorted(groups, key=lambda group: (group.place, group.key.kind, group.key.type, group.key.object or ""))

    def put(self, group: PendingGroup) -> None:
        """Keep a group that was closed before."""
        self.by_row.setdefault(group.row, {})[group.key] = group
        self.touch(group)

    def touch(self, group: PendingGroup) -> None:
        """Its items or its state changed."""
        self._count(group, group.state, len(group.items))
        self.changed.add((group.row, group.key))

    def _count(self, group: PendingGroup, state: str, items: int) -> None:
        before_state, before = group.counted
        self.counts[before_state] -= before
        self.counts[state] += items
        group.counted = (state, items)

    def close(self, group: PendingGroup) -> None:
        """Forget the group and its timer."""
        group.timer = -1
        groups = self.by_row.get(group.row)
        if groups is not None and groups.pop(group.key, None) is not None:
            self._count(group, group.state, 0)
            self.changed.add((group.row, group.key))
            if not groups:
                del self.by_row[group.row]

    def set_timer(self, group: PendingGroup, user: str, due: int) -> None:
        """The group's only timer from now on."""
        group.due = due
        group.timer = self.next_timer
        self.next_timer += 1
        self.schedule(group, user)
        self.touch(group)

    def schedule(self, group: PendingGroup, user: str) -> None:
        """Enter the timer that the group has (used after a restore)."""
        heapq.heappush(self._timers, Timer(group.due, user, group.place, group.timer, group.row, group.key))

    def next_due(self) -> int:
        """Earliest due time of a valid timer; far in the future if there is none."""
        while self._timers:
            timer = self._timers[0]
            if self._waiting(timer) is not None:
                return timer.due
            heapq.heappop(self._timers)
        return 1 << 62

    def _waiting(self, timer: Timer) -> PendingGroup | HeldBatch | None:
        """Whose timer it is, if it is valid."""
        if timer.row == _NOBODY:
            return self.batches.get(timer.number)
        group = self.get(timer.row, timer.key)
        return group if group is not None and group.timer == timer.number else None

    def pop_due(self, now: int) -> PendingGroup | HeldBatch | None:
        """The next group or batch whose time has come at or before `now`."""
        if self.next_due() > now:
            return None
        return self._waiting(heapq.heappop(self._timers))

    def groups(self) -> Iterator[PendingGroup]:
        """Every open or held group."""
        for groups in self.by_row.values():
            yield from groups.values()

    # Batches ----------------------------------------------------------------------

    def hold_together(self, batch: HeldBatch) -> None:
        """Keep a new batch."""
        batch.number = self.next_timer
        self.next_timer += 1
        self.keep(batch)
        self.changed_batches.add(batch.number)

    def keep(self, batch: HeldBatch) -> None:
        """Enter a batch that has its number, with its timer."""
        rows, wait = batch.members().rows, batch.wait
        size = len(self._batches_of)
        if rows[-1] >= size:
            room = np.zeros(max(size, int(rows[-1]) + 1 - size), np.int32)
            self._batches_of = np.concatenate([self._batches_of, room])
        self._batches_of[rows] += 1
        self.counts[HELD] += len(rows)
        self.batches[batch.number] = batch
        heapq.heappush(self._timers, Timer(wait.due, "", wait.place, batch.number, _NOBODY, PendingKey(BATCH)))

    def end(self, batch: HeldBatch) -> None:
        """Forget a batch: its members wait there no more."""
        rows = batch.members().rows
        self._batches_of[rows] -= 1
        self.counts[HELD] -= len(rows)
        del self.batches[batch.number]
        self.changed_batches.add(batch.number)

    def batches_of(self, row: int) -> list[HeldBatch]:
        """In the order of their numbers."""
        if row >= len(self._batches_of) or not self._batches_of[row]:
            return []
        return [batch for batch in self.batches.values() if row in batch]

    def take_out(self, batch: HeldBatch, row: int, user: str) -> None:
        """Let a member wait alone, until the same time."""
        group = batch.take_out(row)
        self.put(group)
        self.set_timer(group, user, batch.wait.due)
        self._batches_of[row] -= 1
        self.counts[HELD] -= 1
        self.changed_batches.add(batch.number)
        if not len(batch):
            self.end(batch)
