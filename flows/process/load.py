"""A station tells how loaded it is: once a second its score is worked out, and each change of level goes to `control`.

In a thread of its own, so that a flow that is stuck is told of too. A station that sends also tells which channels are
away. While there is something to tell it is repeated, for whoever reads it forgets a place that falls silent
(`connectors/load.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Self

import structlog

from connectors.load import REPEATED_EVERY, load_record
from connectors.log.backlog import Backlog
from connectors.log.interface import Log
from connectors.metrics import LOAD_LEVEL, LOAD_SCORE
from flows.config.settings import Settings
from flows.process.cluster import cluster_place
from flows.process.open import clock_ms
from flows.process.place import keep_until_end
from operators.load import LoadLevel, load_score, next_level
from state.model.errors import LogError
from state.model.load import P1_WAITS, P2_WAITS, LoadReport

_EVERY = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)
_REPEATED_MS = REPEATED_EVERY // _MILLISECOND
_STARTS_FOR = timedelta(seconds=30)
"""After its start a station loads what it holds, ten million users in 10 to 30 s, while what came before it waits."""
_CATCHING_UP_MS = 500
"""A lag that shrank by so much since the last look, a second ago, goes away by itself."""
_AWAY_STAYS_MS = 5_000
"""What is said of channels holds for so long at least: each change is a record in every partition of `work`."""
_P0_SHARE = 10
"""P0 may lag by this part of what the others may."""
_logger = structlog.get_logger(__name__)


class LoadReporter:
    """Looks at one station's backlog; `look` is for one thread."""

    def __init__(
        self,
        log: Log,
        place: str,
        backlog: Backlog,
        *,
        allowed_ms: int,
        highest: int = P1_WAITS,
        starts_for: timedelta = timedelta(),
        away: Callable[[int], tuple[str, ...]] = lambda _now: (),
        clock: Callable[[], int] = clock_ms,
    ) -> None:
        """`allowed_ms`: the lag that makes a score of 1; `highest`: the level that is told at most; `starts_for`: so
        long after the first look no level is told; `away`: what cannot be sent at a time. The log stays the caller's
        to close.
        """
        self._log, self._place, self._backlog = log, place, backlog
        self._allowed_ms, self._highest, self._clock = allowed_ms, highest, clock
        self._starting_looks = starts_for // _EVERY
        self._at, self._lag_ms, self._away = LoadLevel(), 0, away
        self._reported, self._reported_ms, self._away_ms = LoadReport(place, 0, 0.0), 0, -_AWAY_STAYS_MS

    def start(self) -> Self:
        """Look from now on, until the process ends."""
        threading.Thread(target=self._run, name="load-reporter", daemon=True).start()
        return self

    def look(self) -> None:
        """Work the score out, and append the level if it changed or is to be repeated.

        :raises LogError: it could not be appended. The level is as before, and the next look tries again: while the
            log is away everything waits, which is no load.
        """
        now, lag_before = self._clock(), self._lag_ms
        lags = self._backlog.lags_ms(now)
        self._lag_ms = max(lags, default=0)
        score = load_score(lags, self._allowed_ms, self._backlog.full())
        shrinks = lag_before - self._lag_ms >= _CATCHING_UP_MS
        highest = 0 if self._starting_looks else self._highest
        self._starting_looks = max(0, self._starting_looks - 1)
        at = next_level(self._at, score, now, highest=highest, catching_up=shrinks)
        LOAD_SCORE.labels(self._place).set(score)
        away = self._away(now)
        if 0 <= now - self._away_ms < _AWAY_STAYS_MS:
            away = self._reported.away
        self._report(LoadReport(self._place, at.level, score, away), now)
        self._at = at
        LOAD_LEVEL.labels(self._place).set(at.level)

    def _report(self, report: LoadReport, now: int) -> None:
        before = self._reported
        same = (report.level, report.away) == (before.level, before.away)
        nothing = not (report.level or report.away)
        if same and (nothing or now - self._reported_ms < _REPEATED_MS):
            return
        self._log.append([load_record(report)])
        if report.level != before.level:
            _logger.warning("load_level", place=self._place, now=report.level, before=before.level, score=report.score)
        if report.away != before.away:
            self._away_ms = now
            _logger.warning("channels_away", place=self._place, now=report.away, before=before.away)
        self._reported, self._reported_ms = report, now

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(_EVERY.total_seconds()):
            try:
                self.look()
            except LogError as error:
                _logger.warning("load_not_reported", place=self._place, error=type(error).__name__)


def report_load(
    settings: Settings,
    flow: str,
    log: Log,
    *,
    lanes: int | None = None,
    away: Callable[[int], tuple[str, ...]] = lambda _now: (),
) -> Backlog:
    """What the flow's sources are to tell; it is looked at for the life of the process, unless that is switched off.

    A station that sends names its `lanes`: only the first so many partition numbers count, since those behind them are
    P2's, which may wait; and P2 is all that has to give way for it (`operators/load.py`). It also says what is `away`.
    """
    backlog = Backlog(lanes)
    allowed_ms = settings.limits.lag_max // _MILLISECOND // (_P0_SHARE if flow == "transactional" else 1)
    if allowed_ms > 0:
        place = f"{flow}/{cluster_place().process}"
        highest = P1_WAITS if lanes is None else P2_WAITS
        reporter = LoadReporter(
            log, place, backlog, allowed_ms=allowed_ms, highest=highest, starts_for=_STARTS_FOR, away=away
        )
        keep_until_end(reporter.start())
    return backlog
