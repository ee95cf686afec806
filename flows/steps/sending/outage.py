"""Who leaves the queue of a provider whose breaker is open, or that is drained (RULES 4).

What waits there keeps its place, its tries and its ttl. It leaves it when another provider serves its channel; when its
ttl is over; when it may go on with its next channel, together with the other devices of its channel. So that a provider
that stays away fills no lane, P0 also leaves it when the time of its budget is over, and nothing more comes into a
queue that is full. What waits because it is drained leaves only when its ttl is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from flows.steps.sending.late import LastLook
from flows.steps.sending.queue import ProviderQueue
from flows.steps.sending.task import Planned, SendTask, Siblings
from operators.fall_back import REACHED
from operators.retry import BUDGETS
from state.model.delivery import ChannelAddresses

PROVIDER_AWAY = "provider away"
"""Reason of FELL_BACK, and of what ends because it has no other channel."""
CanUse = Callable[[Siblings, ChannelAddresses], bool]
Left = list[tuple[SendTask, Planned]]


class Fail(Protocol):
    """The end of a task that failed for good."""

    def __call__(self, task: SendTask, reason: str, now: int, can_use: CanUse | None = None) -> Planned: ...


def leaving(
    queue: ProviderQueue,
    now: int,
    fail: Fail,
    can_use: CanUse,
    last_look: LastLook,
    elsewhere: Callable[[SendTask], bool],
) -> Left:
    """Take out of the queue whoever leaves it, and give those that end; `can_use` says which channels may be gone on
    with, and `elsewhere` lets a task wait for another provider of its channel, if one is not away.
    """
    left: Left = []
    tasks = queue.judge(now)
    kept = queue.of_provider()
    for task in tasks:
        if task.queue is not queue:
            continue
        if queue.state != "open":
            left += _over(task, now, last_look)
        elif not elsewhere(task):
            full = kept >= queue.bounds.waiting_max
            gone = _over(task, now, last_look) or _moved(task, now, fail, can_use) or _given_up(task, now, fail, full)
            kept += not gone
            left += gone
    queue.keep(tasks)
    return left


def _over(task: SendTask, now: int, last_look: LastLook) -> Left:
    planned = last_look(task, now) if now > task.emission.valid_until else None
    if planned is None:
        return []
    task.queue, task.ending = None, planned.outcome
    return [(task, planned)]


def _moved(task: SendTask, now: int, fail: Fail, can_use: CanUse) -> Left:
    siblings = task.siblings
    if not _all_move(siblings) or not siblings.can_move(now, lambda entry: can_use(siblings, entry)):
        return []
    together = [each for each in siblings.tasks if each.queue is not None]
    for each in together:
        each.queue = None
    return [(each, fail(each, PROVIDER_AWAY, now, can_use)) for each in together]


def _all_move(siblings: Siblings) -> bool:
    """Whether all devices have failed or wait for providers that they may leave; one that is reached needs no other."""
    for each in siblings.tasks:
        if each.queue is not None:
            if not each.queue.moves(siblings.emission.priority):
                return False
        elif (outcome := each.ending or each.history.outcome) is None or outcome in REACHED:
            return False
    return True


def _given_up(task: SendTask, now: int, fail: Fail, full: bool) -> Left:
    late = task.emission.priority == "P0" and now - task.came_at >= BUDGETS["P0"].within_ms
    if not (late or full):
        return []
    task.queue = None
    return [(task, fail(task, PROVIDER_AWAY, now))]
