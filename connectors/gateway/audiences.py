"""Which segments exist: an event for one that nobody ever defined would be accepted and reach nobody.

The gateway follows the commit records of `segments`. A segment that another gateway defined a moment ago may not have
been read yet, so a name that is not known is looked for again when the topic was read to its present end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches

from connectors.gateway.directory import Directory
from connectors.gateway.problems import ProblemError, retry_later
from connectors.log.interface import Log
from state.model.admission import FieldError
from state.model.topics import SEGMENTS

_READ_DEADLINE = timedelta(seconds=2)
_PAUSE_S = 0.02


class DefinedSegments:
    """Answers for segments that are not defined; used by one event loop."""

    def __init__(self, log: Log, directory: Directory) -> None:
        """`directory` follows `segments`; both stay the caller's to close."""
        self._log, self._directory = log, directory
        self._known: set[str] = set()

    async def problems(self, names: Iterable[str]) -> dict[str, ProblemError]:
        """For each of these segments that was never defined, the answer to whoever sends to it."""
        asked = set(names) - self._known
        if not asked:
            return {}
        missing = asked - await asyncio.to_thread(self._directory.segments, asked)
        if missing:
            if not await asyncio.to_thread(self._read_to_the_end):
                return dict.fromkeys(missing, retry_later(503, "segments are still being read; send again", 1000))
            missing -= await asyncio.to_thread(self._directory.segments, missing)
        self._known |= asked - missing
        return {name: await asyncio.to_thread(self._undefined, name) for name in missing}

    def _read_to_the_end(self) -> bool:
        """Whether the follower has read, in time, what the topic held at this call."""
        deadline = time.monotonic() + _READ_DEADLINE.total_seconds()
        for partition in range(self._log.partitions(SEGMENTS)):
            end = self._log.end_offset(SEGMENTS, partition)
            while (self._directory.position(SEGMENTS, partition) or 0) < end:
                if time.monotonic() > deadline:
                    return False
                time.sleep(_PAUSE_S)
        return True

    def _undefined(self, name: str) -> ProblemError:
        nearest = get_close_matches(name, self._directory.segments(), n=3)
        remedy = f"send to {' or '.join(nearest)}, or define it" if nearest else "define it"
        error = FieldError("segment", "was never defined", f"{remedy} by PUT /v1/segments/NAME first")
        return ProblemError(404, "there is no such segment; nothing was accepted", errors=[error])
