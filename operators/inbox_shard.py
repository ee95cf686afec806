"""Operations of topic `inbox` applied to the inboxes of many users, each operation once.

`InboxShard` keeps the rows it touched in memory up to a bound, drops what is not above the mark of its (source, key
group), counts items per key group, and gives what a store must hold. It reads no clock: its time for retirement is the
latest `at` it has seen. What one event brings to many users it keeps as a slice (`operators/inbox_slices.py`).
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from operators.inbox import InboxConfig, UserInbox, retirement_due
from operators.inbox_rows import RowSource
from operators.inbox_slices import ShardSlices, SliceSource
from state.inbox.values import InboxTotals, Mark, ShardCommit, Subject
from state.model.envelope import OutputHeader
from state.model.inbox import AddedSlice, InboxOperation, StoredOperation
from state.model.keys import key_group

_NONE = InboxTotals()
_NOT_YET: Mark = (-1, -1)


@dataclass(frozen=True, slots=True)
class ShardConfig:
    """Rules and bounds of a shard."""

    inbox: InboxConfig = field(default_factory=InboxConfig)
    """How long rows stay."""
    cached_rows_max: int = 5_000
    """Rows of users kept in memory between commits, and users themselves: mostly for rows that many items join."""


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """What a key group's rows are as of `marks` (laws of TOPICS.md)."""

    group: int
    marks: Mapping[str, Mark]
    totals: InboxTotals


