"""The slices of a shard's key groups: an event for many users at once, stored once and merged into a row when needed.

A slice is all members' rows until something else happens to a member (he reads, another item comes, one is taken back).
Then the slices that he is in get into his own rows, in order, each as if it had been added when it came. How many
members have done so is counted, so that what a retired slice takes with it is known.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Protocol

from state.inbox.slices import name_of
from state.inbox.values import NewSlice, SliceChanges, SliceEvent, SliceRange
from state.model.inbox import AddedSlice, StoredOperation
from state.model.keys import key_group


class SliceSource(Protocol):
    """The slices as of the last commit."""

    def slice_ranges(self) -> dict[int, SliceRange]:
        """Give what is kept, by key group."""
        ...

    def slices(self, user: str, above: int) -> list[SliceEvent]:
        """Give the kept slices that a user is in, numbered above `above`, in order."""
        ...

    def slice_event(self, group: int, number: int) -> SliceEvent:
        """Give a kept slice."""
        ...

    def slices_before(self, group: int, at: int) -> list[tuple[int, int]]:
        """Give (number, members who do not have it in their own rows) of the kept slices older than `at`, in order."""
        ...


@dataclass(slots=True)
class _Fresh:
    """A slice that is not committed yet."""

    slice: NewSlice
    members: set[bytes] | None = None

    def holds(self, user: str) -> bool:
        if self.members is None:
            self.members = set(self.slice.names[1:-1].split(b"\0"))
        return name_of(user) in self.members


@dataclass(slots=True)
class _Group:
    range: SliceRange
    committed: int
    fresh: list[_Fresh] = field(default_factory=list)
    latest: SliceEvent | None = None
    """The newest, once it came or was read."""


class ShardSlices:
    """What a shard knows of slices; without a source it takes none."""

    def __init__(self, source: SliceSource | None) -> None:
        self._source = source
        ranges = {} if source is None else source.slice_ranges()
        self._groups = {group: _Group(kept, kept.newest) for group, kept in ranges.items()}
        self._new: list[NewSlice] = []
        self._taken: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._retired: dict[int, int] = {}

    def now_ms(self) -> int:
        """The clock of retirement when the latest slice came."""
        return max((known.range.now_ms for known in self._groups.values()), default=0)

    def accepts(self, group: int, added: AddedSlice) -> bool:
        """Whether it can be a slice: its users are of the group, and `at` does not fall: numbers order rows."""
        known = self._groups.get(group)
        in_order = known is None or added.operation.at >= known.range.newest_at
        return self._source is not None and in_order and key_group(added.operation.user) == group

    def add(self, group: int, added: AddedSlice, now_ms: int) -> None:
        """It comes."""
        known = self._groups.setdefault(group, _Group(SliceRange(), 0))
        number, each = known.range.newest + 1, added.operation
        ordinal = self._next_ordinal(group, each) if self.kept(group) else number
        event = SliceEvent(
            number, each.type, each.object, each.event_id, each.actor, each.at, each.place, each.payload_json(), now_ms,
            len(added), each.language, ordinal,
        )  # fmt: skip
        known.range = known.range._replace(newest=number, newest_at=each.at, now_ms=now_ms)
        self._new.append(NewSlice(group, event, added.names))
        known.fresh.append(_Fresh(self._new[-1]))
        known.latest = event

    def _next_ordinal(self, group: int, added: StoredOperation) -> int:
        """That of the newest slice, if it is of the same event."""
        latest = self._latest(group)
        same = (latest.event_id, latest.place) == (added.event_id, added.place)
        return _ordinal(latest) + (not same)

    def newest(self, user: str) -> int:
        """Number of the latest slice of the user's group, 0 if it never had one."""
        known = self._groups.get(key_group(user)) if self._groups else None
        return 0 if known is None else known.range.newest

    def take(self, user: str, above: int) -> list[SliceEvent]:
        """The slices that a user is in, above this number: the caller puts them into his rows, and stores them."""
        group = key_group(user)
        known = self._groups[group]
        found: list[SliceEvent] = []
        if above < known.committed and self._source is not None:
            kept_from = known.range.kept_from
            found = [event for event in self._source.slices(user, above) if event.number >= kept_from]
        found += [each.slice.event for each in known.fresh if each.slice.event.number > above and each.holds(user)]
        for event in found:
            self._taken[group, event.number] += 1
        return found

    def kept(self, group: int, above: int = 0) -> int:
        """How many slices of a group are kept, above this number."""
        known = self._groups.get(group)
        return 0 if known is None else known.range.newest - max(above, known.range.kept_from - 1)

    def may_bring_over(self, rows: int, group: int, above: int = 0) -> bool:
        """Whether the kept slices above a number may bring a user more rows than this: each event brings him one."""
        if self.kept(group, above) <= rows:
            return False
        first = max(above + 1, self._groups[group].range.kept_from)
        return _ordinal(self._latest(group)) - _ordinal(self._event(group, first)) >= rows

    def _latest(self, group: int) -> SliceEvent:
        """The newest slice of a group that keeps some."""
        known = self._groups[group]
        if known.latest is None:
            known.latest = self._event(group, known.range.newest)
        return known.latest

    def _event(self, group: int, number: int) -> SliceEvent:
        known = self._groups[group]
        if number > known.committed:
            return known.fresh[number - known.committed - 1].slice.event
        assert self._source is not None
        return self._source.slice_event(group, number)

    def retire(self, group: int, before_ms: int) -> int:
        """Drop the slices that are older than this. Gives the rows of members who had it in no other place."""
        if self._source is None or not self.kept(group):
            return 0
        old = [each for each in self._source.slices_before(group, before_ms) if each[0] > self._retired.get(group, 0)]
        if old:
            known = self._groups[group]
            self._retired[group] = old[-1][0]
            known.range = known.range._replace(kept_from=old[-1][0] + 1)
        return sum(left - self._taken[group, number] for number, left in old)

    def take_changes(self) -> SliceChanges:
        """What changed since the last call; the caller must commit it."""
        changes = SliceChanges(self._new, {key: count for key, count in self._taken.items() if count}, self._retired)
        self._new, self._retired = [], {}
        self._taken.clear()
        for known in self._groups.values():
            known.committed, known.fresh = known.range.newest, []
        return changes


def _ordinal(event: SliceEvent) -> int:
    return event.ordinal or event.number
