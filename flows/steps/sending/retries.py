"""Deliveries that wait for the time of their next try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flows.steps.sending.task import SendTask


class Retries:
    """For one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, begin: Callable[[SendTask], None]) -> None:
        """`begin` makes the next try."""
        self._loop, self._begin = loop, begin
        self._p0: dict[int, tuple[SendTask, asyncio.TimerHandle]] = {}

    def wait(self, task: SendTask, delay_ms: int) -> None:
        """Let it try again then."""
        timer = self._loop.call_later(max(0, delay_ms) / 1000, self._come, task)
        if task.emission.priority == "P0":
            self._p0[id(task)] = task, timer

    def take_p0(self, concerned: Callable[[SendTask], bool]) -> list[SendTask]:
        """P0 that shall wait no longer."""
        taken = [(task, timer) for task, timer in self._p0.values() if concerned(task)]
        for task, timer in taken:
            timer.cancel()
            del self._p0[id(task)]
        return [task for task, _ in taken]

    def _come(self, task: SendTask) -> None:
        self._p0.pop(id(task), None)
        self._begin(task)