class InboxShard:
    """The inboxes of the key groups of one partition; one thread at a time."""

    def __init__(
        self,
        rows: RowSource,
        marks: Mapping[tuple[str, int], Mark],
        totals: Mapping[int, InboxTotals],
        config: ShardConfig | None = None,
        slices: SliceSource | None = None,
    ) -> None:
        """`slices` is where slices are stored; without it, all rows are those of single users."""
        self._source, self._config = rows, config or ShardConfig()
        self._slices = ShardSlices(slices)
        self._marks, self._totals = dict(marks), dict(totals)
        self._inboxes: OrderedDict[str, UserInbox] = OrderedDict()
        self._cached_rows = 0
        """Rows of these, and one for each of them: asking them all at every commit would cost more than the commit."""
        self._changed_users: set[str] = set()
        self._changed_marks: set[tuple[str, int]] = set()
        self._changed_totals: set[int] = set()
        self._uncounted: set[int] = set(self._totals)
        self.now_ms = self._slices.now_ms()
        """The latest time of an item seen: the clock of retirement."""

    def apply(
        self, place: OutputHeader, operations: Sequence[StoredOperation] | AddedSlice, *, again: bool = False
    ) -> bool:
        """Apply the operations of one record, in order. False: they were applied before, nothing is done.

        `again`: the record was set aside, so its mark does not count. After an error it may be half applied: the caller
        loads the store again.
        """
        source, mark = (place.source, place.group), place.mark
        if mark <= self._marks.get(source, _NOT_YET) and not again:
            return False
        if isinstance(operations, AddedSlice):
            for part in operations.parts():
                self._apply_slice(place.group, part)
        else:
            for operation in operations:
                self._apply(place.group, operation)
        self._pass(source, mark)
        return True

    def _apply_slice(self, group: int, part: AddedSlice) -> None:
        if self._slices.accepts(group, part):
            self._add_slice(group, part)
        else:
            for operation in part:
                self._apply(group, operation)

    def pass_over(self, place: OutputHeader) -> None:
        """Everything up to this record of its source is dealt with."""
        self._pass((place.source, place.group), place.mark)

    def _pass(self, source: tuple[str, int], mark: Mark) -> None:
        if mark > self._marks.get(source, _NOT_YET):
            self._marks[source] = mark
        self._changed_marks.add(source)
        self._uncounted.add(source[1])

    def recount(self, group: int) -> None:
        """Its counts are to be taken again, for a reason that is not in its rows."""
        self._uncounted.add(group)

    def sweep(self, group: int, users: Iterable[str]) -> int:
        """Retire old rows of these users of a group, and its old slices. Gives the items that went."""
        before = self._totals.get(group, _NONE).retired
        retired = self._slices.retire(group, self.now_ms - self._config.inbox.retention_ms)
        if retired:
            self._count(group, items=-retired, retired=retired)
        for user in users:
            if self._is_due(group, user):
                inbox = self._inbox(user)
                rows = inbox.in_memory()
                self._retire(group, user, inbox, self.now_ms)
                self._cached_rows += inbox.in_memory() - rows
        retired = self._totals.get(group, _NONE).retired - before
        if retired:
            self._uncounted.add(group)
        return retired

    def crowded(self, group: int) -> bool:
        """Whether users who have no row of their own may have too many all the same."""
        return self._slices.may_bring_over(self._config.inbox.rows_max, group)

    def audited(self, group: int, items: int) -> bool:
        """Take over what was counted row by row in the store as of the last commit. False: the totals differed."""
        totals = self._totals.get(group, _NONE)
        if totals.items == items:
            return True
        self._totals[group] = totals._replace(items=items)
        self._changed_totals.add(group)
        self._uncounted.add(group)
        return False

    def missing(self, users: Iterable[str]) -> dict[str, int | None]:
        """Those of whom something is not in memory: the number above which it is slices, None where it is all."""
        found: dict[str, int | None] = {}
        for user in users:
            inbox = self._inboxes.get(user)
            if inbox is None or inbox.head.merged < self._slices.newest(user):
                found[user] = None if inbox is None else inbox.head.merged
        return found

    def joined(self, operations: Iterable[StoredOperation]) -> set[tuple[str, Subject]]:
        """The (user, subject) of items that may join a stored row, where it is not known which."""
        wanted = {(each.user, (each.type, each.object)) for each in operations if each.op == "add" and each.windowed}
        return {(user, subject) for user, subject in wanted if not self._knows_open(user, subject)}

    def _knows_open(self, user: str, subject: Subject) -> bool:
        inbox = self._inboxes.get(user)
        return inbox is not None and inbox.knows_open(subject)

    def take_commit(self, offset: int) -> ShardCommit:
        """Everything that changed since the last call; the caller must commit it before it goes on."""
        users = {user: self._inboxes[user].take_changes() for user in self._changed_users}
        marks = {source: self._marks[source] for source in self._changed_marks}
        totals = {group: self._totals[group] for group in self._changed_totals}
        self._changed_users, self._changed_marks, self._changed_totals = set(), set(), set()
        return ShardCommit(users, marks, totals, offset, slices=self._slices.take_changes())

    def committed(self) -> None:
        """The commit is durable: memory beyond the bound may go."""
        while self._cached_rows > self._config.cached_rows_max:
            _, inbox = self._inboxes.popitem(last=False)
            self._cached_rows -= inbox.in_memory() + 1

    def take_counts(self) -> list[ShardCounts]:
        """Counts of the groups that changed since they were last taken; all groups, the first time."""
        groups, self._uncounted = sorted(self._uncounted), set()
        return [self._counts(group) for group in groups]

    def _counts(self, group: int) -> ShardCounts:
        marks = {source: mark for (source, each), mark in self._marks.items() if each == group}
        return ShardCounts(group, marks, self._totals.get(group, _NONE))

    def _inbox(self, user: str) -> UserInbox:
        """A user's rows, with those of his slices, for whoever changes them."""
        inbox = self._inboxes.get(user)
        if inbox is None:
            inbox = self._inboxes[user] = UserInbox(head=self._source.head(user), source=self._source, user=user)
            self._cached_rows += 1
        else:
            self._inboxes.move_to_end(user)
        if inbox.head.merged < (newest := self._slices.newest(user)):
            self._merge(user, inbox, newest)
        return inbox

    def _merge(self, user: str, inbox: UserInbox, newest: int) -> None:
        """Each slice as if it had been added when it came; it is counted already."""
        group, rows = key_group(user), inbox.in_memory()
        for event in self._slices.take(user, inbox.head.merged):
            inbox.add(
                type=event.type, object=event.object, windowed=False, event_id=event.event_id, actor=event.actor,
                at=event.at, place=event.place, payload=event.payload, language=event.language,
            )  # fmt: skip
            self._retire(group, user, inbox, event.now_ms)
            self._changed_users.add(user)
        inbox.head.merged = newest
        self._cached_rows += inbox.in_memory() - rows

    def _is_due(self, group: int, user: str) -> bool:
        """Whether a sweep may find something: only then are his slices merged."""
        inbox = self._inboxes.get(user)
        head, config = self._source.head(user) if inbox is None else inbox.head, self._config.inbox
        free = config.rows_max - head.rows
        return retirement_due(head, self.now_ms, config) or self._slices.may_bring_over(free, group, head.merged)

    def _apply(self, group: int, operation: StoredOperation) -> None:
        inbox = self._inbox(operation.user)
        self._changed_users.add(operation.user)
        rows = inbox.in_memory()
        match operation.op:
            case "add":
                self._add(group, operation, inbox)
            case "read" | "status":
                change_rows(inbox, operation)
            case "erase":
                erased = inbox.erase()
                self._count(group, items=-erased, retired=erased)
            case _:
                taken = int(take_items(inbox, operation))
                self._count(group, items=-taken, taken_back=taken)
        if operation.logged is not None:
            inbox.head.logged = operation.logged
        self._cached_rows += inbox.in_memory() - rows

    def _add(self, group: int, operation: StoredOperation, inbox: UserInbox) -> None:
        inbox.add(
            type=operation.type,
            object=operation.object,
            windowed=operation.windowed,
            event_id=operation.event_id,
            actor=operation.actor,
            at=operation.at,
            place=operation.place,
            payload=operation.payload_json(),
            language=operation.language,
        )
        self._count(group, items=1, added=1)
        self.now_ms = max(self.now_ms, operation.at)
        self._retire(group, operation.user, inbox, self.now_ms)

    def _add_slice(self, group: int, added: AddedSlice) -> None:
        self.now_ms = max(self.now_ms, added.operation.at)
        self._slices.add(group, added, self.now_ms)
        self._count(group, items=len(added), added=len(added))

    def _retire(self, group: int, user: str, inbox: UserInbox, now_ms: int) -> None:
        if not retirement_due(inbox.head, now_ms, self._config.inbox):
            return
        self._changed_users.add(user)  # also where nothing went: how old the rest is was found out
        retired = inbox.retire(now_ms, self._config.inbox)
        if retired:
            self._count(group, items=-retired, retired=retired)

    def _count(self, group: int, items: int, added: int = 0, taken_back: int = 0, retired: int = 0) -> None:
        totals = self._totals.get(group, _NONE)
        self._totals[group] = InboxTotals(
            totals.items + items, totals.added + added, totals.taken_back + taken_back, totals.retired + retired
        )
        self._changed_totals.add(group)


def change_rows(inbox: UserInbox, operation: InboxOperation) -> None:
    """What the user himself did with his rows."""
    if operation.status is None:
        inbox.read(operation.up_to or 0)
    else:
        inbox.set_status(operation.status, operation.rows, operation.up_to or 0)


def take_items(inbox: UserInbox, operation: InboxOperation) -> bool:
    """Take back one item, or retract one: whether there was one."""
    if operation.op == "take_back":
        return inbox.take_back(type=operation.type, object=operation.object, event_id=operation.event_id)
    return inbox.retract(
        type=operation.type,
        actor=operation.actor,
        object=operation.object,
        parent_event_id=operation.parent_event_id,
    )
