"""Which segments a user is in: looked up in the log, since nobody keeps it by user."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from connectors.log.interface import Log
from connectors.log.read_to_ends import stored_batches
from state.model.settings import SegmentRecord
from state.model.topics import SEGMENTS

_RECORDS_AT_ONCE = 64
"""A record may have 256 KiB."""
_ONE_FORM = re.compile(r"[\w.:@-]+", re.ASCII)
"""Such a name looks the same in every JSON, so most records need not be decoded."""


def segments_of(log: Log, user: str) -> list[str]:
    """Names of the segments as last defined, sorted. It reads the whole topic, which is as long as all segments
    together. One whose next version is being written just now may be missing.

    :raises LogError: the log cannot be read.
    """
    named: set[tuple[str, str | int]] = set()
    in_force: dict[str, str | int] = {}
    start = {(SEGMENTS, number): log.begin_offset(SEGMENTS, number) for number in range(log.partitions(SEGMENTS))}
    may_name = _may_name(user)
    for records in stored_batches(log, start, most=_RECORDS_AT_ONCE):
        for record in records:
            if not record.value or not (record.key.endswith(b"\0commit") or may_name(record.value)):
                continue
            try:
                part = msgspec.json.decode(record.value, type=SegmentRecord)
            except msgspec.MsgspecError:
                continue  # sequence passes it over, too
            if part.chunks is not None:
                in_force[part.segment] = part.version
            elif user in (part.users or ()):
                named.add((part.segment, part.version))
    return sorted(segment for segment, version in named if in_force.get(segment) == version)


def _may_name(user: str) -> Callable[[bytes], bool]:
    name = msgspec.json.encode(user)
    return (lambda value: name in value) if _ONE_FORM.fullmatch(user) else lambda _: True
