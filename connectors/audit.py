"""Topic `audit`: every act of a person, in order, for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from connectors.log.interface import NewRecord
from state.model.audit import AUDIT, AuditRecord
from state.model.topics import AUDIT as TOPIC

if TYPE_CHECKING:
    from connectors.archive.records import TopicRecords  # with pyarrow, which is heavy; the caller has it

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


class ActQuery(NamedTuple):
    """Which acts are meant; None: any."""

    by: str | None = None
    """Whose."""
    user: str | None = None
    """About this user."""
    before: int | None = None
    """Below this offset."""


def newest_acts(records: TopicRecords, wanted: ActQuery, limit: int) -> Sequence[NotedAct]:
    """The newest acts that match, the newest first, wherever they still are: in the log, in the archive, or in both.

    :raises LogError: they cannot be read, or some are in neither.
    :raises MalformedRecordError: a record is of another version.
    """
    found = list[NotedAct]()
    begin, end = records.begin(0), records.end(0)
    end = end if wanted.before is None else min(end, wanted.before)
    while end > begin and len(found) < limit:
        first = max(begin, end - _LOOK)
        acts = [
            NotedAct(each.offset, AUDIT.decode(each.value)) for batch in records.read(0, first, end) for each in batch
        ]
        found += [kept for kept in reversed(acts) if _matches(kept.record, wanted)]
        end = first
    return found[:limit]


def _matches(record: AuditRecord, wanted: ActQuery) -> bool:
    return wanted.by in (None, record.by) and wanted.user in (None, record.about.get("user"))
