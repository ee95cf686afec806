"""A station tells its level once, repeats it while it is loaded, and tells when it is not."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import cast

import orjson
from helpers.flow_bench import Bench, Clock

from connectors.log.backlog import Backlog
from connectors.log.interface import Log, NewRecord
from flows.process.load import LoadReporter
from operators.load import FALL_MS, RISE_MS
from state.model.errors import LogUnavailableError


def _told(bench: Bench) -> list[int]:
    return [orjson.loads(record.value)["level"] for record in bench.read("control")]


def test_changes_are_told_once_and_a_level_is_repeated(tmp_path: Path) -> None:
    bench, clock, backlog = Bench(tmp_path), Clock(), Backlog(lanes=2)
    reporter = LoadReporter(bench.log, "decide/0", backlog, allowed_ms=10_000, clock=clock)

    def look_for(span_ms: int) -> None:
        for _ in range(span_ms // 1_000):
            reporter.look()
            clock.now += 1_000

    backlog.tell(0, None)
    backlog.tell(2, clock.now - 60_000)
    look_for(5_000)
    assert _told(bench) == [], "nothing waits in the lanes that count"
    backlog.tell(0, clock.now - 8_000)
    look_for(RISE_MS)
    assert _told(bench) == []
    look_for(1_000)
    assert _told(bench) == [1]
    backlog.tell(0, None)
    backlog.full = lambda: 0.65
    look_for(16_000)
    assert _told(bench) == [1, 1], "too full to be over, and repeated"
    backlog.full = lambda: 0.1
    look_for(FALL_MS + 2_000)
    assert _told(bench) == [1, 1, 0]
    look_for(40_000)
    assert _told(bench) == [1, 1, 0]
    bench.close()


def test_what_is_away_is_told_when_it_changes_and_repeated_until_it_is_back(tmp_path: Path) -> None:
    bench, clock, away = Bench(tmp_path), Clock(), list[str]()
    reporter = LoadReporter(
        bench.log, "deliver/0", Backlog(), allowed_ms=10_000, away=lambda _now: tuple(away), clock=clock
    )  # fmt: skip

    def look_for(span_ms: int) -> list[list[str]]:
        for _ in range(span_ms // 1_000):
            reporter.look()
            clock.now += 1_000
        return [orjson.loads(record.value)["away"] for record in bench.read("control")]

    assert look_for(20_000) == []
    away.append("push/ios")
    assert look_for(16_000) == [["push/ios"]] * 2
    away.clear()
    assert look_for(40_000) == [["push/ios"]] * 2 + [[]]
    for second in range(60):
        away[:] = ["push/ios"] * (second % 2)
        look_for(1_000)
    assert 2 < len(bench.read("control")) <= 3 + 60 // 5, "a change holds for five seconds"
    bench.close()


class AwayLog:
    """Takes nothing while it is away."""

    away = True

    def __init__(self) -> None:
        self.taken: list[int] = []

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        if self.away:
            raise LogUnavailableError("away")
        self.taken += [orjson.loads(record.value)["level"] for record in records]
        return [len(self.taken)]


def test_an_outage_leads_to_the_first_level_at_most_when_the_backlog_then_shrinks() -> None:
    log, clock, backlog = AwayLog(), Clock(), Backlog()
    reporter = LoadReporter(cast("Log", log), "decide/0", backlog, allowed_ms=30_000, clock=clock)
    backlog.tell(0, clock.now)
    for _ in range(60):
        with suppress(LogUnavailableError):
            reporter.look()
        clock.now += 1_000
    log.away = False
    reporter.look()
    assert log.taken == [1]
    for lag_s in range(54, 0, -6):
        clock.now += 1_000
        backlog.tell(0, clock.now - lag_s * 1_000)
        reporter.look()
    assert log.taken == [1]


def test_a_station_that_only_starts_asks_nobody_to_wait(tmp_path: Path) -> None:
    bench, clock, backlog = Bench(tmp_path), Clock(), Backlog()
    starts_for = timedelta(seconds=30)
    reporter = LoadReporter(bench.log, "decide/0", backlog, allowed_ms=10_000, starts_for=starts_for, clock=clock)
    backlog.tell(0, clock.now - 60_000)
    seconds = 0
    while not (told := _told(bench)):
        reporter.look()
        clock.now += 1_000
        seconds += 1
    assert told == [1]
    assert seconds == 30 + RISE_MS // 1_000 + 1, "then as ever"
    bench.close()
