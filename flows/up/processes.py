"""Processes that are restarted when they die and never outlive their owner: what the supervisor is made of.

Each child has a process group of its own, so that Ctrl-C in the terminal reaches the owner alone, which then drains
them in order. The child's output goes to a file. When the file is over 10 MB it is kept as `.1`, and a new one starts.

Standard input of a child is one end of a pair of sockets. The child ends when the other end closes (`flows.up.launch`).
A thread of the child writes a byte there every second. A child that was heard and is then silent for `SILENT_FOR`, or
never heard for `UNHEARD_FOR`, is stopped, frozen or stuck: it is killed and started again. So is a child whose bytes
say for `STANDS_FOR` that its flows stand still (`flows.process.liveness`). In a unit all processes must say so, since a
busy one keeps the others waiting. Time is counted in the owner's looks, a second each at most: a machine that slept, or
an owner that was stopped, kills nobody.

A process that is frozen from outside, or waits for a device, may not end even by SIGKILL. Nothing here waits for it
without a deadline. It is started again when it is gone; meanwhile the others are watched as always.

Processes of one `unit` belong together: when one dies, all are killed and start again together.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

import structlog

from flows.process.liveness import GETS_ON
from state.disk.files import rename_flushed
from state.model.errors import CarillonError

LOG_MAX_BYTES = 10 * 1024 * 1024
SILENT_FOR = timedelta(seconds=20)
"""Twenty beats: one needs a single turn of the interpreter, which even a starved process gets within seconds."""
UNHEARD_FOR = timedelta(seconds=120)
"""How long the first beat may take. It comes before a process imports what it needs, but a cold disk may be slow."""
STANDS_FOR = timedelta(seconds=120)
"""How long flows may stand still. No record takes so long, even on a busy machine."""
_KILLED_WITHIN = timedelta(seconds=3)
"""How long to wait for the end of what was killed, where nothing is left to do but to wait."""
_BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY = timedelta(seconds=30)
_LOOK_MAX_S = 1.0
_logger = structlog.get_logger(__name__)


class ProcessError(CarillonError):
    """A process of the system does not start or does not end; the text names it and its log file."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process: how it is started and when it is stopped."""

    name: str
    command: tuple[str, ...]
    """Program and arguments."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The whole environment of the process."""
    turn: int = 1
    """Lower turns are drained first, and are over before the next begins."""
    nice: int = 0
    """What it gives way by, from `ProcessGroup.settle` on; a restart has it from its first moment."""
    unit: str = ""
    """The processes with which it dies and restarts; empty: none."""
    final: int | None = None
    """The exit code after which it must not be started again."""


@dataclass(frozen=True, slots=True)
class ProcessEvent:
    """Something that happened to a process."""

    event: Literal["start", "exit", "restart", "hung", "stalled"]
    """`hung`: it gave no sign of life and is killed; `stalled`: its flows stood still. Its `exit` follows."""
    name: str
    pid: int
    code: int | None = None
    """Exit code, negative for a signal; only for `exit`."""


@dataclass(slots=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes]
    line: socket.socket
    """Our end of its standard input."""
    started_at: float
    failures: int = 0
    restart_at: float | None = None
    """None while it runs; set from when it died or was killed."""
    gone: bool = False
    """Whether it was seen to have ended."""
    heard: bool = False
    """Whether it ever gave a sign of life."""
    silent_s: float = 0.0
    """For how long it has given no sign of life."""
    still_s: float = 0.0
    """For how long its flows have said that they stand still."""

    @property
    def ending(self) -> bool:
        """Whether it was killed and is still there."""
        return self.restart_at is not None and not self.gone


