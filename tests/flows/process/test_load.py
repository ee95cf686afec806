"""A station tells its level once, repeats it while it is loaded, and tells when it is not."""

from pathlib import Path

import orjson
from helpers.flow_bench import Bench, Clock

from connectors.log.backlog import Backlog
from flows.process.load import LoadReporter
from operators.load import FALL_MS, RISE_MS


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
    backlog.tell(0, clock.now - 8_000)
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
