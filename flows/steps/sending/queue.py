"""What waits for one provider, the most urgent first, and how many requests it has in flight.

Within a class what is for one person goes in turn with what is for many: a mention does not wait behind a star's post.
Of what is for many no more is in flight than keeps the provider busy, so that it does not wait there either.

Its breaker (RULES 4) says how much may go: everything, a part of the rate, or nothing but a probe. What waits when the
breaker closes is the backlog: it goes at a rate of its own, behind new P0 and P1 and before new P2.

A person may drain a class or the provider: what is under way ends, and the rest waits here, up to its ttl. When the
drain ends it is a backlog too.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import structlog

from connectors.providers.channel import Channel, Failed, Result, Throttled
from flows.steps.sending.rate import SendRate
from flows.steps.sending.task import SendTask
from operators.breaker import MOVE_AFTER_MS, PROBE_EVERY_MS, SHARES, Breaker, BreakerState, Pace
from operators.in_flight import InFlightBound
from operators.retry import RetryShare

PRIORITIES = ("P0", "P1", "P2")
PASSED_OVER_AFTER_MS = 30_000
"""A load score of 1 (RULES 3.E)."""
_SOON_MS, _LATER_MS = 50, 1_000
_JUDGE_ALL_EVERY_MS = 5_000
_FAILED = (Failed, Throttled)
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProviderBounds:
    """A channel and its bounds."""

    channel: Channel
    concurrency_max: int
    rate: SendRate
    backlog_share: float = 0.5
    """Of the rate, for what waited while the provider was away."""
    waiting_max: int = 10_000
    """So many wait for a provider that is away."""
    service_of: Callable[[str], str] | None = None
    """Which of its services takes an address, where each has a breaker and a rate of its own."""
    drained: Callable[[], frozenset[str]] = frozenset
    """The classes of which nothing more may go there, since somebody drains them or the provider."""
    ahead: Callable[[], int] = int
    """So many more than `concurrency_max` it takes over at present, which it sends as soon as it can."""


class _InTurn:
    """What waits in a class. What is for one person and what is for many take turns while there is some of both."""

    def __init__(self) -> None:
        self._one, self._many = deque[SendTask](), deque[SendTask]()
        self._many_next = False

    def put(self, task: SendTask) -> None:
        (self._many if task.of_many else self._one).append(task)

    def take(self, *, many: bool) -> SendTask | None:
        """What comes next; `many`: whether it may be what is for many."""
        chosen = self._many if many and self._many and (self._many_next or not self._one) else self._one
        if not chosen:
            return None
        self._many_next = chosen is self._one
        return chosen.popleft()

    def __bool__(self) -> bool:
        return bool(self._one or self._many)

    def oldest(self, of: ProviderQueue) -> SendTask | None:
        """Of what is for one person and still waits there, what came first; may be asked by any thread."""
        return next((task for task in tuple(self._one) if task.queue is of), None)


class _Line:
    """All classes."""

    def __init__(self) -> None:
        self.size = 0
        self._classes = {priority: _InTurn() for priority in PRIORITIES}

    def put(self, task: SendTask) -> None:
        self.size += 1
        self._classes[task.emission.priority].put(task)

    def take(
        self, of: ProviderQueue, priorities: tuple[str, ...] = PRIORITIES, many_max: int = sys.maxsize
    ) -> Iterator[SendTask]:
        """The most urgent first, and so many of what is for many; not those that left the queue meanwhile."""
        for priority in priorities:
            while (task := self._classes[priority].take(many=many_max > 0)) is not None:
                self.size -= 1
                if task.queue is of:
                    many_max -= task.of_many
                    yield task

    def has(self, priorities: tuple[str, ...]) -> bool:
        """Whether something of these classes waits."""
        return self.size > 0 and any(self._classes[priority] for priority in priorities)

    def longest_wait_ms(self, of: ProviderQueue, now: int) -> int:
        """How long a mention waits for its turn: a P1 that is for one person."""
        oldest = self._classes["P1"].oldest(of)
        return 0 if oldest is None else now - oldest.waits_since


class ProviderQueue:
    """For one event loop. Its length is bounded by what the lanes of the flow keep open."""

    def __init__(self, bounds: ProviderBounds, service: str = "") -> None:
        self.bounds, self.service = bounds, service
        self.rate = bounds.rate.of(service) if service else bounds.rate
        self.share = RetryShare(self.rate.own_per_s)
        self.in_flight = self._many = 0
        self._bound = InFlightBound(self._most)
        """For those in flight that are for many."""
        self.state: BreakerState = "closed"
        self.attended = False
        """The dispatcher has a timer for it."""
        self.pumped_soon = False
        """It is asked for more in the next turn of the event loop."""
        self.drained = bounds.drained
        self._held: frozenset[str] = frozenset()
        self.of_provider: Callable[[], int] = lambda: self.size
        """How many wait for any service of the provider."""
        self._breaker = Breaker()
        self._probe: SendTask | None = None
        self._backlog_pace = Pace(self.rate.own_per_s)
        self._waiting, self._backlog = _Line(), _Line()
        self._come: list[SendTask] = []
        """Came while the breaker is open, and may leave at once."""
        self._since: int | None = None
        """When the trouble began."""
        self._asked_until = 0
        """It said that it has too much, and until when; P0 goes all the same."""
        self._judged_at, self._moving, self._slow = 0, False, False

    def put(self, task: SendTask, now: int) -> None:
        """Let a task wait for its turn."""
        task.begin_wait(self, now)
        if self.state == "open":
            self._come.append(task)
        else:
            self._waiting.put(task)

    def take(self, count_max: int, now: int) -> list[SendTask]:
        """The next tasks, as many as the bounds allow; each is in flight until `done`."""
        self.look(now)
        taken = self._take_probe() if self.state == "open" else self._take_in_turn(count_max, now)
        for task in taken:
            task.end_wait(now)
        self.in_flight += len(taken)
        self._many += _for_many(taken)
        return taken

    def answered(self, task: SendTask, result: Result, now: int) -> None:
        """What the provider said, or that it said nothing in time. A refusal of the address is no failure of its."""
        failed = isinstance(result, _FAILED) and not result.of_address
        if failed and isinstance(result, Throttled) and result.retry_after is not None:
            wait_ms = min(result.retry_after // timedelta(milliseconds=1), PROBE_EVERY_MS)
            self._asked_until = max(self._asked_until, now + wait_ms)
        self._breaker.answered(now, failed=failed, probe=task is self._probe)
        if task.of_many and task.history.made:
            self._bound.answered(now - task.history.made[-1].at, self._many)
        if task is self._probe:
            self._probe = None
        if self._since is not None or not self._breaker.at_ease:
            self.look(now)  # else it changes nothing

    def done(self, task: SendTask) -> None:
        """One request less in flight; a probe that was not answered was not sent."""
        self.in_flight -= 1
        self._many -= task.of_many
        if task is self._probe:
            self._probe = None
            self._breaker.probe_lost()

    @property
    def has_room(self) -> bool:
        """Whether half of what may be in flight may start: it is worth to append the intents of so many as a group."""
        free = self._most - self.in_flight
        if not self._many:
            return free >= max(1, self._most // 2)
        return min(free, self._bound.size - self._many) >= max(1, self._bound.size // 2)

    @property
    def _most(self) -> int:
        return self.bounds.concurrency_max + self.bounds.ahead()

    @property
    def size(self) -> int:
        """How many wait."""
        return self._waiting.size + self._backlog.size + len(self._come)

    @property
    def trouble_since(self) -> int | None:
        """Since when the breaker is not closed, or what waited meanwhile is not sent yet; None: all is well."""
        return self._since

    def takes(self, task: SendTask) -> bool:
        """Whether the breaker is not open, and nobody drains the provider or the task's class."""
        return self.state != "open" and task.emission.priority not in self.drained()

    def lacks(self, task: SendTask) -> bool:
        """Whether the breaker is open, it is time for a probe, and nothing but the task could be it."""
        return self.state == "open" and self._lacks_probe and task.emission.priority not in self.drained()

    @property
    def holds_back(self) -> bool:
        """Whether it is drained, as of the last look."""
        return bool(self._held)

    def moves(self, priority: str) -> bool:
        """Whether what waits here should go on with its next channel, as of the last look (RULES 4)."""
        return self.state == "open" and (
            priority == "P0" or (priority == "P1" and self._breaker.open_ms() >= MOVE_AFTER_MS)
        )

    def is_away(self, now: int) -> bool:
        """Whether what comes now had better go another way: the breaker is open, or what came before has waited for
        long, and since then not for half as long again. May be asked by any one thread.

        Not while an open breaker lacks a probe: somebody has to come and ask, or it stays open for ever.
        """
        limit_ms = PASSED_OVER_AFTER_MS // 2 if self._slow else PASSED_OVER_AFTER_MS
        self._slow = "P1" not in self._held and self._waiting.longest_wait_ms(self, now) >= limit_ms
        return self._slow if self.state != "open" else not self._lacks_probe

    @property
    def _lacks_probe(self) -> bool:
        """Whether it is time for a probe, and nothing waits that could be it."""
        return not self.size and self._probe is None and not self.probe_in_ms()

    def probe_in_ms(self) -> int:
        """For an open breaker, as of the last look: how long until a probe may go."""
        return self._breaker.probe_in_ms()

    @property
    def to_be_looked_at(self) -> bool:
        """Whether something goes on with time alone: the provider is in trouble, or what waits waits for its rate."""
        return self._since is not None or (self.size > 0 and self.in_flight < self._most)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not self.size and not self.in_flight

    def drop(self) -> None:
        """It is idle, and nobody will ask for it any more."""
        self._since = None

    def look_in_s(self) -> float:
        """When that is."""
        if self.state == "open":
            return min(_LATER_MS, max(_SOON_MS, self.probe_in_ms())) / 1000
        return _SOON_MS / 1000

    def judge(self, now: int) -> list[SendTask]:
        """Take out what came while the breaker is open, every few seconds all that may not go, to see who leaves; then
        `keep` those that stay.
        """
        tasks, self._come = self._come, []
        recently = 0 <= now - self._judged_at < _JUDGE_ALL_EVERY_MS  # a clock may step back
        due = not recently or self._moving != self.moves("P1")
        stays = PRIORITIES if self.state == "open" else tuple(self._held)
        if due and stays:
            self._judged_at, self._moving = now, self.moves("P1")
            tasks = [*self._backlog.take(self, stays), *self._waiting.take(self, stays), *tasks]
        return tasks

    def keep(self, tasks: list[SendTask]) -> None:
        """Those of them that did not leave wait on."""
        for task in tasks:
            if task.queue is self:
                self._waiting.put(task)

    def look(self, now: int) -> None:
        """Follow the breaker's state, and say so where it changed."""
        before, self.state = self.state, self._breaker.look(now)
        held, self._held = self._held, self.drained()
        if released := held - self._held:
            self._make_backlog(released)
        if self.state != before:
            self._changed(before, now)
        if self._since is not None and self.state == "closed" and not self._backlog.has(self._going()):
            self._since = None

    def _changed(self, before: BreakerState, now: int) -> None:
        found = self._breaker.judged
        self._since = now if self._since is None else self._since
        self.rate.slow(SHARES[self.state])
        self._judged_at = 0
        if self.state != "open":
            self.keep(self._come)
            self._come = []
        if self.state == "closed" and before == "half_open":
            self._make_backlog(frozenset(PRIORITIES))
        of_service = {"service": self.service} if self.service else {}
        _logger.warning(
            "breaker", provider=self.bounds.channel.name, now=self.state, before=before, calls=found.calls,
            failed=found.failed, backlog=self._backlog.size, **of_service,
        )  # fmt: skip

    def _make_backlog(self, classes: frozenset[str]) -> None:
        """What waits of them goes at the backlog's rate."""
        waiting = list(self._waiting.take(self, tuple(classes)))
        self._backlog_pace = Pace(self.rate.own_per_s * self.bounds.backlog_share)
        for task in waiting:
            self._backlog.put(task)

    def _going(self, priorities: tuple[str, ...] = PRIORITIES) -> tuple[str, ...]:
        return tuple(each for each in priorities if each not in self._held) if self._held else priorities

    def _take_probe(self) -> list[SendTask]:
        """The most urgent of what waits, when it is time for a probe; else of what came."""
        if self._probe is not None or self.probe_in_ms():
            return []
        for line in (self._waiting, self._backlog):
            self._probe = self._probe or next(line.take(self, self._going()), None)
        if self._probe is None and (
            here := [task for task in self._come if task.queue is self and task.emission.priority not in self._held]
        ):
            self._probe = min(here, key=lambda task: task.emission.priority)
            self._come.remove(self._probe)
        if self._probe is None:
            return []
        self._breaker.probe()
        return [self._probe]

    def _take_in_turn(self, count_max: int, now: int) -> list[SendTask]:
        room = min(count_max, max(1, int(self._most * SHARES[self.state])) - self.in_flight)
        if room <= 0 or not self.size:
            return []
        room = min(room, self.rate.room(now))
        taken: list[SendTask] = []
        if 0 < self._asked_until - now <= PROBE_EVERY_MS:  # a clock may step back
            _fill(taken, room, self._waiting.take(self, self._going(("P0",))))
        else:
            self._take_all_classes(taken, room, now)
        self.rate.take(_in_time(taken, now))
        return taken

    def _take_all_classes(self, taken: list[SendTask], room: int, now: int) -> None:
        _fill(taken, room, self._waiting.take(self, self._going(("P0", "P1")), self._room_for_many(taken)))
        if self._backlog.has(self._going()):
            self._take_backlog(taken, room, now)
        if not self._backlog.has(self._going()):
            _fill(taken, room, self._waiting.take(self, self._going(("P2",)), self._room_for_many(taken)))

    def _room_for_many(self, taken: list[SendTask]) -> int:
        return self._bound.size - self._many - _for_many(taken)

    def _take_backlog(self, taken: list[SendTask], room: int, now: int) -> None:
        before = len(taken)
        waiting = self._backlog.take(self, self._going(), self._room_for_many(taken))
        _fill(taken, min(room, before + self._backlog_pace.room(now)), waiting)
        self._backlog_pace.take(_in_time(taken[before:], now))


def one_then_many(batch: list[SendTask]) -> Iterator[list[SendTask]]:
    """What is for one person, then what is for many: so it waits for nobody's checks, and for no intents of others."""
    for many in (False, True):
        if part := [task for task in batch if task.of_many is many]:
            yield part


def _fill(taken: list[SendTask], room: int, waiting: Iterator[SendTask]) -> None:
    while len(taken) < room and (task := next(waiting, None)) is not None:
        taken.append(task)


def _for_many(taken: list[SendTask]) -> int:
    return sum(task.of_many for task in taken)


def _in_time(taken: list[SendTask], now: int) -> int:
    """How many will be sent: what is too late ends without a call, and takes nothing of the rate."""
    return sum(task.emission.valid_until >= now for task in taken)
