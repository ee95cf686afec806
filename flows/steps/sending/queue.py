"""What waits for one provider, the most urgent first, and how many requests it has in flight.

Within a class what is for one person goes in turn with what is for many: a mention does not wait behind a star's post.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from connectors.metrics import DELIVERIES_IN_FLIGHT
from connectors.providers.channel import Channel
from flows.steps.sending.task import SendTask
from operators.retry import RetryShare
from state.model.addresses import ANY, Place

PRIORITIES = ("P0", "P1", "P2")


@dataclass(frozen=True, slots=True)
class ProviderBounds:
    """A channel and its bounds."""

    channel: Channel
    concurrency_max: int
    rate_per_s: float


class _InTurn:
    """What waits in a class. What is for one person and what is for many take turns while there is some of both."""

    def __init__(self) -> None:
        self._one, self._many = deque[SendTask](), deque[SendTask]()
        self._many_next = False

    def put(self, task: SendTask) -> None:
        (self._many if task.siblings.for_many else self._one).append(task)

    def take(self) -> SendTask | None:
        chosen = self._many if self._many and (self._many_next or not self._one) else self._one
        if not chosen:
            return None
        self._many_next = chosen is self._one
        return chosen.popleft()


class ProviderQueue:
    """For one event loop. Its length is bounded by what the lanes of the flow keep open."""

    def __init__(self, bounds: ProviderBounds) -> None:
        self.bounds = bounds
        self.share = RetryShare(bounds.rate_per_s)
        self.in_flight = 0
        self._waiting = {priority: _InTurn() for priority in PRIORITIES}
        DELIVERIES_IN_FLIGHT.labels(bounds.channel.name).set_function(lambda: self.in_flight)

    def put(self, task: SendTask) -> None:
        """Let a task wait for its turn."""
        self._waiting[task.emission.priority].put(task)

    def take(self, count_max: int) -> list[SendTask]:
        """The next tasks, as many as the bound allows; each is in flight until `done`."""
        room = min(count_max, self.bounds.concurrency_max - self.in_flight)
        taken: list[SendTask] = []
        for waiting in self._waiting.values():
            while len(taken) < room and (task := waiting.take()):
                taken.append(task)
        self.in_flight += len(taken)
        return taken

    def done(self) -> None:
        """One request less in flight."""
        self.in_flight -= 1

    @property
    def has_room(self) -> bool:
        """Whether so many may start that it is worth to append their intents as a group."""
        return self.bounds.concurrency_max - self.in_flight >= max(1, self.bounds.concurrency_max // 8)


def queue_of(queues: Mapping[Place, ProviderQueue], task: SendTask) -> ProviderQueue | None:
    """That of the provider that serves the device's platform; None: nobody serves the channel."""
    platform = (task.device.platform or ANY).lower()
    return queues.get((task.channel, platform)) or queues.get((task.channel, ANY))
