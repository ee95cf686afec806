"""Follows topics in a thread: what is true now into the directory, and other records to whom they concern.

After a start the directory is stale until every followed topic was read to its end as of the start; until then
`caught_up` is false and the gateway answers calls that need it with 503. So it is again from any failure to read on
until what was in the topics by then has been read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import structlog

from connectors.gateway.directory import Directory
from connectors.log.interface import Log, Reader, Record
from connectors.metrics import GATEWAY_FOLLOW_ERRORS, NEW_ADDRESSES
from state.model.dead_letter import error_text
from state.model.errors import UNDECODABLE, LogError, MalformedRecordError, OffsetOutOfRangeError

_logger = structlog.get_logger(__name__)
_WAIT = timedelta(milliseconds=500)
_BATCH_MAX = 2_000


OnRecord = Callable[[Record], None]


class Follower:
    """One thread over all partitions of some topics."""

    def __init__(
        self,
        log: Log,
        directory: Directory,
        topics: Sequence[str],
        *,
        others: Mapping[str, tuple[OnRecord, int | None]],
    ) -> None:
        """Read `topics` into the directory, from the offsets that it has.

        `others`: topic to a function that is called in the thread, in log order, and may raise `msgspec.MsgspecError`
        or `MalformedRecordError` for a record to be passed over, `LogError` to have it again;
        and the oldest time to begin with in milliseconds, or None to go on where the directory says.
        """
        self._log, self._directory = log, directory
        self._on_record = {topic: on_record for topic, (on_record, _) in others.items()}
        self._since = {topic: since for topic, (_, since) in others.items() if since is not None}
        names = [*topics, *others]
        self._places = [(topic, part) for topic in names for part in range(log.partitions(topic))]
        self._goal = log.end_offsets(self._places)
        self._handed_on = dict[tuple[str, int], int]()
        """How far others were handed on that go on where the directory says: one that is begun again does not say."""
        self._caught_up, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway-follower", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def caught_up(self) -> bool:
        """Whether everything that was in the topics at the start, or after the last failure, has been read."""
        return self._caught_up.is_set()

    def close(self) -> None:
        """End the thread."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        pause_s = 0.1
        while not self._ending.is_set():
            try:
                self._read_until_it_fails()
            except Exception as error:  # noqa: BLE001 - without this thread nobody would notice new doors and devices
                pause_s = 0.1 if self.caught_up else min(pause_s * 2, 2.0)
                self._caught_up.clear()
                GATEWAY_FOLLOW_ERRORS.labels("read").inc()
                _logger.warning("follow_failed", error=type(error).__name__, detail=error_text(error))
                self._ending.wait(pause_s)

    def _read_until_it_fails(self) -> None:
        if self._directory.damaged:
            self._caught_up.clear()
            self._directory.begin_again()
        self._goal = self._log.end_offsets(self._places)
        reader = self._log.reader({place: self._start(place) for place in self._places})
        try:
            while not self._ending.is_set() and not self._directory.damaged:
                self._take(reader)
        finally:
            reader.close()

    def _start(self, place: tuple[str, int]) -> int:
        """From the directory's offset, unless retention has removed that: then from the oldest there is.

        :raises LogError: the log ends below; it has lost records that this process has seen.
        """
        begin, position = self._log.begin_offset(*place), self._directory.position(*place)
        position = self._handed_on.get(place) if position is None else position
        if position is not None and position > (end := self._log.end_offset(*place)):
            raise LogError(
                f"{place[0]}/{place[1]} ends at {end} and was followed to {position}: the log has lost records or is "
                "another one; bring it back, or stop and delete the gateway's state directory to read it again"
            )
        if position is None and place[0] in self._since:
            return self._log.offset_at(*place, self._since[place[0]])
        return begin if position is None else max(begin, position)

    def _take(self, reader: Reader) -> None:
        before = reader.position()
        try:
            records = reader.poll(_BATCH_MAX, _WAIT if self.caught_up else timedelta())
        except OffsetOutOfRangeError:
            for place in self._places:
                reader.seek(*place, self._start(place))
            return
        after = reader.position()
        for record in records:
            if record.topic in self._on_record:
                self._hand_on(record)
        others = self._on_record.keys() - self._since
        self._handed_on |= {place: offset for place, offset in after.items() if place[0] in others}
        if after != before:
            kept = [(place, offset) for place, offset in after.items() if place[0] not in self._since]
            malformed = self._directory.follow(records, kept)
            GATEWAY_FOLLOW_ERRORS.labels("malformed").inc(malformed)
            for channel, number in self._directory.take_young_gone().items():
                NEW_ADDRESSES.labels(channel, "gone").inc(number if self.caught_up else 0)
        if not self.caught_up and all(after[place] >= end for place, end in self._goal.items()):
            self._directory.is_whole()
            self._caught_up.set()

    def _hand_on(self, record: Record) -> None:
        try:
            self._on_record[record.topic](record)
        except (*UNDECODABLE, MalformedRecordError):
            GATEWAY_FOLLOW_ERRORS.labels("malformed").inc()
