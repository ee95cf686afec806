"""`carillon audit verify`: whether anything that people did was changed after it was noted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from connectors.archive.records import TopicRecords
from connectors.audit_chain import Link, checked_audit
from connectors.log.interface import Log, Record
from flows.commands.output import Output
from state.model.errors import AuditFaultError
from state.model.topics import AUDIT


def verify_audit(archive: Path, log: Log | None, known: Link | None, output: Output) -> bool:
    """Say what was found; False: something was changed. Without a log the archive alone is looked through.

    :raises LogError: it cannot be read.
    """
    try:
        found = checked_audit(_all(TopicRecords(AUDIT, archive=archive, log=log)), known)
    except AuditFaultError as error:
        output.show({"ok": False, "fault": str(error)}, f"changed: {error}")
        return False
    shown = {"ok": True, "acts": found.acts, "older": found.older, "sure_to": found.sure_to, "end": found.last.text}
    before = f", {found.older} of them older than the chain" if found.older else ""
    output.show(shown, f"{found.acts} acts{before}: nothing was changed up to {found.sure_to}.\nend {found.last.text}")
    return True


def _all(records: TopicRecords) -> Iterator[Record]:
    for batch in records.read(0, records.begin(0), records.end(0)):
        yield from batch
