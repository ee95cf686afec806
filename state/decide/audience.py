"""Followers of each followee and members of each segment within one key group, as sets of rows.

Most sets are tiny, since a followee's followers are spread over all key groups: a small set is one packed array, only a
large one is an object that gathers changes.
"""

import sys
from array import array
from bisect import bisect_left

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
PACKED_MAX = 512
"""Rows up to which a set is kept packed: a change costs a move of so many numbers at most."""


class RowSet:
    """A set of rows kept as one sorted array plus the changes since it was last asked for."""

    __slots__ = ("_added", "_removed", "_rows", "unstored")

    def __init__(self, rows: npt.NDArray[np.int32]) -> None:
        """The rows, ascending and distinct."""
        self._rows = rows
        self._added: set[int] = set()
        self._removed: set[int] = set()
        self.unstored: dict[int, bool] | None = None
        """Rows that came (true) or went since the set was stored; None: all of it is to be stored."""

    def put(self, row: int, *, member: bool) -> None:
        """Let a row be a member or not."""
        into, out_of = (self._added, self._removed) if member else (self._removed, self._added)
        out_of.discard(row)
        into.add(row)
        if self.unstored is not None:
            self.unstored[row] = member

    @property
    def merged(self) -> int:
        """Rows as of the last `rows`: asking costs nothing."""
        return len(self._rows)

    def rows(self) -> npt.NDArray[np.int32]:
        """The rows, ascending."""
        if self._added or self._removed:
            kept = np.setdiff1d(self._rows, np.fromiter(self._removed, np.int32), assume_unique=True)
            self._rows = np.union1d(kept, np.fromiter(self._added, np.int32)).astype(np.int32)
            self._added.clear()
            self._removed.clear()
        return self._rows


class Audience:
    """Named row sets; `changed` collects names whose stored form is stale."""

    def __init__(self) -> None:
        self._sets: dict[str, array[int] | RowSet] = {}
        self.changed: set[str] = set()

    def add(self, name: str, row: int) -> None:
        found = self._sets.get(name)
        if found is None:
            self._sets[name] = array("i", (row,))
        elif isinstance(found, RowSet):
            found.put(row, member=True)
        else:
            self._insert(name, found, row)
        self.changed.add(name)

    def _insert(self, name: str, packed: "array[int]", row: int) -> None:
        at = bisect_left(packed, row)
        if at < len(packed) and packed[at] == row:
            return
        packed.insert(at, row)
        if len(packed) > PACKED_MAX:
            self._sets[name] = RowSet(_unpacked(packed))

    def discard(self, name: str, row: int) -> None:
        found = self._sets.get(name)
        if found is None:
            return
        self.changed.add(name)
        if isinstance(found, RowSet):
            found.put(row, member=False)
            return
        at = bisect_left(found, row)
        if at < len(found) and found[at] == row:
            del found[at]

    def replace(self, name: str, rows: Rows) -> None:
        """Exactly these rows from now on."""
        self.restore(name, np.unique(rows).astype("<i4").tobytes())
        self.changed.add(name)

    def rows(self, name: str) -> npt.NDArray[np.int32]:
        """Rows of a name, ascending; empty for an unknown one."""
        found = self._sets.get(name)
        if found is None:
            return np.empty(0, np.int32)
        return found.rows() if isinstance(found, RowSet) else _unpacked(found)

    def unstored(self, name: str, changes_max_share: float, stored_changes: int) -> dict[int, bool] | None:
        """The changes of a large set since `mark_stored`, or None: store the whole.

        So too where they and the changes stored before come to more than the share of what the set held at last.
        """
        found = self._sets[name]
        if not isinstance(found, RowSet) or found.unstored is None:
            return None
        changes = stored_changes + len(found.unstored)
        return found.unstored if changes <= changes_max_share * found.merged else None

    def mark_stored(self, name: str) -> None:
        """Gather changes from now on."""
        found = self._sets[name]
        if isinstance(found, RowSet):
            found.unstored = {}

    def stored(self, name: str) -> bytes:
        """The rows of a name, ascending, as little-endian i32."""
        return self.rows(name).astype("<i4").tobytes()

    def restore(self, name: str, stored: bytes) -> None:
        """Take over what `stored` gave."""
        if len(stored) > 4 * PACKED_MAX:
            self._sets[name] = RowSet(np.frombuffer(stored, "<i4").astype(np.int32))
            return
        packed = array("i", stored)
        if sys.byteorder == "big":
            packed.byteswap()
        self._sets[name] = packed

    def names(self) -> list[str]:
        return list(self._sets)


def _unpacked(packed: "array[int]") -> npt.NDArray[np.int32]:
    return np.array(packed, np.int32)
