"""`carillon explain`: everything the records say of one event for one user, on one page; no content is shown."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from connectors.campaigns import CampaignDesk
from connectors.dead_letters import CLOCKS_DIFFER_MS, DeadLetters
from connectors.inbox.options import InboxRedisOptions
from connectors.log.interface import Log
from connectors.log.read_to_ends import stored_records
from flows.commands.circumstances import Finder
from flows.commands.dead_letters import explain_letters
from flows.commands.ledger import ledger_reader
from flows.commands.output import Output
from flows.commands.progress import stages_said
from flows.process.directories import ARCHIVE
from flows.process.inboxes import inbox_reader
from flows.process.open import clock_ms
from flows.steps.schedule import TOPIC as SCHEDULE
from operators.circumstances import Circumstances
from operators.explain import explain_decision, explain_emission, explain_row, used_values
from operators.explain_deliveries import explain_delivery, explain_outcome
from operators.words import time_text
from state.inbox.values import InboxRow
from state.model.envelope import schema_of
from state.model.event import EVENT
from state.model.registry import Registry
from state.model.schedule import RELEASED


def explain(
    data_dir: Path, log: Log, registry: Registry, *, event: str, user: str, output: Output,
    redis: InboxRedisOptions | None = None,
) -> bool:  # fmt: skip
    """Print the page; False where neither the ledger nor a dead letter knows of the pair."""
    history = ledger_reader(data_dir, log).history(event, user)
    decisions = [state for state in history if state.record["kind"] == "decision"]
    came = min((state.record["ingested_at"] or 0 for state in decisions), default=0)
    since_ms = max(0, came - CLOCKS_DIFFER_MS)
    letters = explain_letters(DeadLetters(log, data_dir / ARCHIVE), event, user, output, since_ms)
    if not decisions and letters:
        return True
    if not decisions and (kept := _kept(log, event) or _staged(log, event)) is not None:
        output.show({"event_id": event, "user": user, "found": True, "explanation": kept}, kept)
        return True
    if not decisions:
        said = f"The ledger knows nothing of event {event} for user {user}: the user was not among its recipients, "
        output.show({"event_id": event, "user": user, "found": False}, said + "or it has not been decided yet.")
        return False
    finder = Finder(log, registry)
    arrived = min(state.first_offset for state in decisions)
    circumstances = [finder.of_decision(state, arrived) for state in decisions]
    for state, used in zip(decisions, circumstances, strict=True):
        sentence, values = explain_decision(state.record, used), used_values(state.record, used)
        _show(output, state.record, sentence, dict(values), latest=state is decisions[-1])
    used = circumstances[-1]
    _show_sends([state.record for state in history], finder, used, output)
    with closing(inbox_reader(data_dir, log, redis)) as reader:
        row = reader.row(user, event)
    sentence = explain_row(row, had_row=any(state.record["inbox"] for state in decisions), used=used)
    output.show({"kind": "inbox", "explanation": sentence, **_row_record(row)}, f"Inbox    {sentence}")
    return True


def _kept(log: Log, event: str) -> str | None:
    """What `schedule` says of an event that nobody has a decision on: it is kept for later, or was cancelled."""
    said = None
    for record in stored_records(log, {(SCHEDULE, 0): log.begin_offset(SCHEDULE, 0)}):
        if record.key != event.encode():
            continue
        schema, at = schema_of(record.headers), time_text(record.timestamp_ms, "UTC")
        if schema == EVENT.json.decode():
            due_ms = EVENT.decode(record.value).deliver_at
            due = time_text(due_ms, "UTC")
            said = f"Event {event} is kept for later; it is released at {due}, and decided then."
            if due_ms is not None and due_ms <= clock_ms():
                said = f"Event {event} was kept until {due}, and waits to be decided, as P2 does under load."
        elif schema == RELEASED.json.decode() and (answer := RELEASED.decode(record.value)).how == "cancelled":
            by = "" if answer.by is None else f" by {answer.by}"
            said = f"Event {event} was kept for later, and cancelled{by} at {at}: nobody was notified of it."
    return said


def _staged(log: Log, event: str) -> str | None:
    """How far an event is that goes in stages."""
    found = CampaignDesk(log, clock=clock_ms).rollout(event)
    if found is None:
        return None
    who = "the turn of this user has not come, or he is not among its recipients"
    return f"Event {event} goes in stages, {stages_said(found)}: {who}."


def _show_sends(records: list[dict[str, Any]], finder: Finder, used: Circumstances, output: Output) -> None:
    items = {record["emission_id"]: record["count"] for record in records if record["kind"] == "emission"}
    for record in records:
        if record["kind"] == "emission":
            _show(output, record, explain_emission(record, used))
        elif record["kind"] == "delivery":
            then = finder.of_delivery(record, used)
            _show(output, record, explain_delivery(record, then, items=items.get(record["emission_id"], 1)))
        elif record["kind"] == "outcome":
            _show(output, record, explain_outcome(record, used))


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
