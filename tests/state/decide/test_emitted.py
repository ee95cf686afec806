"""Counted emissions against the plainest model there is: a list of (time, row), counted anew at every question."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.decide.codec import decode_emissions, encode_emissions
from state.decide.emitted import EmissionLog
from state.model.durations import DAY_MS, HOUR_MS

ROWS = 5
STEPS = st.one_of(
    st.tuples(st.just("one"), st.integers(0, ROWS - 1)),
    st.tuples(st.just("many"), st.sets(st.integers(0, ROWS - 1))),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("flood"), st.integers(0, ROWS - 1)),
)
PASSING = st.one_of(
    st.sampled_from([0, 1, HOUR_MS - 1, HOUR_MS, HOUR_MS + 1, DAY_MS - 1, DAY_MS, DAY_MS + 1, 12 * HOUR_MS]),
    st.integers(0, 3 * HOUR_MS),
)


class Naive:
    """Every counted emission for ever."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int]] = []

    def count(self, row: int, now: int, window_ms: int) -> int:
        return sum(row == owner and now - window_ms < time <= now for time, owner in self.entries)

    def times(self, row: int) -> list[int]:
        return [time for time, owner in self.entries if owner == row]


def _check(log: EmissionLog, naive: Naive, now: int) -> None:
    log.advance(now)
    for row in range(ROWS):
        assert int(log.hour[row]) == naive.count(row, now, HOUR_MS)
        day = naive.count(row, now, DAY_MS)
        assert int(log.day[row]) == day
        times = naive.times(row)
        for nth in {1, 2, day // 2, day - 1, day} & set(range(1, day + 1)):
            assert log.nth_latest(row, nth) == times[-nth]
    counted = np.flatnonzero(log.day[:ROWS]).astype(np.int32)
    for counts in (log.day[counted], np.ones(len(counted), np.int64)):
        expected = [naive.times(row)[-nth] for row, nth in zip(counted.tolist(), counts.tolist(), strict=True)]
        assert log.nth_latest_of(counted, counts.astype(np.int64)).tolist() == expected


def _restarted(log: EmissionLog) -> EmissionLog:
    again = EmissionLog()
    again.restore(*decode_emissions(encode_emissions(log.first_entry, *log.since(log.first_entry))))
    again.reserve_rows(ROWS)
    assert again.next_entry == log.next_entry
    return again


@given(st.lists(st.tuples(STEPS, PASSING), max_size=40))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_counts_are_those_of_a_list(script: list[tuple[tuple[str, object], int]]) -> None:
    log, naive, now = EmissionLog(), Naive(), 10 * DAY_MS
    for (step, value), passing in script:
        now += passing
        _check(log, naive, now)
        if step == "restart":
            log = _restarted(log)
        elif step == "many":
            rows = np.array(sorted(value), np.int32)  # type: ignore[call-overload]  # a set of rows
            log.add_rows(rows, now)
            naive.entries += [(now, row) for row in rows.tolist()]
        else:
            for _ in range(1 if step == "one" else 60):
                log.add(int(value), now)  # type: ignore[call-overload]  # a row
                naive.entries.append((now, int(value)))  # type: ignore[call-overload]  # a row
        _check(log, naive, now)


def test_numbers_of_entries_stay_when_old_ones_go() -> None:
    """The checkpoint names entries by number, so dropping a day must not renumber the rest."""
    log = EmissionLog()
    for hour in range(24 * 40):
        now = hour * HOUR_MS
        log.advance(now)
        for row in range(3):
            log.add(row, now)
    assert log.next_entry == 24 * 40 * 3
    assert log.first_entry >= log.next_entry - 25 * 3
    times, rows = log.since(log.next_entry - 4)
    last = (24 * 40 - 1) * HOUR_MS
    assert (times.tolist(), rows.tolist()) == ([last - HOUR_MS, last, last, last], [2, 0, 1, 2])
    assert [len(found) for found in log.since(log.next_entry)] == [0, 0]
    assert [len(found) for found in EmissionLog().since(0)] == [0, 0]


def test_memory_is_that_of_a_day() -> None:
    log = EmissionLog()
    log.reserve_rows(1000)
    for day in range(60):
        log.advance(day * DAY_MS)
        log.add_rows(np.arange(1000, dtype=np.int32), day * DAY_MS)
    assert len(log._rows) <= 4096
    assert len(log._run_times) == 64


@pytest.mark.parametrize("then", [0, 10])
def test_what_a_campaign_took_is_given_back_a_day_later(then: int) -> None:
    log = EmissionLog()
    log.reserve_rows(100_000)
    log.add_rows(np.arange(100_000, dtype=np.int32), 0)
    for number in range(10_000):
        log.add(number, number)
    log.add_rows(np.arange(then, dtype=np.int32), DAY_MS)
    log.advance(DAY_MS + 10_000)
    assert (log.next_entry - log.first_entry, int(log.day.sum())) == (then, then)
    assert len(log._rows) + len(log._run_times) <= 1_024
    log.add(5, DAY_MS + 20_000)
    assert (int(log.day[5]), log.nth_latest(5, 1)) == (1 + (then > 5), DAY_MS + 20_000)


def test_what_most_of_a_campaign_took_is_given_back_twice() -> None:
    log = EmissionLog()
    log.reserve_rows(100_000)
    for size, now in ((100_000, 0), (10_000, HOUR_MS)):
        log.add_rows(np.arange(size, dtype=np.int32), now)
    log.advance(DAY_MS)
    assert (len(log._rows), int(log.day.sum())) == (15_000, 10_000)
    log.advance(DAY_MS + HOUR_MS)
    assert (len(log._rows), int(log.day.sum())) == (256, 0)


def test_an_hour_after_the_columns_were_filled_to_the_brim() -> None:
    log = EmissionLog()
    size = len(log._rows)
    for number in range(size):
        log.add(number % 3, number)
    assert len(log._rows) == size
    log.advance(HOUR_MS + size)
    assert (int(log.hour[0]), int(log.day[0])) == (0, -(-size // 3))
    log.advance(DAY_MS + size)
    assert int(log.day[0]) == 0


def test_more_rows_than_reserved_at_first() -> None:
    log = EmissionLog()
    log.reserve_rows(64)
    assert len(log.hour) == 64
    log.reserve_rows(65)
    assert len(log.hour) == len(log.day) == 128
    log.add(127, 5)
    log.advance(5)
    assert (int(log.hour[127]), int(log.hour[126]), log.nth_latest(127, 1)) == (1, 0, 5)


def test_the_latest_of_one_who_had_none_for_long() -> None:
    """Behind more entries than are searched at first."""
    log = EmissionLog()
    log.reserve_rows(50_000)
    log.add(49_999, 1)
    log.add(49_999, 2)
    for now in (3, 4):
        log.add_rows(np.arange(45_000, dtype=np.int32), now)
    assert (log.nth_latest(44_999, 1), log.nth_latest(44_999, 2), log.nth_latest(49_999, 2)) == (4, 3, 1)
    assert log.nth_latest_of(np.array([7, 49_999], np.int32), np.array([2, 1])).tolist() == [3, 2]


def test_a_slice_is_stored_with_its_time_once() -> None:
    rows = np.arange(1_000, dtype=np.int32)
    assert len(encode_emissions(7, np.full(1_000, 5), rows)) < 4_100
    first, times, again = decode_emissions(encode_emissions(7, np.repeat([5, 6], 500), rows))
    assert (first, times.tolist(), again.tolist()) == (7, [5] * 500 + [6] * 500, rows.tolist())
