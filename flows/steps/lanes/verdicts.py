"""Providers' verdicts on addresses, as far as they are believed (`operators.brake`).

One for all lanes of a process, which is where a provider's credential is. What it remembers is in memory.
"""

from __future__ import annotations

from collections import defaultdict
from threading import Lock

import structlog

from connectors.metrics import VERDICTS
from flows.steps.sending.records import verdict_of
from flows.steps.sending.task import SendTask
from operators.brake import Brake, BrakeConfig, Judged
from state.model.settings import GoneRecord

_SAID_EVERY_MS = 60_000
_logger = structlog.get_logger(__name__)


class Verdicts:
    """For many threads."""

    def __init__(self, config: BrakeConfig | None = None) -> None:
        """The default bounds, unless given."""
        self._brakes = defaultdict[str, Brake](lambda: Brake(config or BrakeConfig()))
        self._said_at: dict[str, int] = {}
        self._lock = Lock()

    def taken(self, provider: str, count: int, now: int) -> None:
        """It took so many messages without such a word."""
        with self._lock:
            self._brakes[provider].taken(now, count)

    def of(self, task: SendTask, now: int) -> GoneRecord | None:
        """What an ended delivery says of its address; None also where the provider is not believed."""
        provider, verdict = task.history.provider or "", verdict_of(task)
        if verdict is None:
            return None
        with self._lock:
            judged = self._brakes[provider].judge(now)
        VERDICTS.labels(provider, "believed" if judged.believed else "withheld").inc()
        if judged.believed:
            return verdict
        self._say(provider, judged, now)
        return None

    def _say(self, provider: str, judged: Judged, now: int) -> None:
        """Once a minute."""
        if now - self._said_at.get(provider, -_SAID_EVERY_MS) < _SAID_EVERY_MS:
            return
        self._said_at[provider] = now
        _logger.error(
            "verdicts_withheld",
            provider=provider,
            gone_in_hour=judged.verdicts,
            answers_in_hour=judged.answers,
            remedy="check topic and environment; if the addresses are gone indeed, raise limits.gone_share",
        )
