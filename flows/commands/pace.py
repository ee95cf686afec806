"""How fast a command may append settings beside a running system.

Events wait until sequence has read what is in the topics of settings, for some seconds at most, and decide works in the
order in which sequence writes (`flows.steps.sequence.reading`). So what a command appends in bulk delays events of P1.
Whoever appends much therefore stays only a little ahead of sequence, and takes only a share of what decide can do.
Where sequence is, the decision log tells: its records name their sources.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import msgspec

from connectors.log.interface import Log, NewRecord, Record
from state.model.errors import UNDECODABLE
from state.model.topics import WORK

_FIRST_SILENCE_S = 5.0
"""While sequence runs, it writes a tick a second at least; if there is none for so long, it does not run."""
_SILENCE_S = 60.0
"""The same where it was heard before, and for ticks alone while it has records to read: it may be restarting, and would
find a mountain.
"""
_POLL = timedelta(milliseconds=50)
_BATCH_MAX = 4096


class _Sourced(msgspec.Struct):
    """What is of interest in a record of `work`."""

    src: tuple[str, int, int, int] | None = None


_decode = msgspec.json.Decoder(_Sourced).decode


class SequencePace:
    """Follows `work` from now on. Closing it leaves the log open."""

    def __init__(self, log: Log, topic: str, *, per_s: float) -> None:
        """At most `per_s` records a second will be appended to `topic` while sequence runs."""
        self._topic, self._per_s, self._free_at = topic, per_s, 0.0
        self._read = self._written = {part: log.end_offset(topic, part) for part in range(log.partitions(topic))}
        self._reader = log.reader({(WORK, part): log.end_offset(WORK, part) for part in range(log.partitions(WORK))})
        self._silent_from = time.monotonic() + _FIRST_SILENCE_S

    def append(self, log: Log, records: Sequence[NewRecord]) -> list[int]:
        """Append to the topic, and remember up to where."""
        self._free_at = time.monotonic() + len(records) / self._per_s
        offsets = log.append(records)
        ends = {record.partition: offset + 1 for record, offset in zip(records, offsets, strict=True)}
        self._written = self._written | ends
        return offsets

    def keep(self, ahead: int) -> None:
        """Wait until sequence has read all but so many of the records, and for the rate; not if it does not run."""
        while True:
            now = time.monotonic()
            in_time = now >= self._free_at and self.unread <= ahead
            silent = now > self._silent_from
            self._listen(timedelta() if silent or in_time else _POLL)
            if in_time or (silent and time.monotonic() > self._silent_from):
                return

    @property
    def unread(self) -> int:
        """Records that sequence was not seen to have read."""
        return sum(end - self._read[part] for part, end in self._written.items())

    def _listen(self, wait: timedelta) -> None:
        until = time.monotonic() + wait.total_seconds()
        while records := self._reader.poll(_BATCH_MAX, wait):
            before = self.unread
            self._take(records)
            if not before or self.unread != before:
                self._silent_from = time.monotonic() + _SILENCE_S
            wait = max(timedelta(), timedelta(seconds=until - time.monotonic()))

    def _take(self, records: Sequence[Record]) -> None:
        read = dict(self._read)
        for record in records:
            with suppress(*UNDECODABLE):
                source = _decode(record.value).src
                if source is not None and source[0] == self._topic:
                    read[source[1]] = source[2] + 1
        self._read = read

    def close(self) -> None:
        """Free the reader."""
        self._reader.close()
