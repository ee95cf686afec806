"""How many deliveries of a lane are open, by channel. Each channel has a room of its own: what waits for a provider
that is slow, as mails do in a warm-up, keeps nothing of another channel waiting in the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flows.steps.sending.task import SendTask

_OTHERS_PART = 4


def room_of(channel: str, most: int) -> int:
    """Of push as many as `most`; the others have less to send, and their providers take what keeps them busy."""
    return most if channel == "push" else max(1, most // _OTHERS_PART)


class OpenByChannel:
    """For one thread at a time."""

    def __init__(self) -> None:
        self._open = Counter[str]()

    def opened(self, tasks: Iterable[SendTask]) -> None:
        """These are open from now on."""
        for task in tasks:
            self._open[task.channel] += 1

    def ended(self, task: SendTask, spawned: int) -> None:
        """One is not any more, and fell back to `spawned` others."""
        self._open[task.channel] -= 1
        if spawned and task.history.fell_back_to:
            self._open[task.history.fell_back_to] += spawned

    def __getitem__(self, channel: str) -> int:
        return self._open[channel]
