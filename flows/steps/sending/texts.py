"""What goes for text messages alone: limits before the first try, and the cost of what was taken (RULES 4)."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from msgspec.structs import replace

from connectors.metrics import SMS_COST, SMS_PARTS, SMS_REFUSED
from flows.steps.sending.task import Planned, SendTask
from operators.fall_back import DEAD
from operators.sms_limits import SmsGuard
from state.model.content import Content, SmsContent
from state.model.gsm import sms_parts

_logger = structlog.get_logger(__name__)


class TextMessages:
    """For one dispatcher."""

    def __init__(self, guard: SmsGuard) -> None:
        self._guard = guard

    def refused(self, task: SendTask, now: int, failed: Callable[[SendTask, str, int], Planned]) -> Planned | None:
        """How a message ends that may not go: by its next channel, or SUPPRESSED. None: it may, and is counted.

        It is asked before the first try only: what is tried again, perhaps by another provider, was counted.
        """
        number = task.device.address
        if task.channel != "sms" or number is None or task.history.attempts:
            return None
        reason = self._guard.refusal(number, task.emission.sender_id, task.emission.type, now)
        if reason is None:
            return None
        destination = self._guard.destination(number)
        SMS_REFUSED.labels(destination, reason).inc()
        _logger.warning("sms_refused", destination=destination, reason=reason, type=task.emission.type)
        planned = failed(task, reason, now)
        return replace(planned, outcome="SUPPRESSED") if planned.outcome == DEAD.outcome else planned

    def taken(self, provider: str, task: SendTask, content: Content) -> None:
        """A provider took it: count its parts and their price, also for its record on the ledger."""
        if not isinstance(content, SmsContent):
            return
        number = task.device.address or ""
        destination, parts = self._guard.destination(number), len(sms_parts(content.text).parts)
        cost = round(parts * self._guard.price(number), 6)
        SMS_PARTS.labels(provider, destination).inc(parts)
        SMS_COST.labels(provider, destination).inc(cost)
        task.charge = parts, cost
