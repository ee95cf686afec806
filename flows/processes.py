"""Processes that are restarted when they die and never outlive their owner: what the supervisor is made of.

Each child has a process group of its own, so that Ctrl-C in the terminal reaches the owner alone, which then drains
them in order. Its output goes to a file, begun anew with the one before kept as `.1` when it is over 10 MB.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from state.model.errors import CarillonError

LOG_MAX_BYTES = 10 * 1024 * 1024
_BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY = timedelta(seconds=30)


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
    stage: int = 1
    """Lower stages are drained first, and are over before the next begins."""
    nice: int = 0
    """What it gives way by, from `ProcessGroup.settle` on; a restart has it from its first moment."""


@dataclass(frozen=True, slots=True)
class ProcessEvent:
    """Something that happened to a process."""

    event: Literal["start", "exit", "restart"]
    name: str
    pid: int
    code: int | None = None
    """Exit code, negative for a signal; only for `exit`."""


@dataclass(slots=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes]
    started_at: float
    failures: int = 0
    restart_at: float | None = None


class ProcessGroup:
    """Starts, watches, restarts and drains processes. For one thread, which calls `watch` often."""

    def __init__(self, log_dir: Path, on_event: Callable[[ProcessEvent], None]) -> None:
        self._log_dir, self._on_event = log_dir, on_event
        self._children: dict[str, _Child] = {}
        self._settled = False

    def start(self, spec: ProcessSpec) -> None:
        """Start a process that is watched from now on."""
        child = _Child(spec, self._spawn(spec), time.monotonic())
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

    def failures(self, name: str) -> int:
        """How often in a row the process died young; 0 once it has been up for half a minute."""
        return self._children[name].failures

    def watch(self) -> None:
        """Notice what died and start again what is due; waits for nothing."""
        now = time.monotonic()
        for child in self._children.values():
            if child.restart_at is not None:
                if now >= child.restart_at:
                    self._restart(child)
                continue
            code = child.process.poll()
            if code is None:
                if child.failures and now - child.started_at > _STEADY.total_seconds():
                    child.failures = 0
                continue
            self._on_event(ProcessEvent("exit", child.spec.name, child.process.pid, code))
            child.restart_at = now + _BACK_OFF[min(child.failures, len(_BACK_OFF) - 1)]
            child.failures += 1

    def drain(self, deadline: timedelta) -> list[str]:
        """Stop all, stage by stage, by SIGTERM, at the stage's deadline by SIGKILL; names those it had to kill."""
        forced: list[str] = []
        for stage in sorted({child.spec.stage for child in self._children.values()}):
            children = [child for child in self._children.values() if child.spec.stage == stage]
            for child in children:
                _signal(child.process, signal.SIGTERM)
            end = time.monotonic() + deadline.total_seconds()
            forced += [child.spec.name for child in children if not self._ends(child, end)]
        return forced

    def kill(self) -> None:
        """End every process and whatever it started, at once."""
        for child in self._children.values():
            _signal(child.process, signal.SIGKILL)
            child.process.wait()
            _close_pipe(child.process)

    def _ends(self, child: _Child, end: float) -> bool:
        already = child.restart_at is not None
        try:
            code = child.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal(child.process, signal.SIGKILL)
            code = child.process.wait()
        _close_pipe(child.process)
        if not already:
            self._on_event(ProcessEvent("exit", child.spec.name, child.process.pid, code))
        return already or code != -signal.SIGKILL

    def _restart(self, child: _Child) -> None:
        _close_pipe(child.process)
        child.process = self._spawn(child.spec)
        child.started_at, child.restart_at = time.monotonic(), None
        self._give_way(child)
        self._on_event(ProcessEvent("restart", child.spec.name, child.process.pid))

    def _spawn(self, spec: ProcessSpec) -> subprocess.Popen[bytes]:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        path = self.log_file(spec.name)
        if path.exists() and path.stat().st_size > LOG_MAX_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as output:
            return subprocess.Popen(
                spec.command,
                env=dict(spec.environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                process_group=0,
            )


def last_lines(path: Path, count: int) -> Sequence[str]:
    """The end of a log file, for a message about a process that does not start."""
    if not path.exists():
        return []
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 8192))
        return stream.read().decode("utf-8", "replace").splitlines()[-count:]


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the whole process group, if the process was not seen to be gone."""
    if process.returncode is None:  # a reaped process's number may belong to somebody else by now
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: not permitted for a group of zombies
            os.killpg(process.pid, number)


def _close_pipe(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
