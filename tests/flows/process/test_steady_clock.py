"""The clock of a process while somebody sets the machine's."""

from datetime import timedelta

import pytest
from helpers.waiting import wait_for
from structlog.testing import capture_logs

from connectors.metrics import CLOCK_SET_SECONDS
from flows.process.steady_clock import BELIEVED_AFTER, STEP_MS, TOLD_AFTER_MS, SteadyClock

BELIEVED_MS = int(BELIEVED_AFTER.total_seconds() * 1000)
START = 1_767_225_600_000
HOUR = 3_600_000
YEAR = 366 * 24 * HOUR


class Machine:
    """A clock that is set, and the time that passes."""

    def __init__(self, before: int = 0) -> None:
        self.set_by = self.passed = self.looks = 0
        self.clock = SteadyClock(lambda: START - before + self.passed + self.set_by, self._since)

    def _since(self) -> int:
        self.looks += 1
        return self.passed

    def until_looked_at(self) -> None:
        """By somebody else: one look may have begun before, the next is over when another begins."""
        looks = self.looks
        wait_for(lambda: self.looks >= looks + 3, every_s=0.01)

    def wait(self, ms: int) -> int:
        """The process's time after so long, by its own beginning; it looks ten times a second meanwhile."""
        for _ in range(ms // 100):
            self.passed += 100
            self.clock()
        return self.clock() - START - self.passed


@pytest.mark.parametrize("by", [HOUR, -HOUR, STEP_MS + 1, -STEP_MS - 1])
def test_a_step_is_told_at_once_and_believed_when_it_has_lasted(by: int) -> None:
    machine = Machine()
    machine.set_by = by
    with capture_logs() as logs:
        assert machine.wait(TOLD_AFTER_MS + 200) == 0
        assert [(entry["event"], entry["by_s"]) for entry in logs] == [("clock_set", round(by / 1000))]
        assert CLOCK_SET_SECONDS._value.get() == by / 1000
        assert machine.wait(BELIEVED_MS - TOLD_AFTER_MS - 400) == 0
        assert machine.wait(1_000) == by
    assert [entry["event"] for entry in logs] == ["clock_set", "clock_believed"]
    assert CLOCK_SET_SECONDS._value.get() == 0


@pytest.mark.parametrize("by", [YEAR + HOUR, -YEAR - HOUR])
def test_a_clock_that_is_set_by_more_than_a_year_is_never_believed(by: int) -> None:
    machine = Machine()
    machine.set_by = by
    with capture_logs() as logs:
        assert machine.wait(2 * BELIEVED_MS) == 0
        assert CLOCK_SET_SECONDS._value.get() == by / 1000
        machine.set_by = 0
        assert machine.wait(1_000) == 0
    assert [(entry["event"], entry.get("believed_in_s")) for entry in logs] == [
        ("clock_set", None), ("clock_set_back_again", None),
    ]  # fmt: skip


def test_a_clock_that_began_years_behind_is_set_right() -> None:
    machine = Machine(before=50 * YEAR)
    machine.set_by = 50 * YEAR
    assert machine.wait(BELIEVED_MS - 1_000) == -50 * YEAR
    assert machine.wait(2_000) == 0


def test_a_step_that_is_taken_back_has_moved_nothing() -> None:
    machine = Machine()
    with capture_logs() as logs:
        for by in (HOUR, 0, -HOUR, 0):
            machine.set_by = by
            assert machine.wait(BELIEVED_MS - 1_000) == 0
    assert [entry["event"] for entry in logs] == ["clock_set", "clock_set_back_again"] * 2


def test_small_steps_are_followed_and_an_interrupted_look_is_no_step() -> None:
    machine = Machine()
    with capture_logs() as logs:
        for _ in range(20):
            machine.set_by += 300
            assert machine.wait(1_000) == machine.set_by
        machine.set_by += HOUR  # the process was stopped between its two readings
        machine.clock()
        machine.set_by -= HOUR
        assert machine.wait(5_000) == machine.set_by
    assert not logs


def test_a_step_is_known_also_where_nobody_asks_for_the_time() -> None:
    machine = Machine()
    with capture_logs() as logs:
        machine.clock.keep_looking(timedelta(milliseconds=10))
        machine.set_by = HOUR
        for passed in (TOLD_AFTER_MS, 2 * TOLD_AFTER_MS, BELIEVED_MS + 2 * TOLD_AFTER_MS):
            machine.until_looked_at()
            machine.passed = passed
        machine.until_looked_at()
    assert [entry["event"] for entry in logs] == ["clock_set", "clock_believed"]
