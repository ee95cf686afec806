"""The breaker of a provider: the examples of RULES 4, and random streams against a second, plain implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.breaker import Breaker, BreakerState, Pace

START = 29_000_000_000
SECOND = 1_000


def answer(breaker: Breaker, now: int, *, taken: int = 0, failed: int = 0) -> BreakerState:
    for each in [False] * taken + [True] * failed:
        breaker.answered(now, failed=each)
    return breaker.look(now)


def opened(now: int = START) -> Breaker:
    breaker = Breaker()
    assert answer(breaker, now, failed=20) == "open"
    return breaker


def half_open(now: int = START) -> Breaker:
    breaker = opened(now - 30 * SECOND)
    assert breaker.look(now) == "open"
    breaker.probe()
    breaker.answered(now, failed=False, probe=True)
    assert breaker.look(now) == "half_open"
    return breaker


def test_two_failures_of_forty_leave_a_fifth_and_twelve_open_it() -> None:
    breaker = Breaker()
    assert answer(breaker, START, taken=39) == "closed"
    assert answer(breaker, START, failed=1) == "closed"
    assert answer(breaker, START, failed=1) == "closed", "two of 41"
    assert answer(breaker, START, failed=1) == "reduced"
    breaker = Breaker()
    assert answer(breaker, START, taken=28, failed=11) == "reduced"
    assert answer(breaker, START, failed=1) == "open"


@pytest.mark.parametrize(
    ("taken", "failed", "state"),
    [(19, 0, "closed"), (13, 6, "closed"), (14, 6, "open"), (19, 1, "reduced"), (38, 2, "reduced"), (39, 2, "closed")],
)
def test_the_shares_count_from_twenty_calls(taken: int, failed: int, state: BreakerState) -> None:
    assert answer(Breaker(), START, taken=taken, failed=failed) == state


def test_what_is_older_than_thirty_seconds_does_not_count() -> None:
    breaker = Breaker()
    assert answer(breaker, START, taken=18, failed=2) == "reduced"
    assert breaker.look(START + 29_999) == "reduced"
    assert breaker.look(START + 30_000) == "closed"
    assert answer(breaker, START + 30_000, failed=19) == "closed"
    breaker = Breaker()
    assert answer(breaker, START, taken=18, failed=2) == "reduced"
    assert answer(breaker, START + 1_000, taken=19) == "reduced"
    assert breaker.look(START + 30_000) == "closed", "each second is forgotten by itself"


def test_a_share_about_the_bound_does_not_change_the_rate_at_each_answer() -> None:
    breaker = Breaker()
    assert answer(breaker, START, taken=19, failed=1) == "reduced"
    assert answer(breaker, START + 9_999, taken=1) == "reduced"
    assert breaker.look(START + 10_000) == "closed"
    assert answer(breaker, START + 10_000, failed=1) == "reduced"


def test_an_open_one_lets_a_probe_through_every_thirty_seconds() -> None:
    breaker = opened()
    assert breaker.probe_in_ms() == 30_000
    breaker.look(START + 29_999)
    assert breaker.probe_in_ms() == 1
    breaker.look(START + 30_000)
    assert breaker.probe_in_ms() == 0
    breaker.probe()
    assert breaker.probe_in_ms() == 30_000
    breaker.answered(START + 31_000, failed=True, probe=True)
    breaker.answered(START + 31_000, failed=False)
    assert (breaker.look(START + 31_000), breaker.probe_in_ms()) == ("open", 29_000), "old calls' answers say nothing"
    breaker.probe_lost()
    assert breaker.probe_in_ms() == 0


def test_half_open_lasts_ten_seconds() -> None:
    breaker = half_open()
    assert answer(breaker, START + 9_999, taken=19) == "half_open"
    assert breaker.look(START + 10_000) == "closed"


def test_half_open_opens_again_after_twenty_calls_or_at_its_end() -> None:
    breaker = half_open()
    assert answer(breaker, START + 1, taken=13, failed=6) == "half_open"
    assert answer(breaker, START + 1, taken=1) == "open"
    breaker = half_open()
    assert answer(breaker, START + 1, taken=6, failed=3) == "half_open"
    assert breaker.look(START + 10_000) == "open"
    assert breaker.probe_in_ms() == 30_000
    breaker = half_open()
    assert answer(breaker, START + 1, taken=7, failed=2) == "half_open"
    assert breaker.look(START + 10_000) == "closed"


def test_how_long_it_has_been_open_counts_from_the_last_time_it_was_closed() -> None:
    breaker = opened()
    assert (breaker.look(START + 60_000), breaker.open_ms()) == ("open", 60_000)
    breaker.probe()
    breaker.answered(START + 60_000, failed=False, probe=True)
    assert breaker.open_ms() == 0, "it lets something through"
    assert answer(breaker, START + 61_000, failed=20) == "open"
    assert breaker.open_ms() == 61_000
    breaker.look(START + 95_000)
    breaker.answered(START + 95_000, failed=False, probe=True)
    assert breaker.look(START + 105_000) == "closed"
    assert answer(breaker, START + 106_000, failed=20) == "open"
    assert breaker.open_ms() == 0


def test_a_clock_that_steps_back_by_an_hour_holds_no_probe_up() -> None:
    breaker = opened()
    assert breaker.look(START - 3_600_000) == "open"
    assert breaker.probe_in_ms() == 30_000
    breaker.look(START - 3_600_000 + 30_000)
    assert (breaker.probe_in_ms(), breaker.open_ms()) == (0, 30_000)


class PlainBreaker:
    """Every answer is kept, and every look counts them all."""

    def __init__(self) -> None:
        self.state, self.clock, self.since, self.first_opened, self.next_probe = "closed", 0, 0, -1, 0
        self.last, self.all = 0, list[tuple[int, bool]]()

    def share(self) -> tuple[int, float]:
        counted = [bad for at, bad in self.all if at // 1000 + 30 > self.clock // 1000]
        return len(counted), (100 * sum(counted) / len(counted) if counted else 0.0)

    def open(self) -> None:
        self.state, self.since, self.all, self.next_probe = "open", self.clock, [], self.clock + 30_000
        if self.first_opened < 0:
            self.first_opened = self.clock

    def look(self, now: int) -> str:
        self.clock += max(0, now - self.last)
        self.last = now
        count, percent = self.share()
        ending = self.state == "half_open" and self.clock >= self.since + 10_000
        if self.state != "open" and percent >= 30 and (count >= 20 or ending):
            self.open()
        elif ending:
            self.state, self.first_opened = "closed", -1
        elif self.state == "closed" and percent >= 5 and count >= 20:
            self.state, self.since = "reduced", self.clock
        elif self.state == "reduced" and self.clock >= self.since + 10_000 and not (percent >= 5 and count >= 20):
            self.state = "closed"
        return self.state

    def answered(self, now: int, bad: bool, probe: bool) -> None:
        if self.look(now) != "open":
            self.all.append((self.clock, bad))
            self.look(now)
        elif probe and not bad:
            self.state, self.since, self.all = "half_open", self.clock, []

    def seen(self) -> tuple[str, int, int]:
        is_open = self.state == "open"
        return (
            self.state,
            max(0, self.next_probe - self.clock) if is_open else 0,
            self.clock - self.first_opened if is_open else 0,
        )


STEPS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 3_000), st.sampled_from([-5_000, 9_999, 10_000, 29_000, 30_000, 60_000])),
        st.sampled_from(["calls", "probe", "lost", "look"]),
        st.integers(0, 25),
        st.integers(0, 8),
    ),
    max_size=60,
)


@given(STEPS)
def test_random_streams_agree_with_the_plain_one(steps: list[tuple[int, str, int, int]]) -> None:
    breaker, plain, now = Breaker(), PlainBreaker(), START
    for wait, kind, taken, failed in steps:
        now += wait
        breaker.look(now)
        plain.look(now)
        if kind == "probe" and plain.state == "open" and not breaker.probe_in_ms():
            breaker.probe()
            plain.next_probe = plain.clock + 30_000
            breaker.answered(now, failed=failed > taken, probe=True)
            plain.answered(now, failed > taken, probe=True)
        elif kind == "lost" and plain.state == "open":
            breaker.probe_lost()
            plain.next_probe = plain.clock
        elif kind == "calls":
            for bad in [False] * taken + [True] * failed:
                breaker.answered(now, failed=bad)
                plain.answered(now, bad, probe=False)
        plain.look(now)
        state = breaker.look(now)
        probe_in = breaker.probe_in_ms() if state == "open" else 0
        assert (state, probe_in, breaker.open_ms()) == plain.seen()


@given(st.sampled_from([0.5, 3.0, 100.0, 4_000.0]), st.lists(st.integers(0, 700), min_size=1, max_size=80))
def test_a_pace_is_never_exceeded_and_never_stands_still(rate: float, waits: list[int]) -> None:
    pace, now, times = Pace(rate), START, list[int]()
    for wait in waits:
        now += wait
        count = pace.room(now)
        pace.take(count)
        times += [now] * count
    burst = max(1.0, rate / 10)
    for position, start in enumerate(times):
        inside = len(times) - position
        assert inside <= burst + rate * (now - start) / 1000 + 1e-6
    assert pace.room(now + int(1_000 / rate) + 1) >= 1


def test_a_clock_that_steps_back_costs_the_pace_nothing() -> None:
    pace = Pace(10.0)
    pace.take(pace.room(START))
    assert pace.room(START - 3_600_000) == 0
    assert pace.room(START - 3_600_000 + 100) == 1
