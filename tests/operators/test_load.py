"""The score of a station, and how slowly its level follows."""

import pytest

from operators.load import FALL_MS, RISE_MS, LoadLevel, load_score, next_level


@pytest.mark.parametrize(
    ("lags_ms", "full", "score"),
    [([], 0.0, 0.0), ([0, 15_000, 3_000], 0.2, 0.5), ([3_000], 0.9, 0.9), ([90_000], 0.0, 1.0), ([0], 1.5, 1.0)],
)
def test_the_score_is_that_of_the_worst_lane(lags_ms: list[int], full: float, score: float) -> None:
    assert load_score(lags_ms, 30_000, full) == score


def _levels(scores: list[float], every_ms: int = 1_000) -> list[int]:
    at, levels = LoadLevel(), []
    for number, score in enumerate(scores):
        at = next_level(at, score, number * every_ms)
        levels.append(at.level)
    return levels


def test_levels_are_reached_one_by_one_after_two_seconds_each() -> None:
    assert _levels([1.0] * 8) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert _levels([0.8] * 6) == [0, 0, 1, 1, 1, 1]
    assert _levels([0.7] * 6) == [0] * 6, "the threshold itself is still fine"


def test_a_backlog_that_is_gone_within_two_seconds_sheds_nothing() -> None:
    assert _levels([1.0, 1.0, 0.1, 1.0, 1.0, 0.1]) == [0] * 6
    at = next_level(next_level(LoadLevel(), 1.0, 0), 1.0, RISE_MS - 1)
    assert at.level == 0
    assert next_level(at, 1.0, RISE_MS).level == 1


def test_a_backlog_that_shrinks_fast_leads_to_no_higher_level_and_keeps_none() -> None:
    at = next_level(LoadLevel(), 1.0, 0)
    at = next_level(at, 1.0, RISE_MS, catching_up=True)
    assert at == LoadLevel(0, 0, RISE_MS), "it begins to count anew"
    falling = next_level(LoadLevel(1, 0, 0), 0.1, 0, catching_up=True)
    assert next_level(falling, 0.1, FALL_MS, catching_up=True).level == 0


def test_a_station_that_waits_for_providers_asks_for_the_first_level_at_most() -> None:
    at = LoadLevel()
    for now in range(0, 20_000, 1_000):
        at = next_level(at, 1.0, now, highest=1)
    assert at.level == 1
    assert next_level(LoadLevel(1, -1, 0), 0.1, FALL_MS, highest=1).level == 0


def test_levels_are_left_one_by_one_and_only_well_below_their_thresholds() -> None:
    three = LoadLevel(3, 0, 0)
    assert next_level(three, 0.86, FALL_MS * 2).heading == 0, "not clearly below"
    falling = next_level(three, 0.1, 0)
    assert next_level(falling, 0.1, FALL_MS - 1).level == 3
    for level, now in ((2, 1), (1, 2), (0, 3)):
        falling = next_level(falling, 0.1, now * FALL_MS)
        assert falling.level == level
    assert next_level(falling, 0.1, 9 * FALL_MS) == LoadLevel(0, 0, 9 * FALL_MS)
