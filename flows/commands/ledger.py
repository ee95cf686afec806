"""`carillon ledger`: queries over the ledger and the proof of the three laws, also while the system runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from connectors.archive.ledger import LedgerQuery, LedgerReader
from connectors.inbox.options import InboxRedisOptions
from connectors.log.interface import Log
from flows.commands.output import Output
from flows.process.directories import INBOX, LEDGER
from flows.process.inboxes import inbox_reader
from operators.laws import COLUMNS, CountedRows, Gap, Law, LawReport, check_laws
from state.ledger import records_of
from state.model.keys import KEY_GROUPS

_SLICE = 5_000
_PAUSE = timedelta(milliseconds=250)


@dataclass(frozen=True, slots=True)
class ProofOptions:
    """How long a check waits for owners that count while it looks."""

    settled: timedelta = timedelta(seconds=10)
    """Records older than this must be in some owner's counts."""
    patience: timedelta = timedelta(seconds=15)
    """How long a violation may last without any change before it counts as one."""
    deadline: timedelta = timedelta(minutes=5)
    """How long it waits in all, as long as owners go on counting."""
    redis: InboxRedisOptions | None = None
    """Where the inboxes are, if not in the data directory."""


def ledger_reader(data_dir: Path, log: Log) -> LedgerReader:
    """The ledger of a data directory; the caller keeps the log open."""
    return LedgerReader(data_dir / LEDGER, log)


def show_ledger(data_dir: Path, log: Log, query: LedgerQuery, output: Output) -> int:
    """Print the records that match, by time; gives how many."""
    table = ledger_reader(data_dir, log).table(query)
    return show_table(table.sort_by([(name, "ascending") for name in ("time", "user", "kind", "log_offset")]), output)


def show_table(table: pa.Table, output: Output) -> int:
    """Print ledger records in the order of the table; gives how many."""
    for record in _records(table):
        output.show(record, _line(record))
    return len(table)


def _records(table: pa.Table) -> Iterator[dict[str, Any]]:
    for first in range(0, len(table), _SLICE):
        yield from records_of(table.slice(first, _SLICE))


def _line(record: Mapping[str, Any]) -> str:
    if record["kind"] == "decision":
        what, at = f"{record['event_id']} -> {record['user']}", record["decided_at"]
        where = ",".join(record["channels"])
    else:
        what, at = f"{record['emission_id']} -> {record['user']}", record["at"]
        where = f"{record['channel']}/{record['device']} {record['provider'] or ''}"
    why = f" {record['reason']}" if record["reason"] else ""
    return f"{_shown(at)} {record['kind']:8} {record['outcome']}{why} {record['type']} {what} {where}".rstrip()


def _shown(instant_ms: int) -> str:
    return datetime.fromtimestamp(instant_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def check_ledger(data_dir: Path, log: Log, output: Output, options: ProofOptions) -> bool:
    """Check the laws and print each; gives whether all hold."""
    report = prove(data_dir, log, options)
    for law in report.laws:
        output.show(_law_record(law), _law_text(law))
    for gap in report.gaps:
        output.show({"gap": gap.owner, "group": gap.group, "records": gap.records}, _gap_text(gap))
    output.show({"holds": report.holds}, "All laws hold." if report.holds else "The laws do NOT hold.")
    return report.holds


def prove(data_dir: Path, log: Log, options: ProofOptions) -> LawReport:
    """Check the laws until they hold, or until nothing changes any more that could make them hold.

    A running system is looked at in motion: what one owner has written, another may be about to count. So everything
    must be counted, or, in a system that never comes to rest, everything older than `settled`, which takes as long.
    """
    reader = ledger_reader(data_dir, log)
    started = changed = time.monotonic()
    before: LawReport | None = None
    while True:
        waited = timedelta(seconds=time.monotonic() - started)
        report = _look(data_dir, log, reader, options, options.settled if waited >= options.settled else timedelta())
        now = time.monotonic()
        if report != before:
            changed, before = now, report
        stood = timedelta(seconds=now - changed)
        stuck = stood >= options.patience or waited >= options.deadline
        if report.holds or (stuck and waited >= options.settled):
            return report
        time.sleep(_PAUSE.total_seconds())


def _look(data_dir: Path, log: Log, reader: LedgerReader, options: ProofOptions, settled: timedelta) -> LawReport:
    rows = counted_rows(
        data_dir, log, options.redis
    )  # before the ledger, which then knows at least what the rows include
    settled_ms = time.time_ns() // 1_000_000 - settled // timedelta(milliseconds=1) + 1
    return check_laws(reader.everything(COLUMNS), rows, settled_ms=settled_ms)


def counted_rows(data_dir: Path, log: Log, redis: InboxRedisOptions | None) -> dict[int, CountedRows] | None:
    """The inbox rows of every key group, counted one by one; None where the stores are not on this machine."""
    if redis is None and not (data_dir / INBOX).exists():
        return None
    reader = inbox_reader(data_dir, log, redis)
    try:
        audits = {group: reader.audit(group) for group in range(KEY_GROUPS)}
    finally:
        reader.close()
    return {
        group: CountedRows(
            audit.items_counted,
            audit.totals.taken_back,
            audit.totals.retired,
            {source: mark[0] for source, mark in audit.marks.items()},
        )
        for group, audit in audits.items()
        if audit.marks or audit.items_counted
    }


def _law_record(law: Law) -> dict[str, Any]:
    mismatches = [asdict(each) | {"difference": each.difference} for each in law.mismatches]
    sides = {"left": law.left, "right": law.right, "difference": law.difference}
    return {"law": law.name, "holds": not law.mismatches, **sides, "mismatches": mismatches}


def _law_text(law: Law) -> str:
    lines = [f"{'ok  ' if not law.mismatches else 'FAIL'} law {law.name}: {_sides(law.left, law.right)}"]
    lines += [f"     key group {each.group}: {_sides(each.left, each.right)}" for each in law.mismatches]
    return "\n".join(lines)


def _sides(left: Mapping[str, int], right: Mapping[str, int]) -> str:
    return f"{_sum(left)} = {_sum(right)}"


def _sum(terms: Mapping[str, int]) -> str:
    text = " + ".join(f"{value} {name}" for name, value in terms.items())
    return text.replace("+ -", "- ")


def _gap_text(gap: Gap) -> str:
    what = f"{gap.records} records of key group {gap.group}"
    return f"FAIL {gap.owner} has not counted {what}: it stands still, or its counts are lost"
