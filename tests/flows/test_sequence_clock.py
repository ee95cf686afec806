"""What sequence writes where the machine's clock was wrong, and is set right again."""

from helpers.flow_bench import START, Bench, Clock, calls
from helpers.logs import captured_logs

from connectors.metrics import DECISIONS_AHEAD_SECONDS
from flows.steps.sequence.clock import DecisionClock
from state.model.work import EventWork, TickWork, decode_work

MINUTE = 60_000
HOUR = 60 * MINUTE


def test_the_time_of_decisions_never_falls_nor_stands_still() -> None:
    machine = Clock()
    clock = DecisionClock(machine)
    machine.now += 2 * HOUR
    assert clock() == START + 2 * HOUR
    machine.now -= 2 * HOUR
    assert clock() == START + 2 * HOUR
    times = []
    for _ in range(5 * 60):
        machine.now += MINUTE
        times.append(clock() - START)
    assert times[59::60] == [2.5 * HOUR, 3 * HOUR, 3.5 * HOUR, 4 * HOUR, 5 * HOUR], "caught up after twice as long"
    assert DecisionClock(machine, machine.now + HOUR)() == machine.now + HOUR, "also over a restart"


def test_a_clock_that_is_behind_at_the_start_and_then_set_right_moves_no_time() -> None:
    """As of a machine without a battery: half the years would have been left as a lead."""
    machine = Clock()
    machine.now -= 50 * 365 * 24 * HOUR
    clock = DecisionClock(machine, START)
    assert clock() == START
    machine.now = START + HOUR
    assert clock() == START + HOUR


def test_a_lead_of_years_is_told_and_halves_no_time() -> None:
    machine = Clock()
    with captured_logs() as logs:
        clock = DecisionClock(machine, START + 700 * 24 * HOUR)
        for _ in range(60):
            machine.now += MINUTE
            clock()
    assert clock() - START == 700 * 24 * HOUR + HOUR
    assert DECISIONS_AHEAD_SECONDS._value.get() == 700 * 24 * 3_600
    assert [(each["event"], each["by_s"], each["stays"]) for each in logs] == [("decisions_ahead", 60_480_000, True)]
    DecisionClock(machine)
    assert DECISIONS_AHEAD_SECONDS._value.get() == 0


def test_events_keep_their_ttl_and_time_goes_on_when_a_clock_that_was_ahead_is_right_again(bench: Bench) -> None:
    """Both while it runs and when it starts: every like has an hour, and the clock was a day ahead."""
    day = 24 * HOUR
    bench.clock.now += day
    bench.append(bench.event("ahead", target="u1", object="o1"))

    def set_right(call: int) -> None:
        bench.clock.now += 500
        if call == 15:
            bench.clock.now -= day
            bench.append(bench.event("running", target="u1", object="o2"))

    bench.sequence(calls(30, set_right))
    bench.append(bench.event("started", target="u1", object="o3"))
    bench.sequence()
    works = [decode_work(record.value) for record in bench.read("work")]
    events = {work.event.event_id: work for work in works if isinstance(work, EventWork)}
    assert sorted(events) == ["ahead", "running", "started"]
    left = {name: work.event.in_time_until - work.stamp for name, work in events.items()}
    assert min(left.values()) > HOUR - 60_000, left
    came = {name: work.event.ingested_at for name, work in events.items()}
    assert max(came["running"], came["started"]) < came["ahead"] - 23 * HOUR, "a retraction after it is after it"
    ahead = {name: work.ahead for name, work in events.items()}
    assert ahead["ahead"] == 0
    assert min(ahead["running"], ahead["started"]) > day - 60_000, "decide is told"
    stamps = {work.stamp for work in works if isinstance(work, TickWork) and work.stamp > START + day + 15 * 500}
    assert len(stamps) > 5, "time stands still"
