"""Which of what waits for a provider goes first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from flows.steps.sending.queue import ProviderBounds, ProviderQueue
from flows.steps.sending.task import SendTask


def queue(concurrency_max: int) -> ProviderQueue:
    channel = SimpleNamespace(name="push")
    return ProviderQueue(ProviderBounds(cast("Any", channel), concurrency_max, 100.0))


def task(name: str, priority: str, *, for_many: bool) -> SendTask:
    found = SimpleNamespace(
        name=name, emission=SimpleNamespace(priority=priority), siblings=SimpleNamespace(for_many=for_many)
    )
    return cast("SendTask", found)


def names(tasks: list[SendTask]) -> list[str]:
    return [cast("Any", each).name for each in tasks]


def test_a_mention_waits_for_one_of_a_post_and_the_post_goes_on() -> None:
    waiting = queue(100)
    for number in range(5):
        waiting.put(task(f"post{number}", "P1", for_many=True))
    assert names(waiting.take(1)) == ["post0"]
    for number in range(3):
        waiting.put(task(f"mention{number}", "P1", for_many=False))
    assert names(waiting.take(6)) == ["mention0", "post1", "mention1", "post2", "mention2", "post3"]
    assert names(waiting.take(6)) == ["post4"]
    assert waiting.take(6) == []


def test_classes_come_first_and_the_bound_holds() -> None:
    waiting = queue(3)
    waiting.put(task("campaign", "P2", for_many=False))
    waiting.put(task("post", "P1", for_many=True))
    waiting.put(task("code", "P0", for_many=False))
    waiting.put(task("mention", "P1", for_many=False))
    assert names(waiting.take(9)) == ["code", "mention", "post"]
    assert waiting.take(9) == [], "three are in flight"
    waiting.done()
    assert names(waiting.take(9)) == ["campaign"]
