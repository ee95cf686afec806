"""Topic `audit`: every act of a person, in order, for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from connectors.log.interface import Log, NewRecord
from connectors.log.read_to_ends import stored_records
from state.model.audit import AUDIT, AuditRecord
from state.model.topics import AUDIT as TOPIC

_LOOK = 2_000
"""Records that are read at a time, from the newest back."""


class NotedAct(NamedTuple):
    """A record and its place."""

    offset: int
    record: AuditRecord


def audit_record(record: AuditRecord) -> NewRecord:
    """What is appended."""
    return NewRecord(TOPIC, 0, record.by.encode("utf-8", "surrogatepass"), AUDIT.encode(record), AUDIT.headers)


COMMAND_LINE = "command line"
"""The role of whoever types commands beside the data directory."""


def newest_acts(
    log: Log,
    limit: int,
    *,
    before: int | None = None,
    by: str | None = None,
    user: str | None = None,
    act: str | None = None,
) -> Sequence[NotedAct]:
    """The newest acts that match, the newest first: below the offset `before`, of this person, about this user.

    :raises LogError: the log cannot be read.
    :raises MalformedRecordError: a record is of another version.
    """
    place, found = (TOPIC, 0), list[NotedAct]()
    begin, end = log.begin_offset(*place), log.end_offset(*place)
    end = end if before is None else min(end, before)
    while end > begin and len(found) < limit:
        first = max(begin, end - _LOOK)
        acts = [
            NotedAct(each.offset, AUDIT.decode(each.value))
            for each in stored_records(log, {place: first}, {place: end})
        ]
        found += [kept for kept in reversed(acts) if _matches(kept.record, by, user, act)]
        end = first
    return found[:limit]


def _matches(record: AuditRecord, by: str | None, user: str | None, act: str | None) -> bool:
    return by in (None, record.by) and user in (None, record.about.get("user")) and act in (None, record.act)
