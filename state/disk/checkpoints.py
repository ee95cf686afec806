"""Write-ahead logs of SQLite are carried over to their files by a thread: that waits for the disk, and no writer does.

A writer that does it itself, as SQLite's do by default, waits until all is flushed: 0.1 to 0.3 s each time on a busy
disk. The thread holds nobody up (`PASSIVE`), but never gets to the end of a log that is written to without a pause. So
a writer whose log has become much longer does it itself after all.
"""

import contextlib
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

DUE_PAGES = 512
"""So many pages are carried over at once."""
COMMIT_PAGES = 3
"""Which a small commit writes: the row's page, and those that lead to it."""

_FINISH_S = 10
_threads = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
"""One for the process: its disk is one. It starts with the first file that is due."""


class Checkpoints:
    """Of one file, as its writer sees it; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pages = 0
        self._running: Future[None] | None = None

    def wrote(self, pages: int = 0) -> None:
        """A commit wrote these besides what each writes."""
        self._pages += COMMIT_PAGES + pages
        if self._pages >= DUE_PAGES and (self._running is None or self._running.done()):
            self._pages = 0
            self._running = _threads.submit(_carry_over, self._path)

    def finish(self) -> None:
        """Wait until none is under way; to be called before the writer's connection is closed."""
        if self._running is not None:
            wait([self._running], timeout=_FINISH_S)


def _carry_over(path: Path) -> None:
    with contextlib.suppress(sqlite3.Error):  # whatever is wrong with the file or the disk, the writer meets it as well
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0)
        with contextlib.closing(connection):
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
