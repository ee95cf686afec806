"""What the source and the sink of a dataflow share: one log per process, and errors that are logged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from connectors.log.interface import Log

_log = logging.getLogger(__name__)


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


class Partitions:
    """How many partitions the topics have, asked once per process."""

    def __init__(self, shared: SharedLog, topics: Sequence[str]) -> None:
        self._shared, self._topics = shared, list(topics)
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def of(self, topic: str) -> int:
        """Give the number of a topic's partitions."""
        return self._all()[topic]

    def most(self) -> int:
        """Give the number of the widest topic's."""
        return max(self._all().values())

    def topics_with(self, number: int) -> list[str]:
        """Name the topics that have a partition of that number."""
        return [topic for topic, partitions in self._all().items() if number < partitions]

    def _all(self) -> dict[str, int]:
        with self._lock:
            if not self._numbers:
                log = self._shared.acquire()
                self._numbers = {topic: log.partitions(topic) for topic in self._topics}
                self._shared.release()
            return self._numbers


@contextmanager
def logged(where: str) -> Iterator[None]:
    """Log an error here: with several processes the engine loses its text."""
    try:
        yield
    except Exception:
        _log.exception("the log's %s failed; the flow stops and resumes at its last complete epoch", where)
        raise
