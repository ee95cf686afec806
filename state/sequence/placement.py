"""Which key groups an event may concern, without holding who follows whom (DECISIONS, Fan-outs without lists).

One bitmap of key groups per followee and per segment. A bit that was set stays set for followees: an empty slice is
harmless, a missing one would lose people.
"""

from collections.abc import Iterable, Iterator

from state.model.keys import KEY_GROUPS


def groups_in(bitmap: int) -> Iterator[int]:
    """The key groups whose bits are set, ascending."""
    while bitmap:
        lowest = bitmap & -bitmap
        yield lowest.bit_length() - 1
        bitmap ^= lowest


class GroupBitmaps:
    """Name to bitmap of key groups."""

    def __init__(self) -> None:
        self._bitmaps: dict[str, int] = {}
        self.changed: set[str] = set()
        """Names whose stored form is stale."""

    def add(self, name: str, group: int) -> None:
        before = self._bitmaps.get(name, 0)
        after = before | 1 << group
        if after != before:
            self._bitmaps[name] = after
            self.changed.add(name)

    def replace(self, name: str, groups: Iterable[int]) -> None:
        """Set exactly these groups."""
        after = 0
        for group in groups:
            after |= 1 << group
        self._bitmaps[name] = after
        self.changed.add(name)

    def of(self, name: str | None) -> int:
        return self._bitmaps.get(name, 0) if name is not None else 0

    def restore(self, name: str, bitmap: int) -> None:
        self._bitmaps[name] = bitmap


ALL_GROUPS = (1 << KEY_GROUPS) - 1


class Placement:
    """Followees and segments to key groups."""

    def __init__(self) -> None:
        self.followees = GroupBitmaps()
        self.segments = GroupBitmaps()
