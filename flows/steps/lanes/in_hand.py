"""What a lane has in hand: the records whose deliveries are under way, and what `attempts` says of them.

A record is opened with its deliveries. It is over when all of them, and their fallbacks, have ended. It is closed two
epochs later: by then the records of its ends are certainly in the log. A kill in between repeats records, with the same
keys and the same content, but never a send.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

from msgspec import Struct

from connectors.log.read_to_ends import ReadProgress
from flows.steps.lanes.parts import LaneParts
from flows.steps.sending.attempts import recover
from flows.steps.sending.task import FindHistory, SendTask, Siblings
from state.disk.poison import PoisonJournal
from state.model.delivery import ToDeliver
from state.model.envelope import TopicPartition

RENDERING = -2
"""In the journal, in place of a key group: the record was read, and one of its deliveries is being rendered."""


class OpenRecord(Struct, eq=False):
    """A record of the log with its deliveries. The dispatcher knows it as their `SendListener`."""

    in_hand: InHand
    place: TopicPartition
    offset: int
    group: int
    work_offset: int = -1
    """Of deliver: the place in decide's log that it follows from."""
    open: int = 0
    """Deliveries, and timers of push_first, that have not ended."""
    size: int = 0
    """Deliveries, fallbacks included."""
    spawned: int = 0
    """Fallbacks."""
    attempts_from: int = 0
    """Nothing in its partition of `attempts` below this concerns it."""
    delivered: bool = False
    """A provider took one of them."""
    ended_keys: list[str] = []

    def ended(self, task: SendTask, spawned: int) -> None:
        task.siblings.let_go()
        self.in_hand.notes.append(Note(self, task, spawned))

    def hurried(self, spawned: int) -> None:
        self.in_hand.notes.append(Note(self, None, spawned))

    def killed_by(self) -> bool:
        return self.in_hand.poison.suspect(*self.place, self.offset, RENDERING)

    def rendering(self) -> AbstractContextManager[None]:
        return self.in_hand.poison.processing(*self.place, self.offset, RENDERING)

    def siblings(self, emissions: Iterable[ToDeliver], find: FindHistory) -> list[Siblings]:
        """The first channel of each emission; the others follow from it."""
        whole = list(emissions)
        many = len(whole) > 1 and len({each.user for each in whole}) > 1
        return [
            Siblings(each, each.channel, each.devices, each.rest, self.place[1], find, self, for_many=many)
            for each in whole
        ]


class Note(NamedTuple):
    """What the dispatcher leaves word of: the end of a delivery, or a timer of push_first (no task)."""

    record: OpenRecord
    task: SendTask | None
    spawned: int
    """Deliveries that it brought about."""


