"""The retry budget: pure."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heapify, heappop, heappush
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.retry import (
    BUDGETS,
    DELAYS_MS,
    FEW,
    FEW_PER_S,
    JITTER,
    SHARE,
    RetryShare,
    expires_first,
    retry_at,
)

FAR = 10**15


def chain(priority: str, jitter: float, valid_until: int = FAR, retry_after_ms: int | None = None) -> list[int]:
    """The times of all tries of a delivery that always fails at once, the first at 0."""
    times = [0]
    while (
        at := retry_at(
            priority, len(times), first_at=0, now=times[-1], jitter=jitter, retry_after_ms=retry_after_ms,
            valid_until=valid_until,
        )
    ) is not None:  # fmt: skip
        times.append(at)
        assert len(times) < 100
    return times


@pytest.mark.parametrize(
    ("priority", "expected"),
    [("P0", [0, 1_000, 6_000, 36_000]), ("P1", [0, 1_000, 6_000]), ("P2", [0, 1_000])],
)
def test_retries_come_after_1_5_and_30_seconds(priority: str, expected: list[int]) -> None:
    assert chain(priority, 1.0) == expected


@given(st.sampled_from(["P0", "P1", "P2"]), st.floats(*JITTER))
def test_never_more_nor_later_than_the_budget(priority: str, jitter: float) -> None:
    times = chain(priority, jitter)
    budget = BUDGETS[priority]
    assert len(times) == 1 + budget.retries
    assert times[-1] <= budget.within_ms
    for delay, (before, after) in zip(DELAYS_MS, pairwise(times), strict=False):
        assert 0.6 * delay - 1 <= after - before <= 1.4 * delay


def test_retry_after_lengthens_the_wait_and_never_shortens_it() -> None:
    assert chain("P1", 1.0, retry_after_ms=100) == [0, 1_000, 6_000]
    assert chain("P1", 1.0, retry_after_ms=20_000) == [0, 20_000, 40_000]


def test_a_retry_after_beyond_the_budget_ends_it() -> None:
    assert chain("P0", 1.0, retry_after_ms=60_000) == [0, 60_000]
    assert chain("P0", 1.0, retry_after_ms=60_001) == [0]


def test_no_retry_after_the_ttl_and_one_at_its_end() -> None:
    assert chain("P1", 1.0, valid_until=1_000) == [0, 1_000]
    assert chain("P1", 1.0, valid_until=999) == [0]


@pytest.mark.parametrize(
    ("priority", "attempts", "valid_until", "expires"),
    [
        ("P1", 1, 120_099, True), ("P1", 1, 120_100, False), ("P1", 2, 120_099, True), ("P1", 3, 120_099, False),
        ("P2", 1, 300_099, True), ("P2", 2, 300_099, False), ("P0", 1, 101, False),
    ],
)  # fmt: skip
def test_what_had_tries_left_and_no_time_expires_and_p0_never_does(
    priority: str, attempts: int, valid_until: int, expires: bool
) -> None:
    assert expires_first(priority, attempts, first_at=100, valid_until=valid_until) == expires


def test_retries_never_exceed_half_of_the_rate() -> None:
    share = RetryShare(100.0)
    times = [share.reserve(1_000, FAR, urgent=True) or 0 for _ in range(500)]
    assert times[0] == 1_000
    for start in range(1_000, 9_000, 100):
        inside = sum(start <= at < start + 1_000 for at in times)
        assert inside <= (100 if start == 1_000 else 51), start
    assert times == sorted(times)


def test_the_share_fills_again_but_only_to_its_size() -> None:
    share = RetryShare(10.0)
    assert ([share.reserve(1, FAR, urgent=True) for _ in range(6)][-1] or 0) > 1
    assert share.reserve(100_000, FAR, urgent=True) == 100_000
    assert ([share.reserve(100_000, FAR, urgent=True) for _ in range(6)][-1] or 0) > 100_000


def test_a_retry_that_comes_too_late_takes_nothing_from_those_that_follow() -> None:
    """Half an hour in which a provider fails everything, at twice what its share of retries can serve."""
    share, within_ms = RetryShare(100.0), 60_000
    given = [
        at for now in range(0, 1_800_000, 10) if (at := share.reserve(now, now + within_ms, urgent=True)) is not None
    ]
    assert 50 * 1_800 <= len(given) <= 50 * (1_800 + within_ms // 1_000 + 1)
    over = share.reserve(1_800_000 + 2 * within_ms, FAR, urgent=True)
    assert over == 1_800_000 + 2 * within_ms, "what was promised is kept, and nothing is owed beyond it"


def test_a_retry_may_be_made_at_the_very_end() -> None:
    share = RetryShare(2.0)
    assert share.reserve(1_000, 1_000, urgent=True) == 1_000
    assert [share.reserve(1_000, last, urgent=True) for last in (1_999, 2_000)] == [None, 2_000]


@pytest.mark.parametrize("back_ms", [1_000, 3_600_000])
def test_a_clock_that_steps_back_costs_no_retry(back_ms: int) -> None:
    share, now = RetryShare(20_000.0), 10_000_000
    share.reserve(now, FAR, urgent=True)
    assert [share.reserve(now - back_ms, FAR, urgent=True) for _ in range(100)] == [now - back_ms] * 100
    share = RetryShare(10.0)
    for _ in range(5):
        share.reserve(now, FAR, urgent=True)
    assert share.reserve(now - back_ms, now - back_ms, urgent=True) is None
    assert share.reserve(now - back_ms + 1_000, FAR, urgent=True) == now - back_ms + 1_000


def storm(seconds: int, per_s: int, priority: str, share: RetryShare) -> tuple[list[int], list[int]]:
    """A provider fails everything, and so many messages a second come: the times of first tries and of retries."""
    waiting = [(number * 1_000 // per_s, 1, number * 1_000 // per_s) for number in range(seconds * per_s)]
    tries: tuple[list[int], list[int]] = ([], [])
    heapify(waiting)
    while waiting:
        now, attempt, first_at = heappop(waiting)
        tries[attempt > 1].append(now)
        if attempt == 1:
            share.first(now)
        last = first_at + BUDGETS[priority].within_ms
        at = retry_at(priority, attempt, first_at=first_at, now=now, jitter=1.0, valid_until=FAR)
        share_at = None if at is None else share.reserve(now, last, urgent=priority == "P0")
        if at is not None and share_at is not None:
            heappush(waiting, (max(at, share_at), attempt + 1, first_at))
    return tries


@pytest.mark.parametrize("per_s", [1, 7, 100])
def test_where_everything_fails_two_messages_make_one_retry_and_not_four(per_s: int) -> None:
    first, again = storm(600, per_s, "P1", RetryShare(1_000.0))
    assert len(first) == 600 * per_s
    for number, at in enumerate(again, 1):
        assert number <= SHARE * bisect_right(first, at) + FEW + FEW_PER_S * at / 1_000
    assert len(again) >= SHARE * len(first) - 2, "and what is allowed is used"


def test_few_messages_have_all_their_tries_and_so_has_p0() -> None:
    assert len(storm(10, 1, "P1", RetryShare(1_000.0))[1]) == 2 * 10
    assert len(storm(60, 50, "P0", RetryShare(1_000.0))[1]) == 3 * 60 * 50


def test_what_was_earned_and_not_used_for_30_s_is_void() -> None:
    share = RetryShare(1_000.0)
    for _ in range(200):
        share.first(1_000)
    assert [share.reserve(30_999, 30_999) for _ in range(111)] == [30_999] * 110 + [None]
    for _ in range(200):
        share.first(40_000)
    assert [share.reserve(70_000, 70_000) for _ in range(11)] == [70_000] * 10 + [None]
