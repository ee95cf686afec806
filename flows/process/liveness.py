"""The sign of life of a process: whether its flows make progress.

A flow is known by the threads that call its sources (`flows.steps.sources.watched`). It made progress if one of them
counted anything since the last sign (`state.progress`): a call of a source, the start of a record, a batch that is read
while the flow starts. A flow that has not called a source yet is still starting; it may take long and is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable

from state.progress import made_by

GETS_ON = b"."
STANDS_STILL = b"-"
FENCED_EXIT = 4
"""Exit code of a process whose place was taken over: whoever restarts processes must not restart this one."""


class Liveness:
    """The flows of one process. `asks` is called by their threads, `sign` by the one that gives signs of life."""

    def __init__(self) -> None:
        self._threads: dict[str, set[int]] = {}
        self._seen: dict[str, int] = {}
        self._owing: set[str] = set()
        """Flows that made no progress since the last `GETS_ON`."""

    def asks(self, flow: str, thread: int) -> None:
        """A source of the flow was asked for more by this thread."""
        threads = self._threads.get(flow)
        if threads is None:
            threads = self._threads.setdefault(flow, set())
        threads.add(thread)

    def sign(self) -> bytes:
        """`GETS_ON` if every flow made progress since it was last said."""
        for flow in self._flows():
            made = sum(made_by(thread) for thread in tuple(self._threads[flow]))
            if made != self._seen.get(flow):
                self._seen[flow] = made
                self._owing.discard(flow)
        if self._owing:
            return STANDS_STILL
        self._owing.update(self._flows())
        return GETS_ON

    def _flows(self) -> Iterable[str]:
        return tuple(self._threads)


LIVENESS = Liveness()
"""Of this process."""
