"""What P0's lanes are built from, and their place on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from connectors.log.interface import Log
from flows.steps.sending.sender import Sender
from state.model.registry import Registry

TOPIC = "events.p0"
STAGE = "transactional"
FILE_NAME = "lane.sqlite"
JOURNAL_NAME = "poison"
RENDERING = -2
"""In the journal, in place of a key group: the event was decided, and one of its deliveries is being rendered."""


@dataclass(frozen=True, slots=True)
class P0Parts:
    """What lanes are built from."""

    directory: Path
    """DIR/state/transactional: one directory per lane below it."""
    log: Log
    sender: Sender
    registry: Registry
    now_ms: Callable[[], int]
    run_ms: int
    retention_ms: int
    """How long decisions that are done are kept for replays."""


def lane_path(directory: Path, lane: int) -> Path:
    """Where a lane keeps its file."""
    return directory / f"p{lane:03}" / FILE_NAME
