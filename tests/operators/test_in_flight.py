"""A provider is kept busy, and no request waits there long for the others."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from operators.in_flight import InFlightBound


def settled(bound: InFlightBound, takes_ms: Callable[[int], float], answers: int = 20_000) -> list[int]:
    """The sizes that it had in the last tenth of the answers, where each takes so long with so many in flight."""
    sizes = []
    for number in range(answers):
        bound.answered(round(takes_ms(bound.size)), bound.size)
        if number >= answers * 9 // 10:
            sizes.append(bound.size)
    return sizes


def test_a_provider_that_is_only_far_away_gets_all_that_its_bound_allows() -> None:
    assert settled(InFlightBound(400), lambda _size: 60) == [400] * 2_000


def test_it_grows_to_the_bound_within_some_twenty_answers_of_each() -> None:
    assert settled(InFlightBound(400), lambda _size: 60, answers=2_500)[-1] == 400


@pytest.mark.parametrize(("per_s", "rest_ms"), [(3_000, 3), (1_000, 20), (500, 100), (20_000, 10)])
def test_a_busy_provider_is_kept_busy_and_answers_soon(per_s: int, rest_ms: int) -> None:
    sizes = settled(InFlightBound(400), lambda size: max(rest_ms, size * 1_000 / per_s))
    keeps_busy = min(400, per_s * rest_ms / 1_000)
    assert min(sizes) >= min(16, keeps_busy)
    assert sum(sizes) / len(sizes) >= keeps_busy, "it does not stand idle"
    assert max(sizes) <= max(16, 3.75 * keeps_busy + 1.25 * per_s * 5 / 1_000 + 16)


def test_a_provider_that_has_become_slow_gets_as_much_as_before_once_it_is_known() -> None:
    bound = InFlightBound(400)
    settled(bound, lambda _size: 60)
    sizes = settled(bound, lambda _size: 600)
    assert sizes == [400] * 2_000


def test_one_slow_answer_among_many_changes_nothing() -> None:
    bound = InFlightBound(400)
    settled(bound, lambda _size: 60)
    bound.answered(5_000, 400)
    assert set(settled(bound, lambda _size: 60, answers=400)) == {400}


def test_a_provider_of_which_a_few_answers_hang_gets_as_much_as_others() -> None:
    numbers = count()
    sizes = settled(InFlightBound(400), lambda _size: 10_000 if next(numbers) % 37 == 0 else 20)
    assert sizes == [400] * 2_000


def test_what_is_not_used_does_not_grow() -> None:
    bound = InFlightBound(400)
    for _ in range(10_000):
        bound.answered(5, 3)
    assert bound.size == 16


@pytest.mark.parametrize("most", [1, 10])
def test_a_bound_that_is_small_holds(most: int) -> None:
    assert set(settled(InFlightBound(most), lambda size: size * 50)) == {most}


def test_it_changes_once_in_as_many_answers_as_it_allows_requests() -> None:
    bound, sizes = InFlightBound(400), list[int]()
    for took_ms in [10] * 36 + [25] * 25 + [26] * 32 + [10] * 24:
        sizes.append(bound.size)
        bound.answered(took_ms, bound.size)
    assert sizes == [16] * 16 + [20] * 20 + [25] * 25 + [32] * 32 + [24] * 24, "25 ms are not more than 2 * 10 + 5"
    assert bound.size == 30
