"""How the last hour went, from files of metrics as the flows write them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

from connectors.console.course import Course
from connectors.metrics import DECIDED_TO_PROVIDER_SECONDS, P0_ACCEPTED_TO_PROVIDER_SECONDS

EVERY_MS = 10_000
ENDS = P0_ACCEPTED_TO_PROVIDER_SECONDS._upper_bounds[:-1]
LATER_ENDS = DECIDED_TO_PROVIDER_SECONDS._kwargs["buckets"]


class Flow:
    """Processes that send, and write what they count."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "transactional.prom"
        self.begin()

    def begin(self) -> None:
        registry = self._registry = CollectorRegistry()
        name = "carillon_p0_accepted_to_provider_seconds"
        self.seconds = Histogram(name, "as the flow has it", buckets=ENDS, registry=registry)
        name = "carillon_decided_to_provider_seconds"
        later = Histogram(name, "as the flow has it", ["priority"], buckets=LATER_ENDS, registry=registry)
        self.later = {each: later.labels(each) for each in ("P1", "P2")}
        self.load = Gauge("carillon_load_score", "as the flow has it", ["place"], registry=registry)

    def write(self) -> None:
        self._file.write_bytes(generate_latest(self._registry))


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    return Flow(tmp_path)


class Watch:
    """A course, and the time that it is told."""

    def __init__(self, directory: Path) -> None:
        self.now_ms = 1_800_000_000_000
        self.course = Course(directory, lambda: self.now_ms)

    def take(self, flow: Flow, *seconds: float, load: float = 0.0) -> None:
        for each in seconds:
            flow.seconds.observe(each)
        flow.load.labels("deliver").set(load)
        flow.load.labels("decide").set(load / 2)
        flow.write()
        self.now_ms += EVERY_MS
        self.course.take()


def heights(path: str) -> list[float]:
    return [float(found) for found in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]


def test_each_point_is_of_what_came_since_the_one_before(tmp_path: Path, flow: Flow) -> None:
    watch = Watch(tmp_path)
    watch.take(flow, *[0.004] * 1000, load=0.5)
    assert watch.course.drawn() is None, "one point is no line"
    watch.take(flow, *[0.2] * 100, load=0.75)
    watch.take(flow, *[0.02] * 100, load=0.25)
    drawn = watch.course.drawn()
    assert drawn is not None
    p0 = drawn.latency["P0"]
    assert p0.top_s == 0.25
    assert p0.worst_s == pytest.approx(0.2485)
    assert heights(p0.p50) == pytest.approx([100 * (1 - 0.175 / 0.25), 100 * (1 - 0.02 / 0.25)], abs=0.1)
    assert heights(drawn.load) == [50.0, 25.0, 75.0]
    assert (drawn.highest, drawn.minutes) == (0.75, 5)
    assert drawn.load.endswith("L600.0 75.0"), "the newest is at the right end"


def test_a_line_is_broken_where_nothing_came_and_where_a_process_began_again(tmp_path: Path, flow: Flow) -> None:
    watch = Watch(tmp_path)
    watch.take(flow)
    watch.take(flow, 0.01)
    watch.take(flow)
    watch.take(flow, 0.01, 0.01, 0.01)
    flow.begin()
    watch.take(flow, 0.01)
    watch.take(flow, 0.01)
    drawn = watch.course.drawn()
    assert drawn is not None
    p99 = drawn.latency["P0"].p99
    assert (p99.count("M"), p99.count("L")) == (3, 0)


def test_each_class_has_its_own_scale(tmp_path: Path, flow: Flow) -> None:
    watch = Watch(tmp_path)
    watch.take(flow)
    flow.later["P1"].observe(0.3)
    watch.take(flow, 0.004)
    flow.later["P2"].observe(1000.0)
    watch.take(flow)
    drawn = watch.course.drawn()
    assert drawn is not None
    assert {name: each.top_s for name, each in drawn.latency.items()} == {"P0": 0.05, "P1": 0.5, "P2": 300.0}
    p1, p2 = drawn.latency["P1"], drawn.latency["P2"]
    assert p1.p99.startswith("M580.0 "), "it came in the second point of three"
    assert p2.p99 == "M600.0 0.0h1", "above the last range"


def test_what_is_above_the_last_range_is_at_the_top(tmp_path: Path, flow: Flow) -> None:
    watch = Watch(tmp_path)
    watch.take(flow)
    watch.take(flow, 30.0)
    drawn = watch.course.drawn()
    assert drawn is not None
    assert (drawn.latency["P0"].top_s, heights(drawn.latency["P0"].p99)) == (5.0, [0.0])


def test_it_keeps_an_hour_and_no_more(tmp_path: Path, flow: Flow) -> None:
    watch = Watch(tmp_path)
    for _ in range(400):
        watch.take(flow, load=0.5)
    drawn = watch.course.drawn()
    assert drawn is not None
    assert len(heights(drawn.load)) == 360
    assert drawn.minutes == 60
    assert drawn.load.startswith("M1.7 ")
    watch.now_ms += 30 * 60_000
    later = watch.course.drawn()
    assert later is not None
    assert len(heights(later.load)) == 181, "the others are further back than an hour"


def test_without_files_there_is_nothing(tmp_path: Path) -> None:
    course = Course(tmp_path / "nowhere", lambda: 0)
    course.take()
    course.take()
    drawn = course.drawn()
    assert drawn is not None
    assert {(each.p50, each.p99, each.worst_s) for each in drawn.latency.values()} == {("", "", None)}
    assert (drawn.load, drawn.highest) == ("", None)
