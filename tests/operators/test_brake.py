"""How many verdicts of a provider are believed: pure."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from operators.brake import Brake, BrakeConfig

MINUTE = 60_000
HOUR = 60 * MINUTE
START = 29_000_000 * MINUTE


def believed(brake: Brake, times: int, now: int) -> int:
    return sum(brake.judge(now).believed for _ in range(times))


def test_a_provider_that_calls_everything_gone_retires_the_first_fifty_in_an_hour() -> None:
    brake = Brake(BrakeConfig())
    assert believed(brake, 10_000, START) == 50
    assert believed(brake, 10_000, START + HOUR) == 0, "what was withheld counts on"
    assert believed(brake, 10_000, START + 2 * HOUR + MINUTE) == 50


def test_ordinary_decay_is_believed_however_much_it_is() -> None:
    brake = Brake(BrakeConfig())
    for now in range(START, START + 10 * MINUTE, MINUTE):
        for _ in range(950):
            brake.taken(now)
        assert believed(brake, 50, now) == 50


def test_a_change_in_mid_hour_is_noticed_at_a_tenth_of_the_answers() -> None:
    brake = Brake(BrakeConfig())
    for _ in range(900):
        brake.taken(START)
    assert believed(brake, 5_000, START + MINUTE) == 100  # of 1 000 answers


def test_good_answers_of_more_than_an_hour_ago_vouch_for_nothing() -> None:
    brake = Brake(BrakeConfig(always=0))
    for _ in range(900):
        brake.taken(START)
    assert not brake.judge(START + 61 * MINUTE).believed


def test_a_share_of_one_believes_everything_and_none_of_nothing_nothing() -> None:
    assert believed(Brake(BrakeConfig(always=0, share=1)), 1_000, START) == 1_000
    assert believed(Brake(BrakeConfig(always=0, share=0)), 1_000, START) == 0


def test_it_tells_the_hour_it_judged_by() -> None:
    brake = Brake(BrakeConfig(always=0))
    brake.taken(START)
    assert brake.judge(START) == (False, 1, 2)


@given(
    st.lists(st.tuples(st.integers(0, 40 * MINUTE), st.booleans()), max_size=120),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
@example([(0, False)] * 8, 5, 0.1)
def test_no_hour_holds_more_believed_verdicts_than_the_bounds(
    steps: list[tuple[int, bool]], always: int, share: float
) -> None:
    """Against a count over everything: of whole minutes, this one and the sixty before it."""
    brake, now, answers = Brake(BrakeConfig(always=always, share=share)), START, list[tuple[int, bool]]()
    for later, taken in steps:
        now += later
        answers.append((now // MINUTE, taken))
        window = [taken for minute, taken in answers if minute >= now // MINUTE - 60]
        if taken:
            brake.taken(now)
            continue
        verdicts = window.count(False)
        expected = verdicts <= always or verdicts <= share * len(window)
        assert brake.judge(now) == (expected, verdicts, len(window))


def test_a_clock_that_goes_back_forgets_and_believes_nothing_more() -> None:
    brake = Brake(BrakeConfig(always=1))
    assert brake.judge(START).believed
    assert not brake.judge(START - 5 * HOUR).believed
