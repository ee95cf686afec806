"""`carillon kill`: set or lift a switch, and say when each process obeys."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from connectors.control import Obeyed, kill_record, read_obeyed
from connectors.log.interface import Log
from state.model.settings import Kill

DEADLINE = timedelta(seconds=15)
"""How long the command waits for processes to obey."""
_LOOK = timedelta(milliseconds=20)


@dataclass(frozen=True, slots=True)
class ObeyedAfter:
    """One process and how long after the command it obeyed; None: not within the deadline."""

    process: str
    pid: int
    after: timedelta | None


def kill(log: Log, run_dir: Path, switch: Kill, *, deadline: timedelta) -> Iterator[ObeyedAfter]:
    """Write the switch durably, then wait for every process that follows `control`.

    A process that starts meanwhile reads the switch before it sends anything.
    """
    begun_ms = time.time_ns() // 1_000_000
    (offset,) = log.append([kill_record(switch)])
    waiting = {report.process: report for report in read_obeyed(run_dir)}
    end = time.monotonic() + deadline.total_seconds()
    while waiting and time.monotonic() < end:
        current = {report.process: report for report in read_obeyed(run_dir)}
        for name in list(waiting):
            report = current.get(name)
            if report is None or report.offset > offset:
                yield _answer(waiting.pop(name), report, begun_ms)
        if waiting:
            time.sleep(_LOOK.total_seconds())
    for report in waiting.values():
        yield ObeyedAfter(report.process, report.pid, None)


def _answer(known: Obeyed, report: Obeyed | None, begun_ms: int) -> ObeyedAfter:
    """A process that went away obeys too: it sends nothing."""
    if report is None:
        return ObeyedAfter(known.process, known.pid, timedelta())
    return ObeyedAfter(report.process, report.pid, timedelta(milliseconds=max(0, report.at - begun_ms)))
