"""What an inbox store does for the flow that owns it, and for those who only read (the gateway, checks).

One store holds the key groups of one partition of topic `inbox`: so it has one writer, and its own offset in the log
says where that writer goes on. The laws that every implementation keeps are in `tests/connectors/inbox`:

- A commit is all or nothing: rows, marks, totals and offset are those before it or those after it, also after kill -9.
- Slices are as good as rows: a reader shows them as if each member had a row of his own from the start.
- Pages are ordered by (time of the latest item, number), newest first, without gap or repeat while nothing changes.
- A reader sees every commit that was complete when it was asked; what it showed does not go back.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from state.inbox.values import (
    InboxHead,
    InboxRow,
    InboxTotals,
    Mark,
    SetAside,
    ShardCommit,
    SliceEvent,
    SliceRange,
    StoredRow,
    Subject,
)
from state.model.settings import ReadRecord


class RowPosition(NamedTuple):
    """A row's position in its user's pages: the cursor of the next page."""

    at: int
    number: int


class RowPage(NamedTuple):
    """Some rows, newest first."""

    rows: tuple[InboxRow, ...]
    next: RowPosition | None
    """Pass as `before` to go on; None: these were the last."""
    unread: int
    """Unread rows of the whole inbox."""
    read_up_to: int | None
    """The greatest `up_to` of a read that the store already honours (ms UTC)."""
    logged: int = -1
    """Offset in `reads` of the latest record that it honours; -1: not known."""


class LoggedRead(NamedTuple):
    """What a user said of his rows, as the log has it."""

    offset: int
    """In `reads`, in the partition of his key group."""
    at: int
    """When (ms UTC): what "everything" means."""
    record: ReadRecord


class CountedItems(NamedTuple):
    """The items of a group, counted."""

    items: int
    """In users' own rows, and in slices alone."""
    effort: int
    """What counting them took, in items of rows; a slice takes as long as some of these, whatever is in it."""


@dataclass(frozen=True, slots=True)
class InboxAudit:
    """What a group's rows are and what is said of them, as of one commit."""

    items_counted: int
    """Items, counted row by row and slice by slice."""
    totals: InboxTotals
    """The running totals."""
    marks: Mapping[str, Mark]
    """Per source, what the rows include."""


class InboxStore(Protocol):
    """The owner's side. One thread at a time; every method may block on the disk."""

    def prepare(
        self, users: Mapping[str, int | None], joined: Collection[tuple[str, Subject]] = (), *, slices: bool = True
    ) -> None:
        """Read at once what will be asked for before the next commit; what was not read so is found, too.

        That is the heads of users, and `newest_windowed` of those `joined`. Of users with a number the head will not be
        asked for, and only the slices above it, without `slices` none at all.
        """
        ...

    def head(self, user: str) -> InboxHead:
        """Give a user's head, which says nothing of `slices`; that of an unknown user is empty."""
        ...

    def stored_rows(self, user: str, *, oldest_first: bool = False) -> Iterator[StoredRow]:
        """Give a user's own rows, in the order of pages, newest first, or the other way round."""
        ...

    def subject_rows(self, user: str, subject: Subject) -> list[StoredRow]:
        """Give a user's own rows of a subject."""
        ...

    def newest_windowed(self, user: str, subject: Subject) -> StoredRow | None:
        """Give the latest of a user's windowed rows of a subject, by number."""
        ...

    def marks(self) -> dict[tuple[str, int], Mark]:
        """Give the marks per (source, group)."""
        ...

    def totals(self) -> dict[int, InboxTotals]:
        """Give the running totals per group, as they were committed."""
        ...

    def set_aside(self) -> dict[int, SetAside]:
        """Give the records that could not be applied, by offset."""
        ...

    def slice_ranges(self) -> dict[int, SliceRange]:
        """Give the slices that are kept, by group; groups that never had one may be left out."""
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

    def count_items(self, group: int) -> CountedItems:
        """Count the items of a group, row by row and slice by slice: what `totals` claims, counted independently."""
        ...

    def users(self, group: int, after: str | None, limit: int, *, in_slices: bool = False) -> list[str]:
        """Give up to `limit` users of a group who have a head, in a stable order, beginning behind `after`.

        `in_slices`: also those who are in slices alone.
        """
        ...

    def offset(self) -> int:
        """Give the offset of the last commit, 0 if there is none."""
        ...

    def commit(self, commit: ShardCommit) -> None:
        """Make it true and durable, all or nothing."""
        ...

    def close(self) -> None:
        """Free the store."""
        ...


class InboxReader(Protocol):
    """The reading side, for any number of processes. Methods may be called by any thread and block for milliseconds."""

    def page(
        self, user: str, limit: int, before: RowPosition | None = None, *, archived: bool = False,
        said: Sequence[LoggedRead] = (),
    ) -> RowPage:  # fmt: skip
        """Give up to `limit` rows, newest first, with the payload of each row's newest item as JSON.

        Archived ones alone, or none of them. What the user `said`, in log order, is honoured also where the store does
        not do so yet; that takes as long as reading his rows down to the oldest one named.
        """
        ...

    def named(self, user: str, event_ids: Collection[str]) -> list[InboxRow]:
        """Give the rows that these events began, the newest of each, archived ones too."""
        ...

    def unread(self, user: str) -> int:
        """Give the number of unread rows."""
        ...

    def row(self, user: str, event_id: str) -> InboxRow | None:
        """Give the row that holds an item of this event, None if none does."""
        ...

    def applied(self, group: int) -> dict[str, Mark]:
        """Give the mark of each source for a group: what the rows of its users include."""
        ...

    def audit(self, group: int) -> InboxAudit:
        """Count the rows of a group one by one, and give what the store claims as of the same commit."""
        ...

    def close(self) -> None:
        """Free the reader."""
        ...
