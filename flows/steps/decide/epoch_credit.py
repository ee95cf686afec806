"""The most records of a partition of `work` that decide ever had in hand in one epoch, whatever is configured today.

They are those that enter an epoch, and as many that may wait for their turn (`flows/steps/decide/turns.py`). A crash in
the middle of an epoch leaves some of its outputs in the log and not others. A rebuild of decide's state must not count
such an epoch as complete, so it stops twice that many records before the newest output (`flows/recovery/replay.py`).
Today's `lanes.p1_per_epoch` would not do: if it was higher when the outputs were written, the rebuild would take lost
outputs for written ones. So before it decides, each process of decide notes in topic `registry` the highest value that
was ever used under its number (TOPICS.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from connectors.log.interface import Log, NewRecord
from connectors.log.read_to_ends import stored_records

TOPIC = "registry"
SCHEMA = b"credit/1+json"


class Credit(msgspec.Struct, frozen=True):
    """A note as `registry` holds it, under the key `decide/<number of the process>/credit`."""

    work_per_epoch: int
    """The most records of a partition of `work` that were in hand in an epoch under this number."""


def note_credit(log: Log, process: int, work_per_epoch: int) -> None:
    """Note that the process may have so many in hand from now on. Only the owner of the place may do so: then the
    newest note of a number, which compaction leaves, is the highest.

    :raises LogError: the log cannot be read or written; nothing may be decided.
    """
    key = f"decide/{process}/credit".encode()
    if max((known for of, known in _noted(log) if of == key), default=0) < work_per_epoch:
        value = msgspec.json.encode(Credit(work_per_epoch))
        log.append([NewRecord(TOPIC, 0, key, value, (("schema", SCHEMA),))])


def highest_credit(log: Log) -> int:
    """The most that any process noted; 0: none did, since only earlier releases ran.

    :raises LogError: the log cannot be read.
    """
    return max((known for _, known in _noted(log)), default=0)


def _noted(log: Log) -> Iterator[tuple[bytes, int]]:
    place = (TOPIC, 0)
    for record in stored_records(log, {place: log.begin_offset(*place)}):
        if dict(record.headers).get("schema") == SCHEMA:
            yield record.key, msgspec.json.decode(record.value, type=Credit).work_per_epoch
