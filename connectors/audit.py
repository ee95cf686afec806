"""Topic `audit`: every act of a person, in order, for ever."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from connectors.log.interface import Log, NewRecord, Record
from connectors.log.read_to_ends import stored_records
from connectors.paging import PAGE_WITHIN, Listed
from state.model.audit import APPROVAL, AUDIT, ApprovalRecord, AuditRecord, PendingAct, pending_acts
from state.model.topics import AUDIT as TOPIC

if TYPE_CHECKING:
    from connectors.archive.records import TopicRecords  # with pyarrow, which is heavy; the caller has it

_WAIT = timedelta(seconds=5)
_LOOK = 2_000
"""Records that are read at a time, from the newest back."""


class NotedAct(NamedTuple):
    """A record and its place."""

    offset: int
    record: AuditRecord


def audit_record(record: AuditRecord) -> NewRecord:
    """What is appended."""
    schema = APPROVAL if isinstance(record, ApprovalRecord) else AUDIT
    return NewRecord(TOPIC, 0, record.by.encode("utf-8", "surrogatepass"), AUDIT.encode(record), schema.headers)


def decode_act(record: Record) -> AuditRecord:
    """What a record says.

    :raises MalformedRecordError: it is of another version.
    """
    schema = APPROVAL if dict(record.headers).get("schema") == APPROVAL.json else AUDIT
    return schema.decode(record.value)


def recent_pending(log: Log, since_ms: int) -> list[PendingAct]:
    """Acts that need a second person and were proposed since then, the oldest first.

    :raises LogError: the log cannot be read.
    :raises MalformedRecordError: a record is of another version.
    """
    records = stored_records(log, {(TOPIC, 0): log.offset_at(TOPIC, 0, since_ms)}, deadline=_WAIT)
    return pending_acts((each.offset, each.timestamp_ms, decode_act(each)) for each in records)


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
    about: tuple[tuple[str, str], ...] = ()
    """About all of this: members of `about` and their values."""
    done: str | None = None
    """Such acts alone, and not the steps towards one."""


def newest_acts(
    records: TopicRecords, wanted: ActQuery, limit: int, *, give_up: timedelta = PAGE_WITHIN
) -> Listed[NotedAct]:
    """A page of the acts that match, wherever they still are: in the log, in the archive, or in both. The cursor is the
    `before` of the next page.

    :raises LogError: they cannot be read, or some are in neither.
    :raises MalformedRecordError: a record is of another version.
    """
    found, until, looked_to_ms = list[NotedAct](), time.monotonic() + give_up.total_seconds(), None
    begin, end = records.begin(0), records.end(0)
    told = (wanted.by, wanted.user, wanted.done, *(value for _, value in wanted.about))
    names = [msgspec.json.encode(name)[1:-1] for name in told if name is not None]
    end = end if wanted.before is None else min(end, wanted.before)
    while end > begin and len(found) < limit:
        first = max(begin, end - _LOOK)
        near = [each for batch in records.read(0, first, end) for each in batch]
        acts = [NotedAct(each.offset, decode_act(each)) for each in near if all(name in each.value for name in names)]
        found += [kept for kept in reversed(acts) if _matches(kept.record, wanted)]
        end = first
        if len(found) < limit and end > begin and time.monotonic() > until:
            looked_to_ms = near[0].timestamp_ms if near else None
            break
    if len(found) >= limit:
        end = found[limit - 1].offset
    return Listed(found[:limit], (end,) if end > begin else None, looked_to_ms)


def _matches(record: AuditRecord, wanted: ActQuery) -> bool:
    if wanted.done is not None and (record.act != wanted.done or isinstance(record, ApprovalRecord)):
        return False
    about = [*wanted.about, *([] if wanted.user is None else [("user", wanted.user)])]
    return wanted.by in (None, record.by) and all(record.about.get(name) == value for name, value in about)
