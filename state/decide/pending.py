"""What waits in one key group: aggregation groups, single holds and digests, with their timers (RULES 3.C, 3.D, 3.E).

A group is open or held; closed groups are not stored. Timers fire in the order of RULES 6: due, user, log place of the
event that found the group or the hold closed, then the one set first.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple

from state.model.event import Event

OPEN = "AGGREGATING"
HELD = "HELD"


class PendingKey(NamedTuple):
    """`kind`: window (type, object), digest, or single (one held item of a type without a window, by its place)."""

    kind: str
    type: str = ""
    object: str | None = None
    place: int = -1


DIGEST_KEY = PendingKey("digest")


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
        """Own waiting (quiet hours, digest) that does not count against the ttl."""
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
        """Whether waiting here is the user's own (quiet hours or digest)."""
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
    """All open and held groups of a key group, by row and key; `changed` collects (row, key) whose stored form is
    stale.
    """

    def __init__(self) -> None:
        self.by_row: dict[int, dict[PendingKey, PendingGroup]] = {}
        self.changed: set[tuple[int, PendingKey]] = set()
        self.next_timer = 0
        self.counts = {OPEN: 0, HELD: 0}
        """Pending items by outcome: two terms of the first law (RULES 5)."""
        self.firing: PendingGroup | None = None
        """Whose time has come just now; still set after an error: its doing."""
        self.watch: Callable[[PendingGroup | None], None] = lambda _group: None
        """Told whose time comes now, and None when nothing more is due; may raise."""
        self._timers: list[Timer] = []

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
            group = self.get(timer.row, timer.key)
            if group is not None and group.timer == timer.number:
                return timer.due
            heapq.heappop(self._timers)
        return 1 << 62

    def pop_due(self, now: int) -> PendingGroup | None:
        """The next group whose time has come at or before `now`."""
        if self.next_due() > now:
            return None
        timer = heapq.heappop(self._timers)
        return self.get(timer.row, timer.key)

    def groups(self) -> Iterator[PendingGroup]:
        """Every open or held group."""
        for groups in self.by_row.values():
            yield from groups.values()
