"""`carillon explain`: everything the records say of one event for one user, on one page; no content is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from connectors.dead_letters import DeadLetters
from connectors.log.interface import Log
from connectors.log.read_to_ends import stored_records
from flows.commands.dead_letters import explain_letters
from flows.commands.ledger import inbox_reader, ledger_reader
from flows.commands.output import Output
from flows.track import ARCHIVE
from operators.explain import (
    Circumstances,
    explain_decision,
    explain_delivery,
    explain_emission,
    explain_row,
    used_values,
)
from state.inbox.values import InboxRow
from state.model.errors import MalformedRecordError, OffsetOutOfRangeError
from state.model.keys import key_group, partition_of_group
from state.model.registry import Registry
from state.model.work import KillWork, PreferenceWork, Work, decode_work

_WAIT = timedelta(seconds=2)
_WorkKind = TypeVar("_WorkKind", bound=Work)


def explain(data_dir: Path, log: Log, registry: Registry, *, event: str, user: str, output: Output) -> bool:
    """Print the page; False where neither the ledger nor a dead letter knows of the pair."""
    history = ledger_reader(data_dir, log).history(event, user)
    decisions = [record for record in history if record["kind"] == "decision"]
    letters = explain_letters(DeadLetters(log, data_dir / ARCHIVE), event, user, output)
    if not decisions and letters:
        return True
    if not decisions:
        said = f"The ledger knows nothing of event {event} for user {user}: the user was not among its recipients, "
        output.show({"event_id": event, "user": user, "found": False}, said + "or it has not been decided yet.")
        return False
    for record in decisions:
        used = circumstances(log, registry, record)
        sentence, values = explain_decision(record, used), used_values(record, used)
        _show(output, record, sentence, dict(values), latest=record is decisions[-1])
    used = circumstances(log, registry, decisions[-1])
    for record in history:
        if record["kind"] == "emission":
            _show(output, record, explain_emission(record, used))
        elif record["kind"] == "delivery":
            _show(output, record, explain_delivery(record, used))
    row = _inbox_row(data_dir, log, user, event)
    sentence = explain_row(row, had_row=any(record["inbox"] for record in decisions), used=used)
    output.show({"kind": "inbox", "explanation": sentence, **_row_record(row)}, f"Inbox    {sentence}")
    return True


def circumstances(log: Log, registry: Registry, record: Mapping[str, Any]) -> Circumstances:
    """What a decision used, found on the decision log by the places that the record names."""
    partition = partition_of_group(key_group(record["user"]), log.partitions("work"))
    profile = registry.profile(record["type"])
    switch = _work_record(log, partition, record["control_version"], KillWork)
    known = None if switch is None else {"scope": switch.scope, "value": switch.value, "on": switch.on}
    if record["preference_version"] == -1:
        return Circumstances({}, known, profile)
    preference = _work_record(log, partition, record["preference_version"], PreferenceWork)
    return Circumstances(None if preference is None else preference.doc, known, profile)


def _work_record(log: Log, partition: int, offset: int | None, kind: type[_WorkKind]) -> _WorkKind | None:
    """The record of the decision log at an offset; None where it is no longer there."""
    place = "work", partition
    if offset is None or offset < log.begin_offset(*place) or offset >= log.end_offset(*place):
        return None
    try:
        record = next(stored_records(log, {place: offset}, {place: offset + 1}, deadline=_WAIT), None)
        work = None if record is None else decode_work(record.value)
    except (OffsetOutOfRangeError, MalformedRecordError):
        return None
    return work if isinstance(work, kind) else None


def _inbox_row(data_dir: Path, log: Log, user: str, event: str) -> InboxRow | None:
    reader = inbox_reader(data_dir, log)
    try:
        return reader.row(user, event)
    finally:
        reader.close()


def _row_record(row: InboxRow | None) -> dict[str, Any]:
    if row is None:
        return {"row": None}
    shown = asdict(row)
    del shown["payload"]  # content
    return {"row": shown}


def _show(
    output: Output,
    record: Mapping[str, Any],
    sentence: str,
    used: Mapping[str, str] | None = None,
    *,
    latest: bool = True,
) -> None:
    title = str(record["kind"]).capitalize() if latest else "Before"
    lines = [f"{title:8} {record.get('outcome', '')} {sentence}".replace("  ", " ")]
    lines += [f"           {name}: {value}" for name, value in (used or {}).items()]
    output.show({**record, "explanation": sentence, **({"used": used} if used else {})}, "\n".join(lines))