class InHand:
    """Of one lane. Whoever changes it holds `lock`; only `notes` is written by the dispatcher's loop."""

    def __init__(
        self,
        parts: LaneParts,
        number: int,
        poison: PoisonJournal,
        *,
        next_offsets: Mapping[TopicPartition, int],
        reopen: Mapping[TopicPartition, Iterable[int]],
        attempts_from: Mapping[int, int],
        attempts_taken: Mapping[int, int] | None = None,
    ) -> None:
        """Go on with what is stored, and read `attempts` to its end: nothing may be sent before.

        :raises LogError: the log cannot be read.
        """
        self.lock = threading.RLock()
        self.poison, self.notes = poison, deque[Note]()
        self._parts, self._places = parts, parts.places(number)
        self.next = {place: end for place, end in next_offsets.items() if place in self._places}
        """Records below were taken, by topic and partition. Of a channel that no package adds here it stays stored."""
        self.recovered = {
            partition: recover(
                parts.log, partition, attempts_from.get(partition, 0), (attempts_taken or {}).get(partition, 0)
            )
            for partition in parts.partitions(number)
        }
        self.records: dict[TopicPartition, dict[int, OpenRecord]] = {}
        self._attempts_from = {partition: Counter[int]() for partition in self.recovered}
        """How many records begin there."""
        self.begun: set[str] = set()
        """Keys with a history that wait to be opened, so that their ends have yet to be told."""
        self.unfinished = 0
        """Records that are not over."""
        starts = {place: self._start(place, reopen.get(place, ())) for place in self._places}
        absent = next_offsets.keys() - starts.keys()
        self._left = {
            place[1]
            for place in absent
            if [*reopen.get(place, ())] or parts.log.end_offset(*place) > next_offsets[place]
        }
        """Partitions in which something of such a channel is left, whose attempts must be found when it is back."""
        self.reached = ReadProgress(parts.log, parts.now_ms, starts)
        """How far this run has read."""
        self.catch_up = self.ends()
        """The ends at the start, until this run has read again what the last one took; then nothing."""
        self._again = dict(self.next)
        self._narrowing: Literal["begins", "asked", "asks", "reads on"] = "begins"
        self._over: list[OpenRecord] = []
        self._over_before: list[OpenRecord] = []
        self._tasks: list[SendTask] = []
        self._timers: list[tuple[Siblings, int]] = []

    def _start(self, place: TopicPartition, reopen: Iterable[int]) -> int:
        """Where this run begins to read; what the log lost was given up before (`flows.recovery.restore`)."""
        begin = self._parts.log.begin_offset(*place)
        return max(begin, min([self.next[place], *reopen])) if place in self.next else begin

    # what was read

    def passed(self, place: TopicPartition, offset: int) -> None:
        """A record was taken, whatever came of it."""
        self.reached[place] = offset + 1
        self.next[place] = max(self.next.get(place, 0), offset + 1)

    def ends(self) -> dict[TopicPartition, int]:
        """The present ends of what the lane reads."""
        return self._parts.log.end_offsets(self._places)

    def forget_histories(self) -> None:
        """Once the lane has caught up: whatever was read again has taken over what was known of it."""
        if self.catch_up and self.reached.has(self.catch_up):
            self.catch_up = {}
            for recovered in self.recovered.values():
                self._parts.dispatcher.after(recovered.forget)

    def read_again(self) -> Collection[str]:
        """Topics of which the last run took what this one has not read."""
        return {place[0] for place, end in self._again.items() if self.reached[place] < end}

    def narrow_catch_up(self, behind: int) -> bool:
        """The ends may be far: they need not be reached where no history is left. Those of deliveries that are closed
        go once what was open is read again. What is left is of records that the last run took after its last commit,
        at most `behind` of a place. An epoch is over. Gives whether it ended with this.
        """
        left = any(recovered.histories for recovered in self.recovered.values())
        if self._narrowing in ("asked", "reads on") and not left:
            ends, self.catch_up = bool(self.catch_up), {}
            return ends
        if self._narrowing == "asked":
            self._narrowing = "reads on"
            self._again = {place: end + behind for place, end in self._again.items()}
        elif self._narrowing == "begins" and self.catch_up and not self.read_again():
            self._narrowing = "asks"
            self._parts.dispatcher.after(self._forget_settled)
        return False

    def _forget_settled(self) -> None:
        """On the dispatcher's loop: what was read again has taken over what was known of its fallbacks, too."""
        for recovered in self.recovered.values():
            recovered.forget_settled()
        self._narrowing = "asked"

    # records

    def find(self, partition: int) -> FindHistory:
        """What `attempts` said of a key; each is asked for once."""
        histories = self.recovered[partition].histories
        return lambda key: histories.pop(key, None)

    def open(self, record: OpenRecord, tasks: Sequence[SendTask], timers: Sequence[tuple[Siblings, int]] = ()) -> None:
        """Have its deliveries sent with the next `submit`; `timers` are those of push_first, and when they are due."""
        record.size, record.open = len(tasks), len(tasks) + len(timers)
        self.records.setdefault(record.place, {})[record.offset] = record
        self._attempts_from[record.place[1]][record.attempts_from] += 1
        self.unfinished += 1
        self._tasks += tasks
        self._timers += timers
        if not record.open:
            self._finish(record)

    def submit(self) -> None:
        """Hand to the dispatcher what was opened."""
        tasks, self._tasks = self._tasks, []
        if tasks:
            self._parts.dispatcher.submit(tasks)
        timers, self._timers = self._timers, []
        for siblings, due in timers:
            self._parts.dispatcher.hurry_at(siblings, due)

    def note(self, record: OpenRecord, spawned: int) -> None:
        """One of its deliveries, or a timer, is over, and brought about so many deliveries."""
        record.open += spawned - 1
        record.size += spawned
        record.spawned += spawned
        if not record.open:
            self._finish(record)

    def _finish(self, record: OpenRecord) -> None:
        self.unfinished -= 1
        self._over.append(record)

    def close_over(self) -> list[OpenRecord]:
        """An epoch is complete: the records to close."""
        closing, self._over_before, self._over = self._over_before, self._over, []
        for record in closing:
            del self.records[record.place][record.offset]
            begins = self._attempts_from[record.place[1]]
            begins[record.attempts_from] -= 1
            if not begins[record.attempts_from]:
                del begins[record.attempts_from]
        return closing

    # the topic `attempts`

    def attempts_begin(self, partition: int, tasks: Iterable[SendTask], searched_from: int | None = None) -> int:
        """Attempts of these, and of their fallbacks, are at this offset or above."""
        if not any(task.known for task in tasks):
            return self._attempts_of_new(partition)
        start = self.recovered[partition].start
        return start if searched_from is None else min(start, searched_from)

    def lowest_attempts(self) -> dict[int, int]:
        """By partition: below this, nothing concerns a record that is not closed."""
        of_records = self._attempts_from.items()
        return {partition: min([self._attempts_of_unread(partition), *begins]) for partition, begins in of_records}

    def attempts_taken(self) -> dict[int, int]:
        """By partition: what is below this concerns records below `next`."""
        return {
            partition: recovered.taken
            if recovered.histories or partition in self._left
            else self._attempts_of_new(partition)
            for partition, recovered in self.recovered.items()
        }

    def _attempts_of_unread(self, partition: int) -> int:
        """What is read again, or waits, may have its attempts anywhere in what the start read."""
        recovered = self.recovered[partition]
        is_needed = recovered.histories or self.begun or partition in self._left
        return recovered.start if is_needed else self._attempts_of_new(partition)

    def _attempts_of_new(self, partition: int) -> int:
        """Attempts of what has none are at this offset or above."""
        return max(self.recovered[partition].end, self._parts.dispatcher.attempts.ends[partition])
