"""What users said of their rows and the store may not hold yet: a page honours it as soon as the log has it.

Records come from the calls of this process, and from topic `reads`, so also from other gateways; they are kept in the
order of the log, whoever is first, and known by their offsets. The store says up to which one it honours.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict

from msgspec import UnsetType

from connectors.inbox.interface import LoggedRead, RowPage
from connectors.log.interface import Record
from state.model.settings import READ

_RECORDS_MAX = 200_000
_OF_A_USER_MAX = 1_000


class ReadOverlay:
    """By user, in log order. Any thread."""

    def __init__(self) -> None:
        """Begin empty; the users longest unheard of go when there is too much."""
        self._said: OrderedDict[str, list[LoggedRead]] = OrderedDict()
        self._number = 0
        self._lock = threading.Lock()

    def add(self, said: LoggedRead) -> None:
        """Something that the log has."""
        user = said.record.user
        with self._lock:
            known = self._said.setdefault(user, [])
            self._said.move_to_end(user)
            at = bisect_left(known, said.offset, key=lambda each: each.offset)
            if at < len(known) and known[at].offset == said.offset:
                return
            known.insert(at, said)
            self._number += 1
            self._keep_bounds(known)

    def _keep_bounds(self, known: list[LoggedRead]) -> None:
        if len(known) > _OF_A_USER_MAX:
            del known[0]
            self._number -= 1
        while self._number > _RECORDS_MAX:
            _, gone = self._said.popitem(last=False)
            self._number -= len(gone)

    def on_record(self, record: Record) -> None:
        """A record of `reads`.

        :raises MalformedRecordError: it does not decode.
        """
        self.add(LoggedRead(record.offset, record.timestamp_ms, READ.decode(record.value)))

    def of(self, user: str) -> tuple[LoggedRead, ...]:
        """What is known of him; the store may honour some of it already."""
        with self._lock:
            return tuple(self._said.get(user, ()))

    def forget(self, user: str, page: RowPage) -> None:
        """The store honours as much as this page of it says."""
        with self._lock:
            known = self._said.get(user)
            if known is None:
                return
            left = [said for said in known if not _honoured(said, page)]
            self._number -= len(known) - len(left)
            if left:
                self._said[user] = left
            else:
                del self._said[user]


def _honoured(said: LoggedRead, page: RowPage) -> bool:
    """A store of an earlier release knows times only."""
    if page.logged >= 0:
        return said.offset <= page.logged
    record = said.record
    up_to = said.at if record.up_to is None else record.up_to
    return isinstance(record.status, UnsetType) and page.read_up_to is not None and page.read_up_to >= up_to
