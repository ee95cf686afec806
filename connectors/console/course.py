"""How the last hour went: latency of each class and load, a point every ten seconds, kept in this process alone.

A gateway that starts begins with nothing. The figures are those that other processes write to their files.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import NamedTuple

import structlog

from connectors.console.figures import (
    DECIDED_SECONDS,
    LOAD_SCORE,
    P0_SECONDS,
    Samples,
    percentile_s,
    samples_of,
    summed,
)
from connectors.metric_files import written_lines

EVERY = timedelta(seconds=10)
KEPT = timedelta(hours=1)
_LASTS_S = {"P0": 5.0, "P1": 300.0, "P2": 300.0}
"""By class, where the last range of its metric ends."""
_SCALES_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends of the drawing."""
_WIDTH, _HEIGHT = 600, 100
_logger = structlog.get_logger(__name__)


class Percentiles(NamedTuple):
    """Of one class."""

    p50_s: float
    """Infinite: above the last range of the metric."""
    p99_s: float


class CoursePoint(NamedTuple):
    """What was so in the time before."""

    at_ms: int
    latency: Mapping[str, Percentiles]
    """By class; without one of which nothing came."""
    load: float | None
    """The highest score of a station; None: there was none."""


class DrawnLatency(NamedTuple):
    """Paths of SVG, 600 by 100, of one class."""

    name: str
    p50: str
    p99: str
    top_s: float
    """What the height is in seconds."""
    worst_s: float | None
    """The highest 99th percentile; None: there was nothing of this class."""


class DrawnCourse(NamedTuple):
    """The pictures of an hour."""

    minutes: int
    """How far back they begin: an hour, or less while the process is young."""
    latency: Mapping[str, DrawnLatency]
    """By class."""
    load: str
    """A path, 600 by 100."""
    highest: float | None
    """The highest load score."""


@dataclass(slots=True)
class Course:
    """Gathers points; for one thread at a time but for `drawn`, which any may ask."""

    directory: Path
    """Where other processes write their metrics."""
    clock: Callable[[], int]
    """Milliseconds since 1970."""
    _points: deque[CoursePoint] = field(default_factory=lambda: deque(maxlen=KEPT // EVERY))
    _before: Mapping[str, Mapping[float, float]] = field(default_factory=dict)

    async def run(self) -> None:
        """Take a point every ten seconds until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.take)
            except (OSError, ValueError) as error:  # no such directory yet, or a file of somebody else
                _logger.warning("course_not_taken", error=type(error).__name__)
            await asyncio.sleep(EVERY.total_seconds())

    def take(self) -> None:
        """Add a point.

        :raises OSError: a file cannot be read.
        :raises ValueError: a file is none of ours.
        """
        samples = samples_of(written_lines(self.directory, (P0_SECONDS, DECIDED_SECONDS, LOAD_SCORE)))
        before, self._before = self._before, _counts(samples)
        latency = {
            name: found
            for name, counts in self._before.items()
            if name in before and (found := _latency_since(before[name], counts)) is not None
        }
        load = max(summed(samples, LOAD_SCORE, ["place"]).values(), default=None)
        self._points.append(CoursePoint(self.clock(), latency, load))

    def drawn(self) -> DrawnCourse | None:
        """The last hour; None: there are not two points yet."""
        points, now_ms = list(self._points), self.clock()
        if len(points) < 2:
            return None
        minutes = min(60, max(5, -((points[0].at_ms - now_ms) // 60_000)))
        placed = [(1 - (now_ms - point.at_ms) / (minutes * 60_000)) for point in points]

        def path(values: Iterable[float | None], height: float) -> str:
            return _path(zip(placed, values, strict=True), height)

        def latency(name: str) -> DrawnLatency:
            found = [point.latency.get(name) for point in points]
            worst = max((each.p99_s for each in found if each is not None), default=None)
            last = _LASTS_S[name]
            top = last if worst is None else next((end for end in _SCALES_S if worst <= end <= last), last)
            halves, most = ([None if each is None else each[part] for each in found] for part in (0, 1))
            return DrawnLatency(name, path(halves, top), path(most, top), top, worst)

        return DrawnCourse(
            minutes, {name: latency(name) for name in _LASTS_S}, path((point.load for point in points), 1.0),
            max((point.load for point in points if point.load is not None), default=None),
        )  # fmt: skip


def _counts(samples: Samples) -> dict[str, dict[float, float]]:
    """By class, how many took up to each of these seconds."""
    found = {"P0": {float(end): count for (end,), count in summed(samples, P0_SECONDS, ["le"]).items()}}
    for (name, end), count in summed(samples, DECIDED_SECONDS, ["priority", "le"]).items():
        found.setdefault(name, {})[float(end)] = count
    return found


def _latency_since(before: Mapping[float, float], counts: Mapping[float, float]) -> Percentiles | None:
    """Of what came since; None where nothing did, or a process began again, so that its counts fell."""
    ends = sorted(counts)
    more = [counts[end] - before.get(end, 0.0) for end in ends]
    if not more or more[-1] <= 0 or min(more) < 0:
        return None
    found = [percentile_s(ends, more, share) for share in (0.5, 0.99)]
    return Percentiles(*(inf if each is None else each for each in found))


def _path(values: Iterable[tuple[float, float | None]], top: float) -> str:
    """A line of (share of the width, value): broken where there is no value; a value without neighbours is a dot."""
    drawn, broken = list[str](), True
    for share, value in values:
        if value is None or share < 0:
            broken = True
            continue
        x, y = _WIDTH * share, _HEIGHT * (1 - min(value, top) / top)
        drawn.append(f"M{x:.1f} {y:.1f}h1" if broken else f"L{x:.1f} {y:.1f}")
        broken = False
    return "".join(drawn)
