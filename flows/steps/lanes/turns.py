"""The lanes of a worker work in turn: between two looks at the log one of them does.

When all of them worked, what came for one person meanwhile waited for four slices to be opened, and once an epoch for
four files to be written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from flows.steps.alternation import Alternation
from flows.steps.lanes.lane import Lane


class LaneTurns:
    """Of one worker; asked by its thread, while any thread may say that an epoch is complete."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic`: seconds."""
        self.alternation = Alternation(monotonic)
        self._lanes = deque[Lane]()

    def may_work(self, lane: Lane) -> bool:
        """Whether it is the turn of this one, which is busy."""
        if lane not in self._lanes:
            self._lanes.append(lane)
        first = next((each for each in self._lanes if each.busy), lane)  # what it had to store, another may have stored
        return self.alternation.my_turn() and first is lane

    def works(self, lane: Lane) -> None:
        """It does, and is the last then."""
        if lane in self._lanes:
            self._lanes.remove(lane)
            self._lanes.append(lane)
            self.alternation.done()
