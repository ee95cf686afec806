"""Kill switches and closed senders out of band: every process follows `control` in a thread of its own.

A control *source* of a flow waits behind every unfinished epoch (7.4 s were measured), so the sends and sinks of a
process ask `ControlWatcher.stopped` instead, just before they act (RULES 4; DECISIONS, Kill switches out of band).
Decisions do not use it: for them the switch counts from its place in the decision log.

Each watcher reports what it obeys, so that `carillon kill` can say when every process has obeyed:
`DIR/run/obeyed/<process>.json`, replaced atomically, `{"process","pid","offset","at","switches"}`; `offset` is the next
offset of `control`: everything below is obeyed; `at` is Unix time in milliseconds. `switches` has since when each
switch or door that is set is obeyed there, by `<scope>/<value>`.

Scope `door` is no kill switch: it closes a sender's door at the gateways (`connectors/gateway/door.py`), and stops
nothing that was accepted before. Scope `key` takes back what opens the gateways to somebody: his keys, and his
sessions at the console. Scope `drain` suppresses nothing either: what is under way ends, and the rest waits
(`flows/steps/sending/queue.py`). Neither is what stations say there of their load (`connectors/load.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from connectors.load import LoadLevels, is_load
from connectors.log.following import Following, LogFollower, Positions
from connectors.log.interface import Log, NewRecord, Record
from connectors.log.owners import lives
from connectors.providers.provider import PLACES
from state.disk.files import replace_file
from state.model.channels import CHANNELS
from state.model.errors import MalformedRecordError
from state.model.registry import TypeProfile
from state.model.settings import DOOR, DRAIN, KEY, KILL, SUPPRESS_NOTHING, Kill, SwitchOn
from state.model.topics import CONTROL, EVENTS

TOPIC = CONTROL
_CLASSES = frozenset(EVENTS)
_DIGEST = "digest"
"""The type of a digest, which no registry names."""
_logger = structlog.get_logger(__name__)


class DoorChange(NamedTuple):
    """The last record of scope `door` for one sender."""

    closed: bool
    at: int
    """When the log took it, in milliseconds."""
    reason: str | None


class Obeyed(msgspec.Struct, frozen=True):
    """What one process says: every control record below `offset` is in force there since `at` (Unix milliseconds)."""

    process: str
    pid: int
    offset: int
    at: int
    switches: dict[str, int] = {}
    """Scope, slash and value of what is set, and since when it is obeyed there: its set, or the process's start."""

    def since(self, switch: SwitchOn) -> int | None:
        """When it obeyed; None: not yet."""
        return self.switches.get(f"{switch.scope}/{switch.value}")


class Scope(NamedTuple):
    """What is about to be sent, as far as switches may name it; None where it has none of the kind."""

    sender: str | None = None
    """The event's sender_id."""
    type_name: str | None = None
    """The event's type."""
    channel: str | None = None
    """The channel of this send."""
    campaign: str | None = None
    """The `object` of a SEGMENT or BROADCAST event."""


_obeyed_decoder = msgspec.json.Decoder(Obeyed)
_encoder = msgspec.json.Encoder()


def kill_record(kill: Kill) -> NewRecord:
    """The record that sets or lifts a switch."""
    scope, value = kill.switch
    body = KILL.encode(msgspec.structs.replace(kill, value=value))
    return NewRecord(TOPIC, 0, f"{scope}\0{value}".encode(), body, KILL.headers)


def decode_kill(record: Record) -> Kill | None:
    """What a record of `control` sets or lifts; None for a tombstone, or a record of another schema.

    :raises MalformedRecordError: a kill record that does not decode.
    """
    if not record.value or dict(record.headers).get("schema", KILL.json) != KILL.json:
        return None
    return KILL.decode(record.value)


def apply_kill(switches: frozenset[tuple[str, str]], kill: Kill) -> frozenset[tuple[str, str]]:
    """The switches in force after a record; doors and drains are not among them."""
    if kill.scope in SUPPRESS_NOTHING:
        return switches
    return switches | {kill.switch} if kill.on else switches - {kill.switch}


def switches_on(records: Iterable[Record]) -> dict[tuple[str, str], SwitchOn]:
    """What is set after these records of `control`, doors too."""
    found: dict[tuple[str, str], SwitchOn] = {}
    for record in records:
        try:
            kill = decode_kill(record)
        except MalformedRecordError:
            continue  # every watcher warns of it
        if kill is not None:
            found = note_switch(found, kill, record.timestamp_ms)
    return found


def note_switch(on: Mapping[tuple[str, str], SwitchOn], kill: Kill, at: int) -> dict[tuple[str, str], SwitchOn]:
    """What is set after a change: each since the record that set it first."""
    if not kill.on:
        return {switch: found for switch, found in on.items() if switch != kill.switch}
    return {kill.switch: SwitchOn(*kill.switch, at, kill.by, kill.reason), **on}


class KnownNames(NamedTuple):
    """What a switch can name: to stop what does not exist is a mistake in its name."""

    profile: Callable[[str], TypeProfile]
    types: Sequence[str]
    senders: Sequence[str]
    accounts: bool = False
    """Whether people have names that nobody here lists."""

    def refusal(self, scope: str, value: str | None) -> str | None:
        """Why a switch of this name would stop nothing, with the nearest names; None: it names something.

        Any object of an event can be a campaign.
        """
        if value is None or scope not in ("type", "sender", "door", "key", "channel", "drain"):
            return None
        if scope == KEY and self.accounts:
            return None
        names: Sequence[str]
        if scope == "type":
            what, names, known = "type", self.types, value == _DIGEST or self.profile(value).registered
        else:
            what, names = _named_by(scope, self.senders)
            known = value in names
        if known:
            return None
        nearest = get_close_matches(value, names, n=3)
        shown = ", ".join(nearest or sorted(names))
        return f"no {what} has this name; {'nearest' if nearest else 'there are'}: {shown}"


