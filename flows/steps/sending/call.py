"""One call of a provider: the message goes out, and its result is counted, in metrics and by the provider's breaker."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import cache, partial
from typing import Any

import structlog

from connectors.metrics import CREDENTIAL_REFUSED, DELIVERY_ATTEMPTS, DELIVERY_SEND_SECONDS, observe_all
from connectors.providers.channel import Channel, Failed, Result, Sent
from flows.steps.sending.late import LastLook
from flows.steps.sending.queue import ProviderQueue
from flows.steps.sending.records import RAISED, delivery_of, result_name
from flows.steps.sending.task import SendTask
from flows.steps.sending.texts import TextMessages
from state.model.content import Content, SmsContent
from state.model.errors import UnsendableError

_seconds, _attempts = cache(DELIVERY_SEND_SECONDS.labels), cache(DELIVERY_ATTEMPTS.labels)
ASK_AGAIN = timedelta(minutes=5)
"""Some refuse what is sent and are content with the question: until then the alert has to have heard of it."""
_logger = structlog.get_logger(__name__)


class ProviderCalls:
    """For one event loop."""

    def __init__(
        self,
        now_ms: Callable[[], int],
        texts: TextMessages | None,
        last_look: LastLook,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        ask_again: timedelta = ASK_AGAIN,
    ) -> None:
        """`spawn` begins what nobody waits for. `ask_again` after the last refusal a credential is checked."""
        self._now_ms, self._texts, self._last_look = now_ms, texts, last_look
        self._spawn, self._ask_again_s = spawn, ask_again.total_seconds()
        self._uncounted = Counter[tuple[str, str]]()
        """By provider and result."""
        self._took_s = defaultdict[str, list[float]](list)
        """By provider."""
        self._refused = dict[str, asyncio.TimerHandle]()
        """Providers that refuse our credential, and what asks them again: there may be no message for hours."""

    async def __call__(self, queue: ProviderQueue, task: SendTask, content: Content) -> tuple[Result, int]:
        """Whatever happens gives a result, and when it came; an error of ours says nothing of the provider."""
        channel, own = queue.bounds.channel, False
        began = time.perf_counter()
        try:
            result = await channel.send(delivery_of(task, content, partial(self._may_go, task)))
        except UnsendableError as error:
            _logger.warning("message_unsendable", provider=channel.name, error=str(error))
            result, own = Failed(f"{RAISED}{error}", retryable=False), True
        except Exception:  # a programmer's error in one connector must not hold up the others
            _logger.exception("connector_failed", provider=channel.name)
            result, own = Failed("connector error", retryable=False, ambiguous=True), True
        self._took_s[channel.name].append(time.perf_counter() - began)
        self._uncounted[channel.name, result_name(result)] += 1
        if self._texts is not None and isinstance(content, SmsContent) and isinstance(result, Sent):
            self._texts.taken(channel.name, task, content)
        now = self._now_ms()
        if not own:
            queue.answered(task, result, now)
            self._look_at_credential(channel, result)
        return result, now

    def _look_at_credential(self, channel: Channel, result: Result) -> None:
        """Say once that it is refused: each try meets the same answer."""
        provider = channel.name
        if isinstance(result, Failed) and result.of_credential:
            if provider not in self._refused:
                cause, remedy = result.cause, "carillon check tries it"
                _logger.error("credential_refused", provider=provider, cause=cause, remedy=remedy)
                CREDENTIAL_REFUSED.labels(provider).set(1)
            self._ask_later(channel)
        elif isinstance(result, Sent) and provider in self._refused:
            self._accepted(provider)

    def _ask_later(self, channel: Channel) -> None:
        if (before := self._refused.get(channel.name)) is not None:
            before.cancel()
        loop = asyncio.get_running_loop()
        self._refused[channel.name] = loop.call_later(self._ask_again_s, lambda: self._spawn(self._ask(channel)))

    async def _ask(self, channel: Channel) -> None:
        found = await channel.check()
        if found.ok and channel.name in self._refused:
            self._accepted(channel.name)
        elif not found.ok:
            self._ask_later(channel)

    def _accepted(self, provider: str) -> None:
        self._refused.pop(provider).cancel()
        CREDENTIAL_REFUSED.labels(provider).set(0)

    def _may_go(self, task: SendTask) -> bool:
        device = task.device
        return self._last_look.again(task, self._now_ms()) is None and task.device is device

    def count(self) -> None:
        """Put what was called since into metrics: for many calls at once, since each count takes a lock."""
        for labels, count in self._uncounted.items():
            _attempts(*labels).inc(count)
        self._uncounted.clear()
        for name, seconds in self._took_s.items():
            observe_all(_seconds(name), seconds)
            seconds.clear()
