"""The rows of one user's inbox: some in memory, and behind them those that are stored, of which only what is asked for
is read. They are found by subject (type and object), or in the order of pages from either end.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import Protocol

from state.inbox.values import InboxHead, StoredRow, Subject

_GONE_MAX = 64
"""Subjects without a row that are remembered of a user, beside as many as he has rows in memory."""


class RowSource(Protocol):
    """Users' rows as of the last commit; each call gives rows of its own."""

    def head(self, user: str) -> InboxHead:
        """Give a user's head; that of an unknown one is empty."""
        ...

    def stored_rows(self, user: str, *, oldest_first: bool = False) -> Iterator[StoredRow]:
        """Give a user's rows in the order of pages, newest first, or the other way round."""
        ...

    def subject_rows(self, user: str, subject: Subject) -> list[StoredRow]:
        """Give a user's rows of a subject."""
        ...

    def newest_windowed(self, user: str, subject: Subject) -> StoredRow | None:
        """Give the latest of a user's windowed rows of a subject, by number: no other can be open."""
        ...


def row_order(row: StoredRow) -> tuple[int, int]:
    """Rows are in the order of the latest item's time, then of their number."""
    return row.at, row.number


class KnownRows:
    """What is in memory of a user's rows and changed since the last commit, and the way to the others."""

    def __init__(self, rows: Iterable[StoredRow], stored: int, source: RowSource | None, user: str) -> None:
        """`rows` are in memory already, among the `stored` ones."""
        self._source, self._user, self._absent = source, user, stored
        self.known: dict[int, StoredRow] = {}
        """By number."""
        self.changed: dict[int, StoredRow] = {}
        self.removed: dict[int, StoredRow] = {}
        """Stored ones that went."""
        self._subjects: dict[Subject, list[StoredRow]] = {}
        """All rows of these subjects are in memory."""
        self._open: dict[Subject, StoredRow | None] = {}
        for row in sorted(rows, key=lambda each: each.number):
            self.keep(row)

    def keep(self, row: StoredRow) -> None:
        """A stored row is needed in memory."""
        if row.number not in self.known and row.number not in self.removed:
            self._absent -= 1
            self.start(row)

    def start(self, row: StoredRow) -> None:
        """A row begins."""
        subject = row.type, row.object
        self.known[row.number] = row
        if (of_subject := self._subjects.get(subject)) is not None:
            of_subject.append(row)
        if _is_open(row):
            self._open[subject] = row

    def change(self, row: StoredRow) -> None:
        """The row is no longer as it is stored."""
        if row.number not in self.known:
            self.keep(row)
        self.changed[row.number] = row

    def close(self, row: StoredRow) -> None:
        """No further item joins it."""
        if self._open.get((row.type, row.object)) is row:
            self._open[row.type, row.object] = None

    def drop(self, row: StoredRow) -> None:
        """It goes."""
        self.keep(row)
        del self.known[row.number]
        if (of_subject := self._subjects.get((row.type, row.object))) is not None:
            of_subject.remove(row)
        self.close(row)
        self.changed.pop(row.number, None)
        if row.stored_at is not None:
            self.removed[row.number] = row

    def open(self, subject: Subject) -> StoredRow | None:
        """The row that an item of this subject joins."""
        if not self.knows_open(subject) and self._source is not None:
            found = self._source.newest_windowed(self._user, subject)
            if found is not None and _is_open(found):
                self.keep(found)
            self._open.setdefault(subject, None)
        return self._open.get(subject)

    def knows_open(self, subject: Subject) -> bool:
        """Whether `open` reads nothing."""
        return subject in self._open or self._absent <= 0

    def of(self, subject: Subject) -> list[StoredRow]:
        """The rows of a subject, the oldest first."""
        found = self._subjects.get(subject)
        if found is None:
            if self._absent > 0 and self._source is not None:
                for row in self._source.subject_rows(self._user, subject):
                    self.keep(row)
            found = [row for row in self.known.values() if (row.type, row.object) == subject]
            found.sort(key=lambda each: each.number)
            self._subjects[subject] = found
        return found

    def in_order(self, *, oldest_first: bool = False) -> Iterator[StoredRow]:
        """All rows, newest first, or the other way round. Those that are read for this do not stay in memory."""
        known = sorted(self.known.values(), key=row_order, reverse=not oldest_first)
        if self._absent <= 0 or self._source is None:
            return iter(known)
        stored = self._source.stored_rows(self._user, oldest_first=oldest_first)
        others = (row for row in stored if row.number not in self.known and row.number not in self.removed)
        return heapq.merge(known, others, key=row_order, reverse=not oldest_first)

    def forget_gone(self) -> None:
        """What changed is about to be stored. Subjects come and go: nothing stays of most that have no row any more."""
        if len(self._subjects) + len(self._open) > 2 * len(self.known) + _GONE_MAX:
            self._subjects = {subject: rows for subject, rows in self._subjects.items() if rows}
            self._open = {subject: row for subject, row in self._open.items() if row is not None}


def _is_open(row: StoredRow) -> bool:
    return row.windowed and not row.read and not row.reopened
