"""One delivery on its way: what is sent to whom, what is known of it, and the other devices of its channel.

Siblings are the deliveries of one emission on one channel, one for each device. When they fall back, the next channel
has siblings of its own. But for `overtaken`, only the dispatcher's event loop changes tasks and siblings; their
listener hears of each end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from connectors.control import Scope
from operators.attempts import DeliveryHistory
from operators.fall_back import DEAD, FailedEnd, end_of_failed
from operators.retry import expires_first
from state.model.delivery import WITHDRAWAL_PREFIX, ChannelAddresses, DeviceAddress, ToDeliver, delivery_key


class WaitingPlace(Protocol):
    """The queue of a provider."""

    def moves(self, priority: str) -> bool:
        """Whether what waits there should go on with its next channel (RULES 4)."""
        ...

    @property
    def trouble_since(self) -> int | None:
        """When the provider's trouble began; None: it is in none."""
        ...


FindHistory = Callable[[str], DeliveryHistory | None]


class SendTask(Struct, eq=False):
    """One (emission, channel, device)."""

    siblings: Siblings
    device: DeviceAddress
    key: str
    history: DeliveryHistory
    known: bool
    """`attempts` had records of it when it was taken: it is resumed."""
    preset: tuple[str, str] | None = None
    """Outcome and reason with which it ends without being sent."""
    ending: str | None = None
    """The outcome that is decided, perhaps not stored yet."""
    queue: WaitingPlace | None = None
    """Where it waits for its turn."""
    came_at: int = 0
    """When it first waited."""
    waits_since: int = 0
    charge: tuple[int, float] | None = None
    """Parts of a text message that was taken, and what they cost."""
    variant: str | None = None
    """Of the text that the try at hand says."""
    waited_ms: int = 0
    """Between tries, for a provider that was away: this does not count against the time of its budget."""
    of_many: bool = False
    """Whether it is one of many that leave others room at the provider: of a fan-out, or of a campaign."""

    def begin_wait(self, queue: WaitingPlace, now: int) -> None:
        """It waits for its turn there, perhaps after another provider that is away."""
        priority = self.siblings.emission.priority
        self.of_many = priority == "P2" or (priority == "P1" and self.siblings.for_many)
        if self.queue is not None:
            self.end_wait(now)
        self.queue, self.waits_since = queue, now
        self.came_at = self.came_at or now

    def end_wait(self, now: int) -> None:
        """It waits there no longer. The time of a provider's trouble is none of its budget; P0 has 60 s in all."""
        trouble_since = None if self.queue is None else self.queue.trouble_since
        self.queue = None
        if trouble_since is not None and self.history.tries and self.emission.priority != "P0":
            self.waited_ms += max(0, now - max(self.waits_since, trouble_since))

    @property
    def budget_from(self) -> int:
        """From when on the time of its budget counts."""
        return self.history.first_at + self.waited_ms

    @property
    def emission(self) -> ToDeliver:
        return self.siblings.emission

    @property
    def channel(self) -> str:
        return self.siblings.channel

    @property
    def scope(self) -> Scope:
        """What kill switches may name."""
        return self.siblings.scope(self.siblings.channel)


class SendListener(Protocol):
    """Hears what becomes of siblings. Called on the dispatcher's loop, so it only takes notes."""

    def ended(self, task: SendTask, spawned: int) -> None:
        """Once per task, when its end is stored; `spawned` deliveries of the next channel take its place."""
        ...

    def hurried(self, spawned: int) -> None:
        """The timer of siblings came: so many deliveries of the next channel were started, perhaps none."""
        ...

    def rendering(self) -> AbstractContextManager[None]:
        """Around the rendering of an emission, so that one that ends the process is found."""
        ...

    def killed_by(self) -> bool:
        """Whether it was found: nothing of this record is rendered any more."""
        ...


