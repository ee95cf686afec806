"""The retry budget: pure."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.retry import BUDGETS, DELAYS_MS, JITTER, RetryShare, expires_first, retry_at

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
    times = [share.reserve(1_000, FAR) or 0 for _ in range(500)]
    assert times[0] == 1_000
    for start in range(1_000, 9_000, 100):
        inside = sum(start <= at < start + 1_000 for at in times)
        assert inside <= (100 if start == 1_000 else 51), start
    assert times == sorted(times)


def test_the_share_fills_again_but_only_to_its_size() -> None:
    share = RetryShare(10.0)
    assert ([share.reserve(1, FAR) for _ in range(6)][-1] or 0) > 1
    assert share.reserve(100_000, FAR) == 100_000
    assert ([share.reserve(100_000, FAR) for _ in range(6)][-1] or 0) > 100_000


def test_a_retry_that_comes_too_late_takes_nothing_from_those_that_follow() -> None:
    """Half an hour in which a provider fails everything, at twice what its share of retries can serve."""
    share, within_ms = RetryShare(100.0), 60_000
    given = [at for now in range(0, 1_800_000, 10) if (at := share.reserve(now, now + within_ms)) is not None]
    assert 50 * 1_800 <= len(given) <= 50 * (1_800 + within_ms // 1_000 + 1)
    over = share.reserve(1_800_000 + 2 * within_ms, FAR)
    assert over == 1_800_000 + 2 * within_ms, "what was promised is kept, and nothing is owed beyond it"


def test_a_retry_may_be_made_at_the_very_end() -> None:
    share = RetryShare(2.0)
    assert share.reserve(1_000, 1_000) == 1_000
    assert [share.reserve(1_000, last) for last in (1_999, 2_000)] == [None, 2_000]


@pytest.mark.parametrize("back_ms", [1_000, 3_600_000])
def test_a_clock_that_steps_back_costs_no_retry(back_ms: int) -> None:
    share, now = RetryShare(20_000.0), 10_000_000
    share.reserve(now, FAR)
    assert [share.reserve(now - back_ms, FAR) for _ in range(100)] == [now - back_ms] * 100
    share = RetryShare(10.0)
    for _ in range(5):
        share.reserve(now, FAR)
    assert share.reserve(now - back_ms, now - back_ms) is None
    assert share.reserve(now - back_ms + 1_000, FAR) == now - back_ms + 1_000
