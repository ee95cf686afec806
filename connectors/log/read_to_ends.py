"""Reading up to known ends before anything is decided: with a deadline, since a partition may lose its leader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta

from connectors.log.interface import Log, Reader, Record
from state.model.envelope import TopicPartition
from state.model.errors import LogUnavailableError
from state.progress import made

_FIRST_LOOK = 64
_QUIET_MS = 250
DEADLINE = timedelta(seconds=30)
"""Without any progress; an election of a leader takes a few seconds."""
BATCH_MAX = 4096
_POLL = timedelta(seconds=1)


def read_to_ends(
    reader: Reader, ends: Mapping[TopicPartition, int], *, deadline: timedelta = DEADLINE, most: int = BATCH_MAX
) -> Iterator[list[Record]]:
    """Batches of `most` records until every place is read to its end; records behind the ends may be among them.

    :raises LogUnavailableError: nothing could be read for `deadline`.
    :raises LogError: the log cannot be read.
    """
    position, give_up = reader.position(), time.monotonic() + deadline.total_seconds()
    while behind := [place for place, end in ends.items() if position[place] < end]:
        records = reader.poll(most, min(_POLL, deadline), behind)
        now, before, position = time.monotonic(), position, reader.position()
        if position != before:
            made()
            give_up = now + deadline.total_seconds()
        elif now > give_up:
            names = ", ".join(f"{topic}/{partition}" for topic, partition in behind)
            raise LogUnavailableError(f"{names}: nothing read for {deadline.total_seconds():.0f} s; has it a leader?")
        yield records


def stored_batches(
    log: Log,
    start: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int] | None = None,
    *,
    deadline: timedelta = DEADLINE,
    most: int = BATCH_MAX,
) -> Iterator[list[Record]]:
    """What a log holds from these offsets up to the ends, in order per partition; the ends are those of now by default.

    :raises LogUnavailableError: nothing could be read for `deadline`.
    :raises LogError: the log cannot be read.
    """
    given = log.end_offsets(list(start)) if ends is None else ends
    left = {place: offset for place, offset in start.items() if offset < given[place]}
    if not left:
        return
    with closing(log.reader(left)) as reader:
        for records in read_to_ends(reader, {place: given[place] for place in left}, deadline=deadline, most=most):
            yield [record for record in records if record.offset < given[record.topic, record.partition]]


def stored_records(
    log: Log,
    start: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int] | None = None,
    *,
    deadline: timedelta = DEADLINE,
) -> Iterator[Record]:
    """`stored_batches`, record by record."""
    for records in stored_batches(log, start, ends, deadline=deadline):
        yield from records


class ReadProgress(dict[TopicPartition, int]):
    """How far a reader got with the records it received. On Kafka void records may follow, which nobody receives. So if
    nothing arrives for a moment, the log is asked whether there is anything more. One thread at a time.
    """

    def __init__(self, log: Log, now_ms: Callable[[], int], offsets: Mapping[TopicPartition, int]) -> None:
        super().__init__(offsets)
        self._log, self._now_ms = log, now_ms
        self._before, self._asked_ms = dict(self), 0

    def has(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether there is nothing more below the ends.

        :raises LogError: the log cannot be read.
        """
        behind = {place: end for place, end in ends.items() if self[place] < end}
        if not behind:
            return True
        now, moved, self._before = self._now_ms(), self != self._before, dict(self)
        if moved or now - self._asked_ms < _QUIET_MS:
            self._asked_ms = now if moved else self._asked_ms
            return False
        self._asked_ms = now
        return self._pass(behind)

    def _pass(self, behind: Mapping[TopicPartition, int]) -> bool:
        """One record says that there is more: a lane that has no room is asked four times a second for its backlog."""
        if any(stored_batches(self._log, {place: self[place] for place in behind}, behind, most=1)):
            return False
        self.update({place: max(end, self[place]) for place, end in behind.items()})
        return True


def end_of_records(log: Log, place: TopicPartition, start: int) -> int:
    """The offset behind the newest record that a reader gives; `start`, or what is retained, if none is behind that.

    :raises LogError: the log cannot be read.
    """
    stop, look, start = log.end_offset(*place), _FIRST_LOOK, max(start, log.begin_offset(*place))
    while stop > start:
        first = max(start, stop - look)
        last = max((record.offset for record in stored_records(log, {place: first}, {place: stop})), default=-1)
        if last >= 0:
            return last + 1
        stop, look = first, 2 * look
    return start
