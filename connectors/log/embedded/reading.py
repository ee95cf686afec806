"""The embedded log's reader: one cursor over many partition files, woken by a doorbell."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Mapping
from datetime import timedelta
from pathlib import Path

from connectors.log.embedded.doorbell import NEW_FOR, RECHECK, RECHECK_LATER, Bell
from connectors.log.embedded.frames import unpack_frame
from connectors.log.embedded.partition import PartitionFile
from connectors.log.interface import Record
from state.model.errors import OffsetOutOfRangeError

_NOW = timedelta()


class EmbeddedReader:
    """See `connectors.log.interface.Reader`. Holds at most one decoded frame per partition beyond what was asked."""

    def __init__(
        self, run: Path, start: Mapping[tuple[str, int], int], open_file: Callable[[str, int], PartitionFile]
    ) -> None:
        self._bell = Bell(run, list(start))
        self._cursors = {place: _Cursor(place, open_file(*place), offset) for place, offset in start.items()}
        self._by_slot = list(self._cursors.values())
        self._ready = dict(self._cursors)
        self._looked_at = time.monotonic()
        self._new_until = self._looked_at + NEW_FOR.total_seconds()

    def poll(self, max_records: int, wait: timedelta, only: Container[tuple[str, int]] | None = None) -> list[Record]:
        """Take up to `max_records`; a partition that was neither rung nor left unfinished is not looked at."""
        deadline = time.monotonic() + wait.total_seconds()
        left = _NOW
        while True:
            self._hear(left)
            if taken := self._take(max_records, only):
                return taken
            left = timedelta(seconds=deadline - time.monotonic())
            if left <= _NOW:
                return []

    def position(self) -> dict[tuple[str, int], int]:
        """Give the next offset of every partition."""
        return {place: cursor.position for place, cursor in self._cursors.items()}

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Go on at this offset."""
        cursor = self._cursors[topic, partition]
        cursor.seek(offset)
        self._ready[cursor.place] = cursor

    def close(self) -> None:
        """Take the doorbell down and close the files."""
        self._bell.close()
        for cursor in self._by_slot:
            cursor.file.close()

    def _hear(self, wait: timedelta) -> None:
        """Wait for a ring, or for the moment when every partition is looked at without one."""
        recheck = RECHECK if time.monotonic() < self._new_until else RECHECK_LATER
        for slot in self._bell.hear(min(wait, recheck)):
            cursor = self._by_slot[slot]
            self._ready[cursor.place] = cursor
        now = time.monotonic()
        if now - self._looked_at >= recheck.total_seconds():
            self._ready |= self._cursors
            self._looked_at = now

    def _take(self, max_records: int, only: Container[tuple[str, int]] | None) -> list[Record]:
        """Go round the ready partitions, an equal share each, until there are enough or all are exhausted."""
        queue = deque(cursor for place, cursor in self._ready.items() if only is None or place in only)
        share = max(1, max_records // max(1, len(queue)))
        taken: list[Record] = []
        while queue and len(taken) < max_records:
            cursor = queue.popleft()
            asked = min(share, max_records - len(taken))
            try:
                got = cursor.take(asked)
            except OffsetOutOfRangeError:
                if not taken:
                    raise
                break  # what was taken must not be lost; the next poll raises
            taken += got
            del self._ready[cursor.place]
            if len(got) == asked:
                self._ready[cursor.place] = cursor  # goes to the end: the next poll begins with another
                queue.append(cursor)
        return taken


class _Cursor:
    """The place in one partition."""

    def __init__(self, place: tuple[str, int], file: PartitionFile, position: int) -> None:
        self.place, self.file, self.position = place, file, position
        self._buffer: list[Record] = []

    def seek(self, offset: int) -> None:
        self.position = offset
        self._buffer = []

    def take(self, count: int) -> list[Record]:
        """Take up to `count` records; fewer means that the end was reached."""
        if len(self._buffer) < count:
            self._fill(count)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        if taken:
            self.position = taken[-1].offset + 1
        return taken

    def _fill(self, count: int) -> None:
        """Read frames until there are `count` records; most frames hold one or hundreds, so ask for few at first."""
        limit = 2
        while len(self._buffer) < count:
            offset = self._buffer[-1].offset + 1 if self._buffer else self.position
            frames = self.file.frames(offset, limit)
            records = [record for frame in frames for record in unpack_frame(*self.place, frame)]
            if self._buffer and records and records[0].offset > offset and self.file.bounds()[0] > offset:
                return  # retention took what comes next: once the buffer is empty, that raises
            self._buffer += records if records and records[0].offset >= offset else _from(offset, records)
            if not self._buffer or self._buffer[0].offset != self.position:
                self._check_bounds()
            if len(frames) < limit:
                return
            limit = min(limit * 2, 256)

    def _check_bounds(self) -> None:
        begin, end = self.file.bounds()
        if not begin <= self.position <= end:
            self._buffer = []
            topic, partition = self.place
            raise OffsetOutOfRangeError(
                f"{topic}/{partition}: offset {self.position} is outside of {begin} to {end}, the records retained"
            )


def _from(offset: int, records: list[Record]) -> list[Record]:
    return [record for record in records if record.offset >= offset]
