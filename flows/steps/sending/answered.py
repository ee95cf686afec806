"""What follows from a provider's answer (RULES 4): the end, another try, or the next provider of the channel."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from connectors.providers.channel import Failed, Rejected, Result, Sent, Throttled
from flows.steps.sending.message import EndOfFailed
from flows.steps.sending.queues import ProviderQueues
from flows.steps.sending.records import REJECTED, why
from flows.steps.sending.task import Planned, SendTask, out_of_time
from operators.attempts import DELIVERED, UNKNOWN
from operators.retry import BUDGETS, JITTER, retry_at

_TAKEN = Planned(DELIVERED)


class AfterAnswer:
    """For one dispatcher."""

    def __init__(
        self,
        queues: ProviderQueues,
        failed: EndOfFailed,
        renewed: Callable[[SendTask], bool],
        uniform: Callable[[float, float], float],
    ) -> None:
        """`failed` ends a task for good; `renewed` says whether its address is another by now; `uniform` draws the
        jitter of retries.
        """
        self._queues, self._failed, self._renewed, self._uniform = queues, failed, renewed, uniform

    def __call__(self, task: SendTask, result: Result, now: int) -> Planned:
        if isinstance(result, Sent):
            return _TAKEN
        if isinstance(result, Rejected):
            if result.token_gone is not None and not _was_rejected(task) and self._renewed(task):
                return Planned(retry_at=now)  # registered again while the try was under way
            return self._failed(task, result.reason, now)
        if isinstance(result, Failed):
            if result.ambiguous and task.emission.priority != "P0":
                return Planned(UNKNOWN, result.cause)
            if not result.retryable:
                return self._handed_on(task, result, now) or self._failed(task, result.cause, now)
        at = self._next_try(task, result, now)
        if at is not None:
            return Planned(retry_at=at)
        return self._handed_on(task, result, now) or out_of_time(task, self._failed(task, why(result) or "", now))

    def _handed_on(self, task: SendTask, result: Throttled | Failed, now: int) -> Planned | None:
        """To the next provider of the channel, with a budget of its own; not for what lies with the address."""
        queue = self._queues.after(task)
        if queue is None or result.of_address or now > task.emission.valid_until:
            return None
        task.waited_ms = 0
        return Planned(retry_at=now, moved_to=queue.bounds.channel.name)

    def _next_try(self, task: SendTask, result: Throttled | Failed, now: int) -> int | None:
        """When it is tried again, within its budget and the provider's share of retries; None: not at all."""
        emission, history = task.emission, task.history
        wait_ms = None if result.retry_after is None else result.retry_after // timedelta(milliseconds=1)
        at = retry_at(
            emission.priority, history.tries, first_at=task.budget_from, now=now,
            jitter=self._uniform(*JITTER), retry_after_ms=wait_ms, valid_until=emission.valid_until,
        )  # fmt: skip
        if at is None:
            return None
        last = min(task.budget_from + BUDGETS[emission.priority].within_ms, emission.valid_until)
        queue = self._queues.last(task)
        share_at = None if queue is None else queue.share.reserve(now, last, urgent=emission.priority == "P0")
        return None if share_at is None else max(at, share_at)


def _was_rejected(task: SendTask) -> bool:
    return any((made.answer or "").startswith(REJECTED) for made in task.history.made)
