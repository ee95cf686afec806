"""Slices of `work` take turns with the log: between some milliseconds of them decide looks what came meanwhile.

A slice of a star's post takes decide milliseconds, and there are hundreds of them in a row. What is for one person
comes behind them in the log, and most often concerns another key group, which need not wait. So slices that are not
decided at once wait here, and with them what comes behind them for their own group: the order within a key group is
that of the log, and a group's stored offset says how far it is. A group where an event for named people waits goes
first. An end of the flow decides what is left. Slices of one event that wait behind each other may be looked at
together before their turns.

A tick at which something is due waits in the same way once the time of a turn is over: after an outage one tick
releases in each group what was held for hours, and what all groups release at once would be in memory before any of it
is written.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from connectors.log import NewRecord
from flows.steps.alternation import Alternation
from flows.steps.decide.group import GroupDecider, SliceAhead, stamp_of

_TURN_S = 0.02
_SLICE, _EVENT = b'{"k":"slice",', b'{"k":"event",'
WorkEntry = tuple[int, bytes]
"""Offset and value of a record of `work`."""
LookAhead = Callable[[Iterator[tuple[GroupDecider, WorkEntry]]], dict[GroupDecider, SliceAhead | None]]
GROUPS_MAX = 16
"""So many are looked at together."""


class _InTurns(NamedTuple):
    decider: GroupDecider
    entry: WorkEntry
    stamp: int
    """When it was written, in ms."""

    @property
    def is_event(self) -> bool:
        """For named people. A tick waits for time alone, and comes for all groups at once."""
        return self.entry[1].startswith(_EVENT)


class _OfWorker:
    """What waits in one thread: of a group in the order in which it came, and the groups in turn."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.alternation = Alternation(monotonic)
        self.ends_at = 0.0
        """When its turn is over, by the monotonic clock."""
        self.waiting: dict[GroupDecider, deque[_InTurns]] = {}
        self.events = Counter[GroupDecider]()
        """How many events for named people wait of a group; only groups with some."""
        self.gives = self.gave_way = False
        """An event for named people was decided since the last turn; a turn was put off for one."""
        self.hurried = False
        """The last turn ended early, since it had decided all events for named people."""
        self.leader: object = None
        self.decided: dict[GroupDecider, None] = {}
        """By the leader, since this was last asked for."""
        self.ahead: dict[GroupDecider, SliceAhead | None] = {}
        """What was found of the next record of groups that wait."""

    def put(self, each: _InTurns) -> None:
        """Let it wait."""
        self.waiting.setdefault(each.decider, deque()).append(each)
        if each.is_event:
            self.events[each.decider] += 1

    def take(self) -> _InTurns:
        """Whose turn it is."""
        decider = next(iter(self.events), None) or next(iter(self.waiting))
        queue = self.waiting.pop(decider)
        each = queue.popleft()
        if queue:
            self.waiting[decider] = queue
        if each.is_event:
            self.events[decider] -= 1
            if not self.events[decider]:
                del self.events[decider]
        return each

    def next_of_groups(self) -> Iterator[tuple[GroupDecider, WorkEntry]]:
        """Whose turns come next, while no event for named people waits."""
        return ((decider, queue[0].entry) for decider, queue in self.waiting.items())

    def gives_way(self) -> bool:
        """Whether the turn is put off, once: what events for named people lead to leaves the step first."""
        self.gave_way, self.gives = self.gives and not self.gave_way, False
        return self.gave_way


