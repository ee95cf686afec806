"""Followers of each followee and members of each segment within one key group, as sets of rows.

Most sets are tiny, since a followee's followers are spread over all key groups: a set of one row is a number, a small
one a stretch of a common buffer, and only a large one is an object that gathers changes. Names are kept once for all
key groups of a worker, and an audience has their numbers.
"""

import sys
from array import array
from bisect import bisect_left
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from state.decide.local_numbers import LocalNumbers
from state.decide.packed_texts import PackedTexts, TextStretch

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


_EMPTY = -1
_FIRST = -2
"""At and below it: the place of a stretch, negated."""
_KEPT_WASTE = 1 << 14
_HEAD = 2


class SmallSets:
    """Sorted rows by number of the set, in one buffer: [rows, room, row ...]. One row alone is not in the buffer."""

    def __init__(self, kept_waste: int = _KEPT_WASTE) -> None:
        self._kept_waste = kept_waste
        self._of = array("i")
        self._buffer = array("i")
        self._waste = 0

    def append(self) -> None:
        """One more set, empty."""
        self._of.append(_EMPTY)

    def rows(self, number: int) -> "array[int]":
        """A copy of a set."""
        found = self._of[number]
        if found >= 0:
            return array("i", (found,))
        if found == _EMPTY:
            return array("i")
        at = _FIRST - found
        return self._buffer[at + _HEAD : at + _HEAD + self._buffer[at]]

    def put(self, number: int, rows: "array[int]") -> None:
        """Let a set be these rows."""
        found, size = self._of[number], len(rows)
        at = _FIRST - found
        if size > 1 and at >= 0 and size <= self._buffer[at + 1]:
            self._buffer[at] = size
            self._buffer[at + _HEAD : at + _HEAD + size] = rows
            return
        if at >= 0:
            self._waste += _HEAD + self._buffer[at + 1]
        self._of[number] = rows[0] if size == 1 else _FIRST - len(self._buffer) if size else _EMPTY
        if size > 1:
            room = size + size // 4
            self._buffer.extend((size, room))
            self._buffer.extend(rows)
            self._buffer.extend([0] * (room - size))
        if self._waste > max(self._kept_waste, len(self._buffer) // 3):
            # At once, in columns: one by one it costs more than all the changes that made the waste.
            self.fill(*self.stretch(slice(0, len(self._of))))

    def fill(self, rows: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32]) -> None:
        """Let these be all sets: their rows one behind the other, and how many each has."""
        several, one = sizes > 1, sizes == 1
        stretches = np.where(several, sizes + _HEAD, 0)
        places = (np.cumsum(stretches) - stretches)[several]
        of, buffer = np.full(len(sizes), _EMPTY, np.int32), np.empty(stretches.sum(), np.int32)
        of[one] = rows[np.cumsum(sizes)[one] - 1]
        of[several] = _FIRST - places
        is_row = np.ones(len(buffer), np.bool_)
        for head in range(_HEAD):
            buffer[places + head] = sizes[several]
            is_row[places + head] = False
        buffer[is_row] = rows[np.repeat(several, sizes)]
        self._of, self._buffer = array("i", of.tobytes()), array("i", buffer.tobytes())
        self._waste = 0

    def stretch(self, part: slice) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Neighbouring sets, as `fill` takes them."""
        of, buffer = np.array(self._of[part], np.int32), np.frombuffer(self._buffer, np.int32)
        one, several = of >= 0, of <= _FIRST
        places, sizes = _FIRST - of[several], one.astype(np.int32)
        sizes[several] = buffer[places]
        rows, ends = np.empty(sizes.sum(), np.int32), np.cumsum(sizes)
        rows[ends[one] - 1] = of[one]
        inside = np.repeat(several, sizes)
        firsts = np.repeat(places + _HEAD - (ends - sizes)[several], sizes[several])
        rows[inside] = buffer[firsts + np.flatnonzero(inside)]
        return rows, sizes


class NamedSets(NamedTuple):
    """Neighbouring sets with their names."""

    names: TextStretch
    rows: npt.NDArray[np.int32]
    """Of all sets, one behind the other."""
    sizes: npt.NDArray[np.int32]
    """How many rows each set has."""


class Audience:
    """Named row sets; `changed` collects numbers of sets whose stored form is stale."""

    def __init__(self, texts: PackedTexts | None = None) -> None:
        """`texts` has names of other audiences as well; without it this one has its own."""
        self._texts = PackedTexts() if texts is None else texts
        self._names = LocalNumbers()
        self._small = SmallSets()
        self._large: dict[int, RowSet] = {}
        self.changed: set[int] = set()

    def number(self, name: str) -> int:
        """The number of a name; names are numbered as they come."""
        known = len(self._names)
        number = self._names.add(self._texts.add(name))
        if number == known:
            self._small.append()
        return number

    def _find(self, name: str) -> int | None:
        text = self._texts.find(name)
        return None if text is None else self._names.find(text)

    def add(self, name: str, row: int) -> None:
        number = self.number(name)
        found = self._large.get(number)
        if found is None:
            self._insert(number, row)
        else:
            found.put(row, member=True)
        self.changed.add(number)

    def _insert(self, number: int, row: int) -> None:
        packed = self._small.rows(number)
        at = bisect_left(packed, row)
        if at < len(packed) and packed[at] == row:
            return
        packed.insert(at, row)
        self._keep(number, packed)

    def _keep(self, number: int, rows: "array[int]") -> None:
        """Whatever the set was."""
        if len(rows) > PACKED_MAX:
            self._large[number] = RowSet(np.array(rows, np.int32))
            self._small.put(number, array("i"))
        else:
            self._large.pop(number, None)
            self._small.put(number, rows)

    def discard(self, name: str, row: int) -> None:
        number = self._find(name)
        if number is None:
            return
        self.changed.add(number)
        found = self._large.get(number)
        if found is not None:
            found.put(row, member=False)
            return
        packed = self._small.rows(number)
        at = bisect_left(packed, row)
        if at < len(packed) and packed[at] == row:
            del packed[at]
            self._small.put(number, packed)

    def replace(self, name: str, rows: Rows) -> None:
        """Exactly these rows from now on."""
        number = self.restore(name, np.unique(rows).astype("<i4").tobytes())
        self.changed.add(number)

    def rows(self, name: str) -> npt.NDArray[np.int32]:
        """Rows of a name, ascending; empty for an unknown one."""
        number = self._find(name)
        return np.empty(0, np.int32) if number is None else self._rows_of(number)

    def _rows_of(self, number: int) -> npt.NDArray[np.int32]:
        found = self._large.get(number)
        return np.array(self._small.rows(number), np.int32) if found is None else found.rows()

    def unstored(self, number: int, changes_max_share: float, stored_changes: int) -> dict[int, bool] | None:
        """The changes of a large set since `mark_stored`, or None: store the whole.

        So too where they and the changes stored before come to more than the share of what the set held at last.
        """
        found = self._large.get(number)
        if found is None or found.unstored is None:
            return None
        changes = stored_changes + len(found.unstored)
        return found.unstored if changes <= changes_max_share * found.merged else None

    def mark_stored(self, number: int) -> None:
        """Gather changes from now on."""
        found = self._large.get(number)
        if found is not None:
            found.unstored = {}

    def stored(self, number: int) -> bytes:
        """The rows of a set, ascending, as little-endian i32."""
        return self._rows_of(number).astype("<i4").tobytes()

    def restore(self, name: str, stored: bytes) -> int:
        """Take over what `stored` gave; gives the number."""
        number = self.number(name)
        self._keep(number, _unpacked(stored))
        return number

    def stretch(self, part: slice) -> NamedSets:
        """Neighbouring sets by their numbers; large ones are empty here."""
        return NamedSets(self._texts.take(self._names.part(part)), *self._small.stretch(part))

    def fill(self, sets: NamedSets) -> None:
        """What `stretch` gave of all of another audience, into an empty one."""
        self._names.extend(self._texts.add_all(sets.names))
        self._small.fill(sets.rows, sets.sizes)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, number: int) -> str:
        """The name of a number."""
        return self._texts[self._names[number]]

    def is_large(self, number: int) -> bool:
        """Whether a set is more than one of many packed ones."""
        return number in self._large

    def names(self) -> list[str]:
        return [self.name(number) for number in range(len(self))]


def _unpacked(stored: bytes) -> "array[int]":
    rows = array("i", stored)
    if sys.byteorder == "big":
        rows.byteswap()
    return rows
