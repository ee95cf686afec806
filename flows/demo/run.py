"""`carillon up --demo`: feeds, shows, keeps the system running, until it is asked to stop."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta

from rich.live import Live

from connectors.sandbox.watch import Watcher
from flows.commands.output import Output
from flows.demo.live import Tail
from flows.demo.view import PlainLines, picture
from flows.demo.workload import Feeder
from flows.process.opening import open_configured_log
from flows.up.supervisor import Supervisor

_STEP = timedelta(milliseconds=150)
_FRAMES_PER_S = 4


def run_demo(supervisor: Supervisor, output: Output, troubles: list[str], asked: Callable[[], bool]) -> None:
    """Feed and show until `asked`; `troubles` are lines about processes that died, filled by the caller."""
    log = open_configured_log(supervisor.settings)
    watcher = Watcher(supervisor.settings.data_dir / "sandbox")
    tail = Tail(log, watcher)
    feeder = Feeder(supervisor.settings, supervisor.url, supervisor.p0_url)
    feeder.start()
    try:
        if not output.as_json and sys.stdout.isatty():
            _watch(supervisor, tail, feeder, troubles, asked)
        else:
            _print(supervisor, tail, feeder, output, asked)
    finally:
        feeder.stop()
        tail.close()
        watcher.close()
        log.close()


def _watch(supervisor: Supervisor, tail: Tail, feeder: Feeder, troubles: list[str], asked: Callable[[], bool]) -> None:
    head = f"Ctrl-C stops   API {supervisor.url}/v1   P0 {supervisor.p0_url}/v1"
    with Live(refresh_per_second=_FRAMES_PER_S, screen=True) as live:
        while not asked():
            supervisor.step()
            tail.step(_STEP)
            tail.seen.take_fresh()
            live.update(picture(tail.seen, feeder.state, head, troubles))


def _print(supervisor: Supervisor, tail: Tail, feeder: Feeder, output: Output, asked: Callable[[], bool]) -> None:
    lines = PlainLines(output)
    while not asked():
        supervisor.step()
        tail.step(_STEP)
        lines.show(tail.seen, feeder.state)