class SliceTurns:
    """Of one process; each worker, which is a thread, has its own."""

    def __init__(self, room: int, monotonic: Callable[[], float], look_ahead: LookAhead = lambda _waiting: {}) -> None:
        """`room`: so many records of a partition may wait, and a portion of the source more. `look_ahead` may evaluate
        the first of those that come next, each the next record of its group.
        """
        self._room, self._monotonic, self._look_ahead = room, monotonic, look_ahead
        self._workers: dict[int, _OfWorker] = {}
        self._lock = threading.Lock()
        self._stamps = defaultdict[int, Counter[int]](Counter)
        """By partition: how much waits of each time, about in the order in which it came."""
        self._waits = Counter[int]()
        """By partition: how much waits."""

    @property
    def _mine(self) -> _OfWorker:
        return self._workers.setdefault(threading.get_ident(), _OfWorker(self._monotonic))

    def has_room(self, partition: int) -> bool:
        """Whether more of a partition may be read; each look at the log asks, and a turn begins with it."""
        self._mine.ends_at = self._monotonic() + _TURN_S
        self._mine.alternation.looked()
        return self._waits[partition] < self._room

    def oldest_ms(self, partition: int) -> int | None:
        """When the oldest was written that waits."""
        with self._lock:
            return next(iter(self._stamps[partition]), 0) or None  # 0: it does not read, and will be a dead letter

    def busy(self) -> bool:
        """Whether something waits in this thread."""
        return bool(self._mine.waiting)

    def leads(self, who: object) -> bool:
        """Whether this step is the one that calls `go_on`: one for all groups of a worker."""
        return self._mine.leader is who

    def decide(self, who: object, decider: GroupDecider, entries: Sequence[WorkEntry]) -> list[NewRecord]:
        """What these lead to, as far as it is their turn. If some have to wait, `who` may become the leader."""
        mine, begin = self._mine, 0
        outputs: list[NewRecord] = []
        while begin < len(entries) and decider not in mine.waiting:
            over = self._monotonic() >= mine.ends_at
            end = _next_long(decider, entries, begin, over=over)
            if end == begin and over:
                break
            end += end == begin
            outputs += decider.decide(entries[begin:end])
            if mine.waiting:
                mine.gives = mine.gives or any(value.startswith(_EVENT) for _, value in entries[begin:end])
            begin = end
        for entry in entries[begin:]:
            self._wait(mine, decider, entry)
        if mine.waiting and mine.leader is None:
            mine.leader = who
        return outputs

    def go_on(self) -> Iterator[NewRecord]:
        """A turn of what waits, one record at least; nothing if the log was not looked at since the last one.

        It ends with the last event for named people, too, but no two turns in a row.
        """
        mine, ends_at = self._mine, self._monotonic() + _TURN_S
        if not mine.alternation.my_turn() or mine.gives_way():
            return
        hurries, mine.hurried = bool(mine.events) and not mine.hurried, False
        while mine.waiting:
            yield from self._next(mine)
            mine.hurried = hurries and not mine.events
            if mine.hurried or self._monotonic() >= ends_at:
                break
        else:
            mine.leader = None
        mine.alternation.done()

    def rest(self) -> Iterator[NewRecord]:
        """All that waits in this thread."""
        mine = self._mine
        while mine.waiting:
            yield from self._next(mine)
        mine.leader = None

    def take_decided(self) -> list[GroupDecider]:
        """Which groups the leader has decided something of since the last call."""
        mine = self._mine
        found, mine.decided = list(mine.decided), {}
        return found

    def _wait(self, mine: _OfWorker, decider: GroupDecider, entry: WorkEntry) -> None:
        waiting = _InTurns(decider, entry, stamp_of(entry[1]))
        mine.put(waiting)
        with self._lock:
            self._stamps[decider.partition][waiting.stamp] += 1
            self._waits[decider.partition] += 1

    def _next(self, mine: _OfWorker) -> list[NewRecord]:
        if not mine.ahead and not mine.events:
            mine.ahead = self._look_ahead(islice(mine.next_of_groups(), GROUPS_MAX))
        decider, entry, stamp = mine.take()
        mine.decided[decider] = None
        with self._lock:
            stamps = self._stamps[decider.partition]
            stamps[stamp] -= 1
            if not stamps[stamp]:
                del stamps[stamp]
            self._waits[decider.partition] -= 1
        ahead = mine.ahead.pop(decider, None)
        return decider.decide([entry]) if ahead is None else decider.decide([entry], ahead)


def _next_long(decider: GroupDecider, entries: Sequence[WorkEntry], begin: int, *, over: bool) -> int:
    """Where what may take long begins: a slice, or once the time is over what is due."""
    for at, (_, value) in enumerate(islice(entries, begin, None), begin):
        if value.startswith(_SLICE) or (over and decider.releases(value)):
            return at
    return len(entries)