class ProcessGroup:
    """Starts, watches, restarts and drains processes. For one thread, which calls `watch` often."""

    def __init__(
        self,
        log_dir: Path,
        on_event: Callable[[ProcessEvent], None],
        *,
        silent_for: timedelta = SILENT_FOR,
        unheard_for: timedelta = UNHEARD_FOR,
        stands_for: timedelta = STANDS_FOR,
    ) -> None:
        """`silent_for`: how long a process may give no sign of life; `unheard_for`: until its first one; `stands_for`:
        how long its flows may stand still, which must be longer than any wait of theirs.
        """
        self._stands_for_s = stands_for.total_seconds()
        self._log_dir, self._on_event = log_dir, on_event
        self._silent_for_s, self._unheard_for_s = silent_for.total_seconds(), unheard_for.total_seconds()
        self._children: dict[str, _Child] = {}
        self._log_begins: dict[str, int] = {}
        """By process, how long its log was when it was started first: what is before is of an earlier run."""
        self._settled = False
        self._looked_at = time.monotonic()
        self.ended_for_good: str | None = None
        """Name of a process that ended with its `final` code: the system cannot go on without it."""

    def start(self, spec: ProcessSpec) -> None:
        """Start a process that is watched from now on."""
        child = _Child(spec, *self._spawn(spec), time.monotonic())
        self._give_way(child)
        self._children[spec.name] = child
        self._on_event(ProcessEvent("start", spec.name, child.process.pid))

    def settle(self) -> None:
        """Give every process its nice value; until then all start at full speed."""
        self._settled = True
        for child in self._children.values():
            self._give_way(child)

    def _give_way(self, child: _Child) -> None:
        if self._settled and child.spec.nice and child.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # gone this instant; the restart is nice again
                # The whole group: on Linux that covers every thread, a single process only its first.
                os.setpriority(os.PRIO_PGRP, child.process.pid, child.spec.nice)

    def pids(self) -> dict[str, int]:
        """The processes that live now, by name in the order of their start."""
        return {name: child.process.pid for name, child in self._children.items() if child.process.poll() is None}

    def names(self) -> list[str]:
        """All processes that were started, alive or waiting for their restart."""
        return list(self._children)

    def log_file(self, name: str) -> Path:
        """Where the output of a process goes."""
        return self._log_dir / f"{name}.log"

    def last_lines(self, name: str, count: int) -> Sequence[str]:
        """The end of what a process has said since it was started here, for a message about it."""
        return _last_lines(self.log_file(name), count, self._log_begins.get(name, 0))

    def failures(self, name: str) -> int:
        """How often in a row the process died young; 0 once it has been up for half a minute."""
        return self._children[name].failures

    def watch(self) -> None:
        """Notice what died or hangs and start again what is due; waits for nothing."""
        now = time.monotonic()
        look_s, self._looked_at = min(now - self._looked_at, _LOOK_MAX_S), now
        for child in self._children.values():
            if child.gone:
                continue
            if (code := child.process.poll()) is not None:
                self._ended(child, code, now)
            elif child.ending:
                continue
            elif self._is_silent(child, look_s) or self._stands(child):
                event: Literal["stalled", "hung"] = "stalled" if self._stands(child) else "hung"
                self._on_event(ProcessEvent(event, child.spec.name, child.process.pid))
                self._fail_unit(child, now)
            elif child.failures and now - child.started_at > _STEADY.total_seconds():
                child.failures = 0
        for child in self._children.values():
            if self._is_due(child, now):
                self._restart(child)

    def _is_silent(self, child: _Child, look_s: float) -> bool:
        said = _said(child.line)
        child.heard = child.heard or bool(said)
        child.silent_s = 0.0 if said else child.silent_s + look_s
        child.still_s = 0.0 if GETS_ON in said or not child.heard else child.still_s + look_s
        return child.silent_s > (self._silent_for_s if child.heard else self._unheard_for_s)

    def _stands(self, child: _Child) -> bool:
        return all(each.still_s > self._stands_for_s for each in self._unit(child))

    def _ended(self, child: _Child, code: int, now: float) -> None:
        if code == child.spec.final:
            self.ended_for_good = child.spec.name
        child.gone = True
        self._on_event(ProcessEvent("exit", child.spec.name, child.process.pid, code))
        if child.restart_at is None:
            self._fail_unit(child, now)

    def _fail_unit(self, child: _Child, now: float) -> None:
        """All of its unit go with it, and come back together."""
        unit = self._unit(child)
        failures = max(each.failures for each in unit)
        for each in unit:
            _signal(each.process, signal.SIGKILL)
            each.restart_at = now + _BACK_OFF[min(failures, len(_BACK_OFF) - 1)]
            each.failures = failures + 1

    def _unit(self, child: _Child) -> list[_Child]:
        return [each for each in self._children.values() if each is child or each.spec.unit == child.spec.unit != ""]

    def _is_due(self, child: _Child, now: float) -> bool:
        """Whether it is to be started again now: its time has come, and every process of its unit is gone."""
        if child.restart_at is None or now < child.restart_at or self.ended_for_good is not None:
            return False
        return not any(each.ending for each in self._unit(child))

    def drain(self, deadline: timedelta) -> list[str]:
        """Stop all, turn by turn, by SIGTERM, at the turn's deadline by SIGKILL; names those that did not drain."""
        undrained: list[str] = []
        for turn in sorted({child.spec.turn for child in self._children.values()}):
            children = [child for child in self._children.values() if child.spec.turn == turn]
            for child in children:
                _signal(child.process, signal.SIGTERM)
            end = time.monotonic() + deadline.total_seconds()
            undrained += [child.spec.name for child in children if not self._drains(child, end)]
        return undrained

    def kill(self) -> None:
        """End every process and whatever it started, at once."""
        for child in self._children.values():
            _signal(child.process, signal.SIGKILL)
        end = time.monotonic() + _KILLED_WITHIN.total_seconds()
        for child in self._children.values():
            _wait_until(child, end)
            child.line.close()

    def _drains(self, child: _Child, end: float) -> bool:
        """Whether it ended with 0: not if it had died before, nor if SIGTERM met it before it took signals. One that
        SIGKILL does not end either is left behind.
        """
        already = child.gone
        code = _wait_until(child, end)
        if code is None:
            _signal(child.process, signal.SIGKILL)
            code = _wait_until(child, time.monotonic() + _KILLED_WITHIN.total_seconds())
        child.line.close()
        child.gone = code is not None
        if code is None:
            _logger.error("process_does_not_end", process=child.spec.name, pid=child.process.pid)
        elif not already:
            self._on_event(ProcessEvent("exit", child.spec.name, child.process.pid, code))
        return code == 0

    def _restart(self, child: _Child) -> None:
        child.line.close()
        try:
            child.process, child.line = self._spawn(child.spec)
        except OSError as error:  # no room for its log file, or no process to be had: again, later
            _logger.warning("process_not_started", process=child.spec.name, error=error.strerror)
            child.failures += 1
            child.restart_at = time.monotonic() + _BACK_OFF[min(child.failures, len(_BACK_OFF) - 1)]
            return
        child.started_at, child.restart_at, child.silent_s = time.monotonic(), None, 0.0
        child.still_s = 0.0
        child.gone = child.heard = False
        self._give_way(child)
        self._on_event(ProcessEvent("restart", child.spec.name, child.process.pid))

    def _spawn(self, spec: ProcessSpec) -> tuple[subprocess.Popen[bytes], socket.socket]:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        path = self.log_file(spec.name)
        size = path.stat().st_size if path.exists() else 0
        self._log_begins.setdefault(spec.name, size)
        if size > LOG_MAX_BYTES:
            rename_flushed(path, path.with_suffix(".log.1"))
            self._log_begins[spec.name] = 0
        ours, its = socket.socketpair()
        ours.setblocking(False)
        with path.open("ab") as output, its:
            process = subprocess.Popen(
                spec.command,
                env=dict(spec.environment),
                stdin=its.fileno(),
                stdout=output,
                stderr=output,
                process_group=0,
            )
        return process, ours


def _last_lines(path: Path, count: int, since: int) -> Sequence[str]:
    if not path.exists():
        return []
    with path.open("rb") as stream:
        stream.seek(max(since, path.stat().st_size - 8192))
        return stream.read().decode("utf-8", "replace").splitlines()[-count:]


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send the signal to its whole process group, unless the process was seen to be gone."""
    if process.returncode is None:  # a reaped process's number may belong to somebody else by now
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: not permitted for a group of zombies
            os.killpg(process.pid, number)


def _wait_until(child: _Child, end: float) -> int | None:
    """The exit code; None: it is still there."""
    try:
        return child.process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None


def _said(line: socket.socket) -> bytes:
    """What the child wrote since the last look."""
    try:
        return line.recv(4096)
    except BlockingIOError:
        return b""
    except ConnectionError:  # it is gone; `poll` will say so
        return b""