def _named_by(scope: str, senders: Sequence[str]) -> tuple[str, Sequence[str]]:
    if scope == DRAIN:
        return "class or provider", [*EVENTS, *PLACES]
    return ("channel", CHANNELS) if scope == "channel" else ("sender", senders)


def stopped_by(switches: frozenset[tuple[str, str]], scope: Scope) -> tuple[str, str] | None:
    """The switch that forbids this send, or None."""
    if not switches:
        return None
    named = (
        ("all", ""), ("sender", scope.sender), ("type", scope.type_name),
        ("channel", scope.channel), ("campaign", scope.campaign),
    )  # fmt: skip
    for kind, value in named:
        if value is not None and (kind, value) in switches:
            return (kind, value)
    return None


class ControlWatcher(Following):
    """Follows `control` in a daemon thread; `stopped` answers from memory and may be called by any thread.

    While the log cannot be read the last known switches stay in force.
    """

    def __init__(self, log: Log, *, process: str, run_dir: Path | None) -> None:
        self._process = process
        self._report = None if run_dir is None else run_dir / "obeyed" / f"{process}.json"
        self._switches: frozenset[tuple[str, str]] = frozenset()
        self._doors: dict[str, DoorChange] = {}
        self._drains: frozenset[str] = frozenset()
        self._on: Mapping[tuple[str, str], SwitchOn] = {}
        self._since: dict[str, int] = {}
        self.load = LoadLevels()
        """How loaded the stations say they are."""
        self._offset = -1
        self._follower = LogFollower(log, [(TOPIC, 0)], self._take, name="control-watcher", moved=self._obey)

    @property
    def switches(self) -> frozenset[tuple[str, str]]:
        """The (scope, value) pairs in force; the value of `all` is empty."""
        return self._switches

    @property
    def on(self) -> list[SwitchOn]:
        """Everything that is set, doors too, the oldest first."""
        return sorted(self._on.values(), key=lambda switch: switch.since_ms)

    @property
    def away(self) -> list[str]:
        """What `first` passes over now, as stations say (RULES 3.E)."""
        return sorted(self.load.away(time.time_ns() // 1_000_000))

    def catch_up(self, end: int, deadline: timedelta) -> bool:
        """Wait until every record below `end` is in force; False: it took too long."""
        give_up = time.monotonic() + deadline.total_seconds()
        while self._offset < end:
            if time.monotonic() > give_up:
                return False
            time.sleep(0.005)
        return True

    def door(self, sender: str) -> DoorChange | None:
        """How the door of a sender was set last; None: never."""
        return self._doors.get(sender)

    def revoked(self, name: str) -> bool:
        """Whether nothing opens the gateways to this sender or person."""
        return (KEY, name) in self._on

    def drained(self, provider: str) -> frozenset[str]:
        """The classes of which nothing more goes to a provider for now."""
        drains = self._drains
        return _CLASSES if provider in drains else drains & _CLASSES

    @property
    def offset(self) -> int:
        """Every control record below this offset is in force."""
        return self._offset

    def stopped(self, scope: Scope) -> tuple[str, str] | None:
        """The switch that forbids this send, or None."""
        return stopped_by(self._switches, scope)

    def close(self) -> None:
        """As of what follows; and the report is taken back."""
        super().close()
        if self._report is not None:
            self._report.unlink(missing_ok=True)

    def _take(self, records: Sequence[Record]) -> None:
        for record in records:
            try:
                if is_load(record):
                    self.load.note(record)
                kill = decode_kill(record)
            except MalformedRecordError:
                _logger.warning("control_record_malformed", process=self._process, offset=record.offset)
                continue
            if kill is not None:
                self._on = note_switch(self._on, kill, record.timestamp_ms)
                self._drains = frozenset(value for scope, value in self._on if scope == DRAIN)
            if kill is not None and kill.scope == DOOR:
                self._doors[kill.value or ""] = DoorChange(kill.on, record.timestamp_ms, kill.reason)
            elif kill is not None:
                self._switches = apply_kill(self._switches, kill)

    def _obey(self, positions: Positions) -> None:
        now_ms = time.time_ns() // 1_000_000
        self._since = {name: self._since.get(name, now_ms) for name in map("/".join, self._on)}
        self._offset = positions[TOPIC, 0]
        if self._report is None:
            return
        try:
            obeyed = Obeyed(self._process, os.getpid(), self._offset, now_ms, self._since)
            replace_file(self._report, _encoder.encode(obeyed))
        except OSError:
            _logger.exception("control_report_failed", process=self._process, offset=self._offset)


def read_obeyed(run_dir: Path) -> list[Obeyed]:
    """What the processes report, by name; a report of a process that no longer lives is left out."""
    found = []
    for path in sorted((run_dir / "obeyed").glob("*.json")):
        try:
            report = _obeyed_decoder.decode(path.read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):
            continue  # withdrawn this instant, or not one of ours
        if lives(report.pid):
            found.append(report)
    return found
