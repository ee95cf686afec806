"""When deliveries that failed together come again: spread evenly, so that nobody meets them all at once (F51)."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from connectors.providers.channel import Failed
from flows.steps.sending.answered import AfterAnswer
from flows.steps.sending.task import SendTask
from operators.attempts import DeliveryHistory
from operators.retry import DELAYS_MS, JITTER
from state.model.delivery import DeviceAddress

NUMBER, NOW = 2_000, 1_767_225_600_000
KOLMOGOROV_99 = 1.628
"""The statistic times the root of the number is above it in one of a hundred true samples."""


def waits_s(number: int) -> list[float]:
    """Of messages that all failed for the `number`-th time at the same instant; nothing else bounds them."""
    share = SimpleNamespace(reserve=lambda now, _last, **_urgent: now)
    queues = cast("Any", SimpleNamespace(last=lambda _task: SimpleNamespace(share=share), after=lambda _task: None))
    answered = AfterAnswer(queues, cast("Any", None), lambda _task: False, random.Random(51).uniform)
    emission = SimpleNamespace(priority="P0", valid_until=NOW + 86_400_000)
    found = []
    for _ in range(NUMBER):
        history = DeliveryHistory(attempts=number, tries=number, first_at=NOW - 10_000)
        task = SendTask(cast("Any", SimpleNamespace(emission=emission)), DeviceAddress("d"), "k", history, known=False)
        planned = answered(task, Failed("503"), NOW)
        assert planned.retry_at is not None
        found.append((planned.retry_at - NOW) / 1000)
    return sorted(found)


def distance(sample: list[float], low: float, high: float) -> float:
    """Kolmogorov's and Smirnov's, from even in [low, high], times the root of the number."""
    even = [min(1.0, max(0.0, (each - low) / (high - low))) for each in sample]
    steps = [max((n + 1) / len(even) - each, each - n / len(even)) for n, each in enumerate(even)]
    return float(max(steps) * len(even) ** 0.5)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_retries_are_spread_evenly_over_all_of_their_time(number: int) -> None:
    low, high = (DELAYS_MS[number - 1] / 1000 * factor for factor in JITTER)
    waits = waits_s(number)
    assert distance(waits, low, high) < KOLMOGOROV_99
    assert distance(waits, low, high * 1.1) > KOLMOGOROV_99, "the test sees a tenth"
    assert (low, high) == {1: (0.6, 1.4), 2: (3.0, 7.0), 3: (18.0, 42.0)}[number]
