"""The sign of life of a process: whether its flows get on, which a thread that only lives beside them cannot know.

A flow is known by the threads that ask its sources for more (`flows.steps.sources.watched`). It got on if one of them
counted anything since the last sign (`state.progress`): a call of a source, a record taken up, a batch of what a start
reads. Before its first call a flow starts, which may take long and is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterable

from state.progress import made_by

GETS_ON = b"."
STANDS_STILL = b"-"


class Liveness:
    """The flows of one process. `asks` is called by their threads, `sign` by the one that gives signs of life."""

    def __init__(self) -> None:
        self._threads: dict[str, set[int]] = {}
        self._seen: dict[str, int] = {}
        self._owing: set[str] = set()
        """Flows that did not get on since the last `GETS_ON`."""

    def asks(self, flow: str, thread: int) -> None:
        """A source of the flow was asked for more by this thread."""
        threads = self._threads.get(flow)
        if threads is None:
            threads = self._threads.setdefault(flow, set())
        threads.add(thread)

    def sign(self) -> bytes:
        """`GETS_ON` once every flow got on since it was said last."""
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
