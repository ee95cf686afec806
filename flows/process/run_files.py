"""What a running system says of itself in `DIR/run/`, for commands that work beside it.

- `processes.json`: `{"url", "p0_url", "profile", "processes": {name: pid}, "steering_url"}`, replaced atomically at
  every start and restart; without processes after a drain.
- `ready/<process>`: there once the flows of a process are built and run.
- `rebuilds.ndjson`: a line `{"store", "origin"}` for each store that a flow restored or rebuilds; `up` reports it. Half
  a line, as a full disk leaves it, is passed over.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import structlog

from state.disk.files import rename_flushed, replace_file
from state.model.errors import UNDECODABLE, StateDamagedError

_logger = structlog.get_logger(__name__)
_REBUILDS = "rebuilds.ndjson"


class Running(msgspec.Struct, frozen=True):
    """The system that owns the directory, as of its last start or restart of a process."""

    url: str
    p0_url: str
    profile: Literal["embedded", "kafka"]
    """Where its log is, as given to `up`; other commands look there."""
    processes: dict[str, int]
    steering_url: str = ""
    """Where the simulated providers are told to misbehave (`connectors.sandbox.steering`); empty: none runs."""


def write_running(directory: Path, running: Running) -> None:
    """Replace the file as a whole."""
    replace_file(directory / "run" / "processes.json", msgspec.json.encode(running))


def read_running(directory: Path) -> Running | None:
    """What was written last; None where no system ran. The processes named may be gone.

    :raises StateDamagedError: it does not decode.
    """
    path = directory / "run" / "processes.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Running)
    except FileNotFoundError:
        return None
    except UNDECODABLE as error:
        raise StateDamagedError(f"{path} does not decode; restart `carillon up`, which writes it anew") from error


def running_url(directory: Path) -> str | None:
    """Of the gateway; None: nothing runs."""
    running = read_running(directory)
    return running.url if running is not None and running.processes else None


def read_processes(directory: Path) -> dict[str, int]:
    """Name to pid, of the last start; empty where no system ran."""
    running = read_running(directory)
    return {} if running is None else running.processes


def ready_file(directory: Path, process: str) -> Path:
    """There once the process works."""
    return directory / "run" / "ready" / process


def mark_ready(directory: Path, process: str) -> None:
    """Say that this process works now."""
    path = ready_file(directory, process)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


class Rebuild(msgspec.Struct, frozen=True):
    """A store that had nothing, or too little, and what it is made of again."""

    store: str
    origin: str


def note_rebuild(directory: Path, store: str, origin: str) -> None:
    """Leave word that a store was restored from an export, or is rebuilt from the log."""
    path = directory / "run" / _REBUILDS
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(Rebuild(store, origin)) + b"\n")


def take_rebuilds(directory: Path) -> list[Rebuild]:
    """What was noted since the last call, but for lines that do not decode; for one process at a time."""
    path, taken = directory / "run" / _REBUILDS, directory / "run" / f".{_REBUILDS}"
    try:
        rename_flushed(path, taken)
    except FileNotFoundError:
        return []
    return [rebuild for line in taken.read_bytes().splitlines() if (rebuild := _rebuild(line)) is not None]


def _rebuild(line: bytes) -> Rebuild | None:
    try:
        return msgspec.json.decode(line, type=Rebuild)
    except UNDECODABLE:
        _logger.warning("rebuild_note_unreadable", bytes=len(line))
        return None


def forget_processes(directory: Path) -> None:
    """Nothing runs here any more."""
    try:
        running = read_running(directory)
    except StateDamagedError:
        (directory / "run" / "processes.json").unlink(missing_ok=True)
        return
    if running is not None:
        write_running(directory, msgspec.structs.replace(running, processes={}, steering_url=""))
