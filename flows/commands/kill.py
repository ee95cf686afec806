"""`carillon kill`: set or lift a switch and say when each process obeys; `--list`: what is in force."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from connectors.audit import COMMAND_LINE
from connectors.audit_chain import AuditChain
from connectors.control import TOPIC, KnownNames, Obeyed, kill_record, read_obeyed, switches_on
from connectors.log.interface import Log
from connectors.log.read_to_ends import stored_records
from connectors.types import types_in_force
from flows.commands.output import Output
from flows.config.access import senders_in_force
from flows.config.settings import Settings
from state.model.audit import AuditRecord
from state.model.errors import ConfigurationError
from state.model.settings import DOOR, DRAIN, KEY, Kill, SwitchOn

DEADLINE = timedelta(seconds=15)
"""How long the command waits for processes to obey."""
_LOOK = timedelta(milliseconds=20)


@dataclass(frozen=True, slots=True)
class ObeyedAfter:
    """One process and how long after the command it obeyed; None: not within the deadline."""

    process: str
    pid: int
    after: timedelta | None


def refuse_unknown(log: Log, settings: Settings, switch: Kill) -> None:
    """A switch that is set may always be lifted.

    :raises ConfigurationError: it names nothing that exists.
    """
    registry = types_in_force(log, settings.types)
    senders = list(senders_in_force(settings))
    known = KnownNames(registry.profile, registry.names(), senders, settings.openid is not None)
    refusal = known.refusal(switch.scope, switch.value)
    if refusal is not None and switch.switch not in _in_force(log):
        raise ConfigurationError(
            f"--{switch.scope} {switch.value}: {refusal}; nothing was set (--force for a name that is not known yet)"
        )


def show_switches(log: Log, output: Output) -> None:
    """Print what is in force, the oldest first."""
    found = sorted(_in_force(log).values(), key=lambda switch: switch.since_ms)
    for switch in found:
        record = {"scope": switch.scope, "value": switch.value or None, "since": switch.since_ms}
        output.show(record | {"by": switch.by, "reason": switch.reason}, _switch_line(switch))
    if not found:
        output.show({"switches": 0}, "No kill switch is set, every door is open, and nothing is drained.")


def _in_force(log: Log) -> dict[tuple[str, str], SwitchOn]:
    return switches_on(stored_records(log, {(TOPIC, 0): log.begin_offset(TOPIC, 0)}))


def _switch_line(switch: SwitchOn) -> str:
    what = "everything" if switch.scope == "all" else f"{switch.scope} {switch.value}"
    since = datetime.fromtimestamp(switch.since_ms / 1000, UTC)
    state = {DOOR: "closed", KEY: "revoked", DRAIN: "held back"}.get(switch.scope, "stopped")
    why = "" if switch.reason is None else f": {switch.reason}"
    return f"{what} {state} since {since:%Y-%m-%dT%H:%M:%SZ}{'' if switch.by is None else f' by {switch.by}'}{why}"


def user_name() -> str:
    """Who types, as the system has it: the environment may say anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user has no name
        return f"user {os.getuid()}"


def kill(log: Log, run_dir: Path, switch: Kill, *, deadline: timedelta) -> Iterator[ObeyedAfter]:
    """Write the switch durably, then wait for every process that follows `control`.

    A process that starts meanwhile reads the switch before it sends anything.
    """
    begun_ms = time.time_ns() // 1_000_000
    noted = AuditRecord(
        at=begun_ms, by=switch.by or user_name(), role=COMMAND_LINE, act="kill" if switch.on else "lift",
        about={"scope": switch.scope, "value": switch.switch[1]}, reason=switch.reason,
        before={"on": switch.switch in _in_force(log)}, after={"on": switch.on},
    )  # fmt: skip
    _, offset = log.append([AuditChain(log).record(noted), kill_record(switch)])
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
