"""A log whose process is interrupted, for commands that go on where they were stopped."""

from collections.abc import Sequence
from typing import Any

from connectors.log import Log, NewRecord


class InterruptedLog:
    """KeyboardInterrupt right after so many appends."""

    def __init__(self, log: Log, after: int) -> None:
        self._log, self._left = log, after

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        offsets = self._log.append(records)
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt
        return offsets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)
