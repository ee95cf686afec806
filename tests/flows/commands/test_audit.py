"""`carillon audit verify`, over the log, over the archive, and over what somebody changed there."""

from __future__ import annotations

from pathlib import Path

from helpers.feeding import System
from typer.testing import CliRunner

from connectors.archive.forms import RAW, raw_table
from connectors.archive.parquet import ArchiveWriter
from connectors.archive.records import TopicRecords
from connectors.audit import ActQuery, audit_record, newest_acts
from connectors.audit_chain import AuditChain
from connectors.log.interface import Record
from connectors.log.read_to_ends import stored_records
from flows.cli import app
from state.model.audit import AuditRecord
from state.model.topics import AUDIT


def act(number: int) -> AuditRecord:
    return AuditRecord(at=number, by="ann", role="ops", act="history", about={"user": f"u{number}"})


def verify(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", "verify", *map(str, arguments)])
    return done.exit_code, done.output


def archived(directory: Path, records: list[Record]) -> Path:
    ArchiveWriter(directory / AUDIT / "0", None, RAW).write(raw_table(records), len(records))
    return directory


def test_an_act_that_none_follows_is_not_called_proved(tmp_path: Path) -> None:
    system = System(tmp_path)
    system.feed([AuditChain(system.log).record(act(0))])
    status, said = verify("--data", tmp_path)
    assert (status, said.splitlines()[0]) == (0, "1 acts: no later act proves one yet.")


def test_log_and_archive_are_looked_through(tmp_path: Path) -> None:
    system = System(tmp_path)
    system.feed([audit_record(act(number)) for number in range(3)])
    chain = AuditChain(system.log)
    for number in range(3, 20):
        system.feed([chain.record(act(number))])
    status, said = verify("--data", tmp_path)
    assert (status, said.splitlines()[0]) == (
        0, "20 acts, 3 of them older than the chain: nothing was changed up to 18."
    )  # fmt: skip
    end = said.splitlines()[1].removeprefix("end ")
    assert verify("--data", tmp_path, "--end", end) == (status, said)
    assert verify("--data", tmp_path, "--end", "19:00")[0] == 2
    assert verify("--data", tmp_path, "--end", end.replace("19:", "20:"))[0] == 1
    records = list(stored_records(system.log, {(AUDIT, 0): 0}))
    alone = archived(tmp_path / "copy", records)
    assert verify("--archive", alone, "--end", end) == (status, said)
    old = newest_acts(TopicRecords(AUDIT, archive=alone, log=None), ActQuery(), 30).found[-1]
    assert old.record == act(0), "what is older than the chain is read as before"
    edited = records[7]._replace(value=records[7].value.replace(b"u7", b"u8"))
    changed = archived(tmp_path / "changed", [*records[:7], edited, *records[8:]])
    assert verify("--archive", changed) == (
        1, "changed: what is noted from 7 to 7 is not what the act at 8 found there\n"
    )  # fmt: skip
