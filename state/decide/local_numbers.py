"""Numbers of a large table that a part of it has, numbered by themselves as they come: nine bytes each.

A hash table of the part's numbers finds them: open addressing, four fifths full at most. Nothing is ever removed.
"""

from array import array

import numpy as np
import numpy.typing as npt

_FREE = -1
_SPREAD = 0x9E3779B1
"""Odd, and of no pattern: neighbours lie far from each other."""
_BITS = 32
_MASK = (1 << _BITS) - 1


class LocalNumbers:
    """`self[local]` is the number that came as the local-th."""

    def __init__(self) -> None:
        self._numbers = array("i")
        self._slots: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self._slot = self._slots.data
        self._most = -1
        """So many numbers the table may have; -1: it lacks some."""

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, local: int) -> int:
        return self._numbers[local]

    def part(self, part: slice) -> npt.NDArray[np.int32]:
        """Neighbouring ones."""
        return np.array(self._numbers[part], np.int32)

    def find(self, number: int) -> int | None:
        """Its local number, if it has one."""
        place = self._place(number)
        local = self._slot[place]  # not before: looking may build another table
        return None if local == _FREE else local

    def add(self, number: int) -> int:
        """Its local number, which is `len` of before if it is new."""
        place = self._place(number)
        local = self._slot[place]
        if local == _FREE:
            local = self._slot[place] = len(self._numbers)
            self._numbers.append(number)
        return local

    def extend(self, numbers: npt.NDArray[np.int32]) -> None:
        """Numbers that are not there yet."""
        if len(numbers):
            self._numbers.frombytes(numbers.astype(np.int32).tobytes())
            self._most = -1

    def _place(self, number: int) -> int:
        """Where the table has the number, or the free place where it belongs."""
        if len(self._numbers) > self._most:
            self._index()
        slots, numbers, size = self._slot, self._numbers, len(self._slot)
        place = (number * _SPREAD & _MASK) * size >> _BITS
        while (local := slots[place]) != _FREE and numbers[local] != number:
            place += 1
            if place == size:
                place = 0
        return place

    def _index(self) -> None:
        """Build the table again, all numbers at once."""
        count = len(self._numbers)
        size = (count * 10 // 7 if self._most < 0 else count * 2) + 16  # tight after a start, with room where it grows
        self._slots, self._most = np.full(size, _FREE, np.int32), size * 4 // 5 - 1
        spread = self.part(slice(0, count)).astype(np.uint64) * np.uint64(_SPREAD) & np.uint64(_MASK)
        places = (spread * np.uint64(size) >> np.uint64(_BITS)).astype(np.int64)
        place_all(self._slots, places, np.arange(count, dtype=np.int32))
        self._slot = self._slots.data


def place_all(slots: npt.NDArray[np.int32], places: npt.NDArray[np.int64], numbers: npt.NDArray[np.int32]) -> None:
    """Put each number where it belongs, or at the next free place behind it; a free one is -1."""
    while len(numbers):
        free = slots[places] == _FREE
        slots[places[free]] = numbers[free]  # of several the last one stays
        left = slots[places] != numbers
        numbers, places = numbers[left], (places[left] + 1) % len(slots)