class Siblings(Struct, eq=False):
    """The deliveries of one emission on one channel, one for each device."""

    emission: ToDeliver
    channel: str
    devices: Sequence[DeviceAddress]
    rest: Sequence[ChannelAddresses]
    partition: int
    """Of topic `attempts`."""
    find: FindHistory
    """What `attempts` said of a key when the lane started."""
    listener: SendListener
    tasks: list[SendTask] = []
    advanced: bool = False
    """The next channel was started already."""
    held_until: int = 0
    """The end of quiet hours that its ttl was prolonged by."""
    for_many: bool = False
    """The event went to others too, in the same record."""
    withdraws: bool = False
    """Takes from the screen what was sent before (RULES 3.F): nothing on the ledger ends with it."""
    replaces: str = ""
    """The event by which the sender took back some of what is shown: it withdraws nothing, but says the rest."""
    timed: bool = False
    """A timer of push_first has yet to ask how its deliveries ended."""
    overtaken: bool = False
    """Of what withdraws: something newer is shown in its place by now. The lane says so, from its own thread."""

    def scope(self, channel: str) -> Scope:
        """What kill switches may name of a delivery on that channel."""
        return Scope(self.emission.sender_id, self.emission.type, channel, self.emission.campaign)

    def make_tasks(self) -> list[SendTask]:
        """A task per device."""
        for device in self.devices:
            key = delivery_key(self.emission.emission_id, self.emission.user, self.channel, device.id)
            if self.withdraws:
                key = WITHDRAWAL_PREFIX + (f"{self.replaces}/" if self.replaces else "") + key
            found = self.find(key)
            self.tasks.append(SendTask(self, device, key, found or DeliveryHistory(), found is not None))
        return self.tasks

    def let_go(self) -> None:
        """Let go of the deliveries once all have ended: in a ring they would stay until Python's collector stops the
        process for hundreds of thousands of them.
        """
        if self.timed:
            return
        for task in self.tasks:  # mostly one: a generator would cost more than the look
            if task.history.outcome is None:
                return
        self.tasks = []

    def hurried(self, spawned: int) -> None:
        """Its timer has asked how its deliveries ended, and brought about so many on the next channel."""
        self.timed = False
        self.let_go()
        self.listener.hurried(spawned)

    def failed_end(self, task: SendTask, *, now: int, usable: Callable[[ChannelAddresses], bool]) -> FailedEnd:
        """How a task that failed for good ends (RULES 4)."""
        others = [other.ending or other.history.outcome for other in self.tasks if other is not task]
        return end_of_failed(
            others,
            self.rest,
            policy=self.emission.policy,
            now=now,
            valid_until=self.emission.valid_until,
            usable=usable,
        )

    def can_move(self, now: int, usable: Callable[[ChannelAddresses], bool]) -> bool:
        """Whether there is a channel to go on with, once no device of this one is tried any more."""
        emission = self.emission
        end = end_of_failed(
            (), self.rest, policy=emission.policy, now=now, valid_until=emission.valid_until, usable=usable
        )
        return end.fell_back_to is not None

    def next_channel(self, channel: str) -> Siblings:
        """The siblings on the channel fallen back to, with the channels after it; `advanced` from now on."""
        for position, entry in enumerate(self.rest):
            if entry.channel == channel:
                self.advanced = True
                rest = self.rest[position + 1 :]
                return replace(
                    self, channel=channel, devices=entry.devices, rest=rest, tasks=[], advanced=False, timed=False
                )
        raise AssertionError("siblings fall back to a channel among their own rest")

    def accepted_by(self, instant: int) -> bool:
        """Whether a provider took one of its messages until then."""
        return any(
            task.history.ended_at <= instant if task.history.outcome == "DELIVERED" else task.ending == "DELIVERED"
            for task in self.tasks
        )


class Planned(Struct, frozen=True):
    """What follows from an answer: the end, or the time of the next try."""

    outcome: str | None = None
    reason: str | None = None
    fell_back_to: str | None = None
    retry_at: int | None = None
    moved_to: str | None = None
    """The provider of the same channel that goes on."""


def out_of_time(task: SendTask, planned: Planned) -> Planned:
    """The end of a task that gets no further try: EXPIRED instead of DEAD_LETTER where only its time was too short."""
    history, emission = task.history, task.emission
    expires = expires_first(
        emission.priority, history.tries, first_at=task.budget_from, valid_until=emission.valid_until
    )
    return replace(planned, outcome="EXPIRED") if expires and planned.outcome == DEAD.outcome else planned
