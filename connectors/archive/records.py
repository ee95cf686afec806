"""The records of a topic wherever they still are: in the log, in the archive, or one part here and one there.

A range is read as one: what the log retains comes from the log, the rest from the archive. A range with a record that
is in neither is refused. Nothing is read twice and nothing is passed over, also while the log is trimmed and parts are
merged.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np

from connectors.archive.forms import raw_records, row_groups
from connectors.archive.manifest import ArchiveManifest, read_manifest
from connectors.log.interface import Log, Record
from connectors.log.read_to_ends import BATCH_MAX, stored_batches
from state.model.errors import LogUnavailableError, OffsetOutOfRangeError, UnknownTopicError

Span = tuple[int, int]
"""Offsets from the first on, up to the second, which is not included."""
_PROBE = 16
"""Records read where one is looked for."""
_WAIT = timedelta(seconds=5)
_TRIES = 5


class TopicRecords:
    """Reads one topic from an archive (`DIR/archive`), a log, or both. For one thread; blocks on the disk."""

    def __init__(self, topic: str, *, archive: Path | None, log: Log | None) -> None:
        """The caller keeps the log open as long as this is used, and closes it.

        :raises UnknownTopicError: neither holds the topic.
        """
        self.topic = topic
        self._log, self._archive = log, None if archive is None else archive / topic
        archived = 0 if self._archive is None else sum(path.name.isdecimal() for path in self._archive.glob("*"))
        self.partitions = archived if log is None else log.partitions(topic)
        if not self.partitions:
            raise UnknownTopicError(f"{self._archive}: holds no archive of topic {topic}")

    def begin(self, partition: int) -> int:
        """The lowest offset that may be read."""
        spans = self._spans(partition)
        return spans[0][0] if spans else self._next(partition)

    def end(self, partition: int) -> int:
        """The offset behind the last record."""
        spans = self._spans(partition)
        return spans[-1][1] if spans else self._next(partition)

    def missing(self, partition: int, first: int, end: int) -> list[Span]:
        """The offsets of [first, end) that are neither in the log nor in the archive."""
        holes: list[Span] = []
        for low, high in [*self._spans(partition), (end, end)]:
            if first < min(low, end):
                holes.append((first, min(low, end)))
            first = max(first, high)
        return holes

    def read(self, partition: int, first: int, end: int) -> Iterator[list[Record]]:
        """All records of [first, end) in order, in lists of some thousands.

        :raises OffsetOutOfRangeError: some are missing; the text names them.
        """
        self._refuse(partition, self.missing(partition, first, end))
        yield from self._read(partition, first, end)

    def first_where(self, partition: int, reached: Callable[[Record], bool | None]) -> int:
        """The lowest offset from which on `reached` is true, the end if it never is; None: this record cannot tell.

        `reached` must not turn false again behind a record for which it is true.
        """
        low, high = self.begin(partition), self.end(partition)
        while low < high:
            middle = (low + high) // 2
            found = self._behind_unreached(partition, middle, high, reached)
            if found is None:
                high = middle
            else:
                low = found
        return low

    def _behind_unreached(
        self, partition: int, first: int, end: int, reached: Callable[[Record], bool | None]
    ) -> int | None:
        """The offset behind the first record that can tell, if it is not reached there; else None."""
        for low, high in self._spans(partition):
            for records in self._read(partition, max(first, low), min(high, end), _PROBE):
                for record in records:
                    found = reached(record)
                    if found is not None:
                        return None if found else record.offset + 1
        return None

    def _refuse(self, partition: int, holes: list[Span]) -> None:
        if holes:
            named = ", ".join(f"{low} to {high - 1}" for low, high in holes[:5])
            raise OffsetOutOfRangeError(
                f"{self.topic}/{partition}: offsets {named} are neither in the log nor in the archive; "
                "choose a later range, or restore the archive's directory"
            )

    def _spans(self, partition: int) -> list[Span]:
        """What may be read, in order and without overlaps."""
        spans = [] if self._archive is None else [(p.first, p.end) for p in self._manifest(partition).parts]
        if self._log is not None:
            spans.append((self._log.begin_offset(self.topic, partition), self._log.end_offset(self.topic, partition)))
        joined: list[Span] = []
        for low, high in sorted(span for span in spans if span[0] < span[1]):
            if joined and low <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
            else:
                joined.append((low, high))
        return joined

    def _next(self, partition: int) -> int:
        """The offset of the next record, where there is none."""
        return self._manifest(partition).offset if self._log is None else self._log.end_offset(self.topic, partition)

    def _manifest(self, partition: int) -> ArchiveManifest:
        assert self._archive is not None
        return read_manifest(self._archive / str(partition))

    def _read(self, partition: int, position: int, end: int, most: int = BATCH_MAX) -> Iterator[list[Record]]:
        tries = _TRIES
        while position < end:
            before = position
            try:
                for after, records in self._source(partition, position, end, most):
                    position = after
                    yield records
            except (FileNotFoundError, OffsetOutOfRangeError) as error:  # merged away or trimmed meanwhile
                tries = tries - 1 if position == before else _TRIES
                if not tries:
                    raise LogUnavailableError(f"{self.topic}/{partition}: {error}; try again") from error

    def _source(self, partition: int, position: int, end: int, most: int) -> Iterator[tuple[int, list[Record]]]:
        """(Where to go on, records) from the log if it still has the position, else from one part of the archive."""
        if self._log is not None and position >= self._log.begin_offset(self.topic, partition):
            return self._from_log(self._log, partition, position, end, most)
        return self._from_archive(partition, position, end, most)

    def _from_log(
        self, log: Log, partition: int, position: int, end: int, most: int
    ) -> Iterator[tuple[int, list[Record]]]:
        place = (self.topic, partition)
        for records in stored_batches(log, {place: position}, {place: end}, deadline=_WAIT, most=most):
            yield records[-1].offset + 1 if records else position, records
        yield end, []

    def _from_archive(self, partition: int, position: int, end: int, most: int) -> Iterator[tuple[int, list[Record]]]:
        assert self._archive is not None
        parts = [part for part in self._manifest(partition).parts if part.first <= position < part.end]
        if not parts:
            self._refuse(partition, [(position, end)])
        for table in row_groups(self._archive / str(partition) / parts[0].file, position, end):
            low, high = np.searchsorted(table["offset"].to_numpy(), (position, end))
            for first in range(low, high, most):
                records = raw_records(self.topic, table.slice(first, min(most, high - first)))
                yield records[-1].offset + 1, records
        yield min(end, parts[0].end), []
