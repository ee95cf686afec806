"""`carillon replay`: what a stored decision log leads to, again: printed, given to deliver, or as state of decide."""

from __future__ import annotations

import time
from pathlib import Path

import orjson

from flows.commands.ledger import show_table
from flows.commands.output import Output
from flows.config.settings import Settings
from flows.process.open import clock_ms
from flows.recovery.replay import (
    Rebuilt,
    ReplayRange,
    opened_origin,
    rebuild_state,
    redeliver,
    replayed_decisions,
)
from state.disk.files import replacing
from state.ledger import records_of

_LINES = 5_000
_OTHERS = (
    "sequence and inbox restore themselves from exports and the log, schedule from its topic, deliver from attempts; "
    "P0 has its own store and the ledger"
)


def replay_decisions(log: str, settings: Settings, wanted: ReplayRange, out: Path | None, output: Output) -> int:
    """Print the decisions of the range, or write them to a file; gives how many."""
    with opened_origin(log, settings) as origin, output.progress("deciding again") as told:
        table = replayed_decisions(origin, wanted, told)
    if out is None:
        return show_table(table, output)
    with replacing(out) as stream:
        for first in range(0, len(table), _LINES):
            lines = (orjson.dumps(record) + b"\n" for record in records_of(table.slice(first, _LINES)))
            stream.writelines(lines)
    output.show({"lines": len(table), "out": str(out)}, f"{len(table)} records in {out}")
    return len(table)


def replay_deliveries(log: str, settings: Settings, wanted: ReplayRange, output: Output) -> int:
    """Give the range's emissions to deliver once more; gives how many records were appended."""
    with opened_origin(log, settings) as origin, output.progress("deciding again") as told:
        appended = redeliver(origin, wanted, told)
    for topic, records in sorted(appended.items()):
        output.show({"topic": topic, "appended": records}, f"{topic}: {records} records appended again")
    total = sum(appended.values())
    text = f"{total} records; deliver sends what has not been sent and is still valid, and nothing twice"
    output.show({"appended": total}, text)
    return total


def replay_state(log: str, settings: Settings, output: Output, *, force: bool) -> None:
    """Build decide's state again and say what was done."""
    begun = time.monotonic()
    with opened_origin(log, settings) as origin, output.progress("deciding again") as told:
        rebuilt = rebuild_state(origin, settings, force=force, at_ms=clock_ms(), progress=told)
    seconds = round(time.monotonic() - begun, 3)
    record = {
        "rebuilt": "decide", "directory": str(rebuilt.directory), "records": rebuilt.records,
        "appended": rebuilt.appended, "seconds": seconds, "ends": {str(p): end for p, end in rebuilt.ends.items()},
        "moved_to": None if rebuilt.moved_to is None else str(rebuilt.moved_to),
    }  # fmt: skip
    output.show(record, _rebuilt_text(rebuilt, seconds))


def _rebuilt_text(rebuilt: Rebuilt, seconds: float) -> str:
    lines = [f"{rebuilt.directory}: rebuilt from {rebuilt.records} records of work in {seconds} s"]
    if rebuilt.moved_to is not None:
        lines.append(f"what was there is now {rebuilt.moved_to}")
    if rebuilt.appended:
        lines.append(f"{rebuilt.appended} outputs that decide had not written yet were appended")
    return "\n".join([*lines, f"Start the system: decide goes on from there; {_OTHERS}."])
