"""One reader for all partitions that a worker was given: fetched together, handed out per partition, on credit.

A feed is one partition number of several topics. In each round the first feed that is hungry (nothing queued, credit
left) fetches for all hungry feeds and waits for the doorbell if there is nothing; the others only hand out. So a
round blocks at most once, an idle worker sleeps in the kernel, and no feed fetches more than it may soon hand out.

A feed's reader says when it will not take its turn (`held`). Such a feed is not hungry; otherwise the others would wait
for it to fetch until the epoch ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

from connectors.log.interface import Log, Reader, Record

Held = Literal["rests", "serves"]
"""Why nothing is taken from a feed: it must rest, or what was taken before is still being handed out."""
_NOW = timedelta()


class SharedLog:
    """A log of this process that several partitions use; opened for the first and closed by the last."""

    def __init__(self, open_log: Callable[[], Log]) -> None:
        self._open_log = open_log
        self._log: Log | None = None
        self._users = 0
        self._lock = threading.Lock()

    def acquire(self) -> Log:
        """Give the log; each call is followed by one `release`."""
        with self._lock:
            self._log = self._log or self._open_log()
            self._users += 1
            return self._log

    def release(self) -> None:
        """Close the log if nobody else uses it."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._log:
                self._log.close()
                self._log = None


class Feed:
    """What was fetched for one partition number and not handed out yet. `positions` counts only what was handed out."""

    def __init__(self, positions: dict[tuple[str, int], int], budget: int) -> None:
        self.positions, self.credit = positions, budget
        self.between_epochs = False
        self.held: Held | None = None
        self._budget = budget
        self._queue: list[Record] = []
        self._read_to: dict[tuple[str, int], int] = {}

    def refill(self) -> None:
        """Begin another epoch's credit; nothing is fetched for the feed until it is asked again."""
        self.credit = self._budget
        self.between_epochs = True

    def idle(self) -> bool:
        """Whether it could take more, now or when the next epoch has begun."""
        return not self._queue and self.credit > 0 and self.held is None

    def hungry(self) -> bool:
        """Whether something should be fetched now."""
        return self.idle() and not self.between_epochs

    def serves(self) -> bool:
        """Whether there is something to hand out now."""
        if self.between_epochs or self.held == "rests":
            return False
        return self.held == "serves" or (bool(self._queue) and self.credit > 0)

    def put(self, record: Record) -> None:
        """Queue a record."""
        self._queue.append(record)

    def read_to(self, place: tuple[str, int], offset: int) -> None:
        """All that a reader gives below the offset is in the queue, or was handed out."""
        self._read_to[place] = offset

    def forget(self) -> None:
        """Drop what was not handed out; it will be fetched again."""
        self._queue, self._read_to = [], {}

    def take(self) -> list[Record]:
        """Hand out as much as the credit allows."""
        taken, self._queue = self._queue[: self.credit], self._queue[self.credit :]
        self.credit -= len(taken)
        self.positions |= {(record.topic, record.partition): record.offset + 1 for record in taken}
        if not self._queue and self._read_to:  # behind the last record there may be what no reader gives
            self.positions |= self._read_to
            self._read_to = {}
        return taken


class SharedReader:
    """Fetches for several feeds through one reader. One thread only."""

    def __init__(self, log: SharedLog, *, fetch_max: int, wait: timedelta) -> None:
        """Give at most `fetch_max` records per fetch, and wait at most `wait` for the first one."""
        self._log, self._fetch_max, self._wait = log, fetch_max, wait
        self._reader: Reader | None = None
        self._reader_places = 0
        self._feeds: dict[tuple[str, int], Feed] = {}

    def join(self, feed: Feed) -> None:
        """Fetch for this feed too, from its positions on."""
        self._close_reader()
        for other in self._feeds.values():
            other.forget()
        self._feeds |= dict.fromkeys(feed.positions, feed)

    def leave(self, feed: Feed) -> None:
        """Fetch no more for this feed; the last one lets go of the log."""
        self._feeds = {place: other for place, other in self._feeds.items() if other is not feed}
        if not self._feeds:
            self._close_reader()

    def take(self, feed: Feed) -> list[Record]:
        """Hand out records of this feed; empty if there are none, after a wait if it is this feed's turn to wait."""
        feed.between_epochs, feed.held = False, None
        feeds = self._feeds.values()
        if feed is next((other for other in feeds if other.hungry()), None):
            waits = feed is next(other for other in feeds if other.idle())
            self._fetch(self._wait if waits and not any(other.serves() for other in feeds) else _NOW)
        return feed.take()

    def _fetch(self, wait: timedelta) -> None:
        hungry = {place: feed for place, feed in self._feeds.items() if feed.hungry()}
        credit = sum({id(feed): feed.credit for feed in hungry.values()}.values())
        reader = self._open_reader()
        only = None if len(hungry) == self._reader_places else hungry  # a feed that left is in the reader still
        for record in reader.poll(min(self._fetch_max, credit), wait, only):
            hungry[record.topic, record.partition].put(record)
        position = reader.position()
        for place, feed in hungry.items():
            feed.read_to(place, position[place])

    def _open_reader(self) -> Reader:
        if self._reader is None:
            self._reader = self._log.acquire().reader(
                {place: feed.positions[place] for place, feed in self._feeds.items()}
            )
            self._reader_places = len(self._feeds)
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            self._log.release()
