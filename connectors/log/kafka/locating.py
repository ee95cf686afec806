"""Finds the offset of records that brokers acknowledged without giving it.

That happens when an answer was lost and the record was sent again, to a broker that remembers only the last batch of
the producer (it was restarted, or has just become leader). It says that it has the record, and no more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

from connectors.log.interface import NewRecord, Reader, Record
from state.model.errors import LogUnavailableError

_POLL = timedelta(milliseconds=200)
_BATCH_MAX = 1_000


def locate(reader: Reader, end: int, records: Sequence[NewRecord], deadline: timedelta) -> list[int]:
    """Offsets of records of one partition, in the order in which they were appended, read before `end`.

    The reader must start below the first of them, and behind any earlier record that equals one of them.

    :raises LogUnavailableError: they are not found in time; they are stored all the same.
    """
    wanted, found = deque(records), list[int]()
    place, give_up = records[0][:2], time.monotonic() + deadline.total_seconds()
    while wanted and reader.position()[place] < end and time.monotonic() < give_up:
        for record in reader.poll(_BATCH_MAX, _POLL):
            if wanted and _is(record, wanted[0]):
                found.append(record.offset)
                wanted.popleft()
    if wanted:
        raise LogUnavailableError(f"{place[0]}/{place[1]}: {len(wanted)} records are stored, and were not found again")
    return found


def _is(record: Record, new: NewRecord) -> bool:
    return (record.key, record.value, record.headers) == (new.key, new.value, tuple(new.headers))
