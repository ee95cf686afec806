"""Slices of fan-outs that a lane has read and not opened yet.

To read a slice costs next to nothing, to open it a few milliseconds. So slices wait, and are opened a few at a time: an
emission for one person that comes behind them in the log does not wait until all of them are open. They wait as they
came, on this side of the lane's mark; a restart reads them again.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Set
from typing import NamedTuple

from connectors.log.interface import Record
from flows.steps.deliver.rooms import room_of
from state.model.envelope import OutputHeader, TopicPartition

OPEN_BELOW = 10_000
"""A slice is opened while fewer pushes of the lane are open, or a quarter of another channel's; one of P2 while fewer
than half: the other half of the channel's room is for what comes for one person."""
_DELIVERY_BYTES = 1_000
"""An open delivery takes about as much memory."""


class WaitingSlice(NamedTuple):
    """A record as it came, and its parsed header `seq`."""

    record: Record
    sequence: OutputHeader

    @property
    def place(self) -> TopicPartition:
        """Where it came from."""
        return self.record.topic, self.record.partition

    @property
    def channel(self) -> str:
        """On which it is sent."""
        return self.record.topic.removeprefix("deliver.")

    @property
    def size(self) -> int:
        """How many open deliveries take as much memory."""
        return max(1, len(self.record.value) // _DELIVERY_BYTES)


class WaitingSlices:
    """Of one lane, in the order in which they came; for one thread at a time."""

    def __init__(self) -> None:
        self.sizes = Counter[str]()
        """By channel: how many open deliveries take as much memory. The channel's bound holds for both together."""
        self._classes: tuple[dict[str, deque[WaitingSlice]], dict[str, deque[WaitingSlice]]] = {}, {}
        self._offsets = defaultdict[TopicPartition, set[int]](set)
        self._work_offsets: dict[int, Counter[int]] = {}
        """By key group: those that they follow from."""

    def put(self, waiting: WaitingSlice, *, in_p2: bool) -> None:
        """Let it wait."""
        self._classes[in_p2].setdefault(waiting.channel, deque()).append(waiting)
        self.sizes[waiting.channel] += waiting.size
        self._offsets[waiting.place].add(waiting.record.offset)
        self._work_offsets.setdefault(waiting.sequence.group, Counter())[waiting.sequence.offset] += 1

    def take(self, open_on: Callable[[str], int], most: int = OPEN_BELOW) -> WaitingSlice | None:
        """The next to open, of a channel on which fewer than `most` are open; None: not now. Channels take turns."""
        found = self._next(open_on, most)
        if found is None:
            return None
        channels, channel = found
        waiting = channels.pop(channel)
        taken = self._taken(waiting.popleft())
        if waiting:
            channels[channel] = waiting
        return taken

    def may_take(self, open_on: Callable[[str], int], most: int) -> bool:
        """Whether there is one."""
        return self._next(open_on, most) is not None

    def _next(self, open_on: Callable[[str], int], most: int) -> tuple[dict[str, deque[WaitingSlice]], str] | None:
        for channels, open_below in zip(self._classes, (OPEN_BELOW, OPEN_BELOW // 2), strict=True):
            for channel in channels:
                if open_on(channel) < min(most, room_of(channel, open_below)):
                    return channels, channel
        return None

    def first_of(self, group: int) -> int | None:
        """The first offset of `work` from which a waiting slice of the key group follows."""
        return min(self._work_offsets[group]) if group in self._work_offsets else None

    def offsets(self, place: TopicPartition) -> Set[int]:
        """What waits of a topic's partition."""
        return self._offsets[place]

    def _taken(self, waiting: WaitingSlice) -> WaitingSlice:
        self.sizes[waiting.channel] -= waiting.size
        self._offsets[waiting.place].discard(waiting.record.offset)
        group, offset = waiting.sequence.group, waiting.sequence.offset
        counts = self._work_offsets[group]
        counts[offset] -= 1
        if not counts[offset]:
            del counts[offset]
        if not counts:
            del self._work_offsets[group]
        return waiting
