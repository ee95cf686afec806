"""Recipients of one event who are held until one time for one reason, together as columns (RULES 3.D).

Whatever is rare takes a recipient out of his batch: he then waits in a `PendingGroup` of his own, as if he had been
decided alone.
"""

from array import array
from bisect import bisect_left
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from state.decide.pending import HELD, Item, PendingGroup, PendingKey
from state.model.event import Event

Numbers = npt.NDArray[np.int32]


class Wait(NamedTuple):
    """What all members of a batch share; the times are ms."""

    event: Event
    place: int
    due: int
    own_wait: bool
    """Whether waiting here is the user's own (quiet hours)."""
    joined_at: int
    waited_ms: int
    """Own waiting before this hold."""
    since: int
    """Since when they wait in this hold."""
    follower_age_ms: int | None


class HeldMembers(NamedTuple):
    """Rows, ascending; whether each has an inbox row; the counts that his last gate saw."""

    rows: Numbers
    inbox: npt.NDArray[np.bool_]
    hour: Numbers
    day: Numbers

    def only(self, kept: npt.NDArray[np.bool_]) -> "HeldMembers":
        return HeldMembers(self.rows[kept], self.inbox[kept], self.hour[kept], self.day[kept])


class HeldBatch:
    """A batch; `number` names it and its timer, given when it is put into the table."""

    __slots__ = ("_sorted", "_taken", "_whole", "number", "unstored", "wait")

    def __init__(self, wait: Wait, members: HeldMembers, number: int = -1) -> None:
        """`number` is known of one that was stored."""
        self.wait = wait
        self.number = number
        self._whole = members
        self._sorted = array("i", members.rows.tobytes())
        self._taken: set[int] = set()
        self.unstored: list[int] = []
        """Rows taken out since the batch was stored."""

    def __len__(self) -> int:
        return len(self._sorted) - len(self._taken)

    def __contains__(self, row: int) -> bool:
        found = bisect_left(self._sorted, row)
        return found < len(self._sorted) and self._sorted[found] == row and row not in self._taken

    def members(self) -> HeldMembers:
        """Who is still in it."""
        if not self._taken:
            return self._whole
        return self._whole.only(~np.isin(self._whole.rows, np.fromiter(self._taken, np.int32)))

    def take_out(self, row: int) -> PendingGroup:
        """The group of a member who from now on waits alone."""
        found, wait = bisect_left(self._sorted, row), self.wait
        self._taken.add(row)
        self.unstored.append(row)
        item = Item(
            wait.event, wait.place, wait.joined_at,
            inbox=bool(self._whole.inbox[found]), follower_age_ms=wait.follower_age_ms,
        )  # fmt: skip
        item.waited_ms = wait.waited_ms
        item.cap_hour, item.cap_day = int(self._whole.hour[found]), int(self._whole.day[found])
        group = PendingGroup(row, PendingKey("single", place=wait.place), wait.place)
        group.state, group.own_wait = HELD, wait.own_wait
        group.join(item, wait.since)
        return group

    def left(self, rows: Numbers) -> None:
        """These members were taken out before it was loaded."""
        self._taken.update(rows.tolist())
