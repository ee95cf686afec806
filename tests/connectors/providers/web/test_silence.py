"""A receiver that gives no answer is left alone for a while, and asked by one request whether it is back."""

from __future__ import annotations

from datetime import timedelta

from connectors.providers.web.silence import PAUSE, SILENT_MAX, SilentReceivers

DEAD, OTHER = ("https", "dead.example", 443), ("https", "dead.example", 8443)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_after_five_silences_in_a_row_it_is_left_alone_and_others_are_not() -> None:
    clock = Clock()
    receivers = SilentReceivers(clock)
    for _ in range(SILENT_MAX - 1):
        receivers.silent(DEAD)
        assert receivers.pause(DEAD) is None
    receivers.silent(DEAD)
    assert receivers.pause(DEAD) == PAUSE
    assert receivers.pause(OTHER) is None
    clock.now += 10
    assert receivers.pause(DEAD) == PAUSE - timedelta(seconds=10)


def test_an_answer_in_between_ends_the_row() -> None:
    receivers = SilentReceivers(Clock())
    for _ in range(SILENT_MAX):
        receivers.silent(DEAD)
        receivers.answered(DEAD)
    assert receivers.pause(DEAD) is None


def test_after_the_pause_one_request_asks_and_the_others_wait_for_its_answer() -> None:
    clock = Clock()
    receivers = SilentReceivers(clock)
    for _ in range(SILENT_MAX):
        receivers.silent(DEAD)
    clock.now += PAUSE.total_seconds()
    assert receivers.pause(DEAD) is None, "the one that asks"
    assert receivers.pause(DEAD) == PAUSE
    receivers.silent(DEAD)
    assert receivers.pause(DEAD) == PAUSE
    clock.now += PAUSE.total_seconds()
    assert receivers.pause(DEAD) is None
    receivers.answered(DEAD)
    assert [receivers.pause(DEAD) for _ in range(3)] == [None] * 3


def test_what_is_remembered_is_bounded() -> None:
    receivers = SilentReceivers(Clock())
    for number in range(30_000):
        for _ in range(SILENT_MAX):
            receivers.silent(("https", f"{number}.example", 443))
    paused = [number for number in range(30_000) if receivers.pause(("https", f"{number}.example", 443))]
    assert paused == list(range(20_000, 30_000))
