"""How many deliveries of a lane are open, by channel. Each channel has a room of its own: what waits for a provider
that is slow, as mails do in a warm-up, keeps nothing of another channel waiting in the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from flows.steps.sending.task import SendTask
from state.model.topics import DELIVER

_OTHERS_PART = 4


def room_of(channel: str, most: int) -> int:
    """Of push as many as `most`; the others have less to send, and their providers take what keeps them busy."""
    return most if channel == "push" else max(1, most // _OTHERS_PART)


def full_topics(opened: Mapping[str, int], most: int) -> Collection[str]:
    """Of which no more may be read, with so many open on each channel. What falls back asks for no room: all are full
    where as many are open as the rooms of all hold.
    """
    rooms = {channel: room_of(channel, most) for channel in DELIVER}
    if sum(opened.values()) >= sum(rooms.values()):
        return DELIVER.values()
    return [DELIVER[channel] for channel, room in rooms.items() if opened[channel] >= room]


class OpenByChannel:
    """One thread at a time changes it; others ask."""

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
