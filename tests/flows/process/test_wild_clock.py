"""A machine whose clock is years ahead starts nothing, and says why."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.places import ROOT

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord
from connectors.log.topics import topic_specs
from flows.process.wild_clock import refuse_wild_clock
from state.model.errors import WildClockError

DAY_MS = 86_400_000
NOW = time.time_ns() // 1_000_000
YEAR = timedelta(days=366)


def rested(directory: Path, days: int) -> EmbeddedLog:
    """A log whose newest decision is so old."""
    log = EmbeddedLog(directory, clock=lambda: NOW - days * DAY_MS)
    log.ensure_topics(topic_specs(4, timedelta(days=7)))
    log.append([NewRecord("work", 1, b"", b'{"k":"tick","stamp":%d}' % (NOW - days * DAY_MS), ())])
    return log


@pytest.mark.parametrize(("days", "refused"), [(365, False), (367, True)])
def test_a_clock_is_too_far_ahead_by_the_newest_decision(tmp_path: Path, days: int, *, refused: bool) -> None:
    log = rested(tmp_path, days)
    if refused:
        with pytest.raises(WildClockError, match=r"log\.rest_max"):
            refuse_wild_clock(log, NOW, YEAR)
    refuse_wild_clock(log, NOW, timedelta(days=800) if refused else YEAR)
    log.close()


def test_a_log_that_does_not_tell_stops_nobody(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path, clock=lambda: NOW)
    refuse_wild_clock(log, NOW, YEAR)
    log.ensure_topics(topic_specs(4, timedelta(days=7)))
    refuse_wild_clock(log, NOW, YEAR)
    log.close()


@pytest.mark.parametrize("what", [["-m", "flows.cli", "up", "--json"], ["-m", "flows.gateway", "p0"]])
def test_the_system_and_a_gateway_do_not_start(tmp_path: Path, what: list[str]) -> None:
    rested(tmp_path, 1000).close()
    environment = os.environ | {"CARILLON_DATA_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, *what], env=environment, cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert b"set the clock right" in ended.stdout + ended.stderr
