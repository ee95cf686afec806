"""Pages of dead letters, the newest first by the log's time, out of all partitions at once.

A cursor has an offset for each partition: what is below it is still to come. So no letter is left out, whatever is
written meanwhile. A letter that was written twice around a crash comes once in a page.
Memory is that of what may be on the page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

from connectors.dead_letters import TOPIC, FiledLetter, decode_dead, with_actions
from connectors.log.interface import Log, Record
from connectors.log.read_to_ends import stored_records
from connectors.paging import ListCursor, Listed
from state.model.dead_letter import DeadLetter
from state.model.errors import MalformedRecordError

_GIVE_UP = timedelta(seconds=3)
_WAIT, _ACTIONS_WITHIN = timedelta(seconds=5), timedelta(seconds=10)
_FIRST_LOOK, _LOOK_MAX = 64, 4_096
"""Records of a partition that are read at a time."""
_GROWS, _CANDIDATES_MAX = 4, 8_192


def letter_page(
    log: Log,
    wanted: Callable[[DeadLetter], bool],
    limit: int,
    start: ListCursor = (),
    *,
    everything: bool,
    give_up: timedelta = _GIVE_UP,
) -> Listed[FiledLetter]:
    """A page of at most so many of the letters that are wanted, the newest first by the log's time. Where time was up,
    what is older than `looked_to_ms` was not all looked at.

    :param start: the cursor that a page ended with; empty: with the newest.
    :param everything: also what was retried or discarded.
    :raises LogError: the topic cannot be read.
    """
    walk, until = _Backwards(log, wanted, start), time.monotonic() + give_up.total_seconds()
    shown: dict[str, FiledLetter] = {}
    most, late = limit + 1, False
    while len(shown) <= limit and walk.more and not late:
        for each in with_actions(log, walk.take(most, until), within=_ACTIONS_WITHIN):
            if everything or not each.is_decided:
                shown.setdefault(each.letter.id, each)
        most, late = min(_GROWS * most, _CANDIDATES_MAX), time.monotonic() > until
    found = [*shown.values()]
    onward = walk.cursor(found[limit:])
    looked_to = None if len(found) > limit or onward is None else walk.looked_to_ms
    return Listed(found[:limit], onward, looked_to, walk.unreadable)


def newest_letters(log: Log, limit: int) -> list[DeadLetter]:
    """The newest so many, whatever was decided about them; what came long before is not read.

    :raises LogError: the topic cannot be read.
    """
    walk = _Backwards(log, lambda _: True, ())
    return [each.letter for each in walk.take(limit, time.monotonic() + _GIVE_UP.total_seconds())]


class _Candidate(NamedTuple):
    """A letter that may be shown, in the order of pages."""

    log_ms: int
    at: int
    partition: int
    offset: int
    letter: DeadLetter


class _Backwards:
    """The letters that are wanted, from the newest back."""

    def __init__(self, log: Log, wanted: Callable[[DeadLetter], bool], start: ListCursor) -> None:
        self._log, self._wanted = log, wanted
        places = [(TOPIC, partition) for partition in range(log.partitions(TOPIC))]
        self._begins = [log.begin_offset(*place) for place in places]
        ends = log.end_offsets(places)
        self._lows = [min(ends[place], *start[place[1] : place[1] + 1], ends[place]) for place in places]
        self._looks = [_FIRST_LOOK] * len(places)
        self._waiting: list[list[_Candidate]] = [[] for _ in places]
        self._seen_ms = [0] * len(places)
        self.unreadable = 0

    @property
    def more(self) -> bool:
        """Whether there may be anything else."""
        return any(self._waiting) or bool(self._short())

    @property
    def looked_to_ms(self) -> int:
        """What is not older was looked at, in every partition."""
        waiting = [each[-1].log_ms for each in self._waiting if each]
        return max([*waiting, *(self._seen_ms[partition] for partition in self._short())], default=0)

    def take(self, most: int, until: float) -> list[FiledLetter]:
        """The next ones; fewer when all was read, or when it is later than `until`."""
        taken: list[FiledLetter] = []
        while len(taken) < most and self._filled(until):
            found = max((each for each in self._waiting if each), key=lambda each: each[-1]).pop()
            taken.append(FiledLetter(found.letter, found.partition, found.offset, ()))
        return taken

    def cursor(self, left: Sequence[FiledLetter]) -> ListCursor | None:
        """Where to go on if these, the last that were taken, are not shown; None: nothing is left."""
        nexts = list(self._lows)
        places = [(each.partition, each.offset) for each in left]
        for partition, offset in [*places, *((each[-1].partition, each[-1].offset) for each in self._waiting if each)]:
            nexts[partition] = max(nexts[partition], offset + 1)
        return tuple(nexts) if any(map(int.__gt__, nexts, self._begins)) else None

    def _filled(self, until: float) -> bool:
        """Whether it is known which is the newest."""
        while short := self._short():
            self._read(short)
            if time.monotonic() > until and self._short():
                return False
        return any(self._waiting)

    def _short(self) -> list[int]:
        """Partitions of which more must be read to know."""
        places = zip(self._waiting, self._lows, self._begins, strict=True)
        return [number for number, (waiting, low, begin) in enumerate(places) if not waiting and low > begin]

    def _read(self, partitions: Sequence[int]) -> None:
        starts = {number: max(self._begins[number], self._lows[number] - self._looks[number]) for number in partitions}
        ends = {(TOPIC, number): self._lows[number] for number in partitions}
        seen = dict[int, int]()
        for record in stored_records(self._log, {(TOPIC, n): at for n, at in starts.items()}, ends, deadline=_WAIT):
            seen.setdefault(record.partition, record.timestamp_ms)
            self._take(record)
        for number, start in starts.items():
            self._lows[number], self._seen_ms[number] = start, seen.get(number, self._seen_ms[number])
            self._looks[number] = min(2 * self._looks[number], _LOOK_MAX)

    def _take(self, record: Record) -> None:
        try:
            found = decode_dead(record)
        except MalformedRecordError:
            self.unreadable += 1
            return
        if isinstance(found, DeadLetter) and self._wanted(found):
            place = record.partition, record.offset
            self._waiting[record.partition].append(_Candidate(record.timestamp_ms, found.at, *place, found))
