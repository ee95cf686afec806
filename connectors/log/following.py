"""Following partitions out of band: in a thread of its own, from memory, whatever the log does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Self

import structlog

from connectors.log.interface import Log, Reader, Record
from connectors.log.read_to_ends import read_to_ends

_POLL = timedelta(milliseconds=500)
_BATCH_MAX = 500
_logger = structlog.get_logger(__name__)
Positions = Mapping[tuple[str, int], int]


class Following:
    """What is kept from topics by a follower of its own, and answered from memory for any thread."""

    _follower: LogFollower

    def start(self) -> Self:
        """Read to the present ends, and follow from then on.

        :raises LogError: it cannot be read; nothing may be done without what is in it.
        """
        self._follower.start()
        return self

    def close(self) -> None:
        """End the thread and free the reader; a second call does nothing."""
        self._follower.close()


class LogFollower:
    """Hands every record to `take` and then tells `moved` how far it got; both are called by one thread at a time.

    While the log cannot be read what was taken stays. Whatever is raised, the thread goes on: a process without it
    would act on what is no longer true.
    """

    def __init__(
        self,
        log: Log,
        places: Sequence[tuple[str, int]],
        take: Callable[[Sequence[Record]], None],
        *,
        name: str,
        moved: Callable[[Positions], None] = lambda _positions: None,
        since_ms: int | None = None,
    ) -> None:
        """Describe what is followed: records not older than `since_ms`, or everything that is retained."""
        self._log, self._places, self._take, self._moved = log, list(places), take, moved
        self._name, self._since_ms = name, since_ms
        self._positions: dict[tuple[str, int], int] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
        self._reader: Reader | None = None
        self._broken = False
        """Whether the last step failed: what the reader is in is not known then."""

    def start(self) -> Self:
        """Read to the present ends, and go on from there in the thread.

        :raises LogError: it cannot be read; nothing may be done without what is in it.
        """
        self._positions = {place: self._first(place) for place in self._places}
        self._reader = self._log.reader(self._positions)
        ends = self._log.end_offsets(self._places)
        for records in read_to_ends(self._reader, ends):
            self._took(records, self._reader)
        self._moved(self._positions)
        self._thread.start()
        return self

    def close(self) -> None:
        """End the thread and free the reader; a second call does nothing."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self._reader is not None and not self._thread.is_alive():
            self._reader.close()
            self._reader = None

    def _first(self, place: tuple[str, int]) -> int:
        begin = self._log.begin_offset(*place)
        return begin if self._since_ms is None else max(begin, self._log.offset_at(*place, self._since_ms))

    def _follow(self) -> None:
        pause = 0.1
        while not self._ending.is_set():
            try:
                self._step()
                pause = 0.1
            except Exception as error:  # noqa: BLE001 - see the class
                self._broken = True
                _logger.warning("log_not_followed", follower=self._name, error=type(error).__name__)
                self._ending.wait(pause)
                pause = min(pause * 2, 2.0)

    def _step(self) -> None:
        reader = self._reopened() if self._broken or self._reader is None else self._reader
        before = self._positions
        self._took(reader.poll(_BATCH_MAX, _POLL), reader)
        if self._positions != before:
            self._moved(self._positions)

    def _took(self, records: Sequence[Record], reader: Reader) -> None:
        self._take(records)
        self._positions = reader.position()

    def _reopened(self) -> Reader:
        """Another reader, from behind what was taken."""
        old, self._reader = self._reader, None
        if old is not None:
            old.close()
        starts = {place: max(self._log.begin_offset(*place), at) for place, at in self._positions.items()}
        self._reader, self._broken = self._log.reader(starts), False
        return self._reader
