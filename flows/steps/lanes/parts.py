"""What every lane is built from, and its place on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from connectors.log.backlog import Backlog
from connectors.log.interface import Log
from flows.steps.lanes.verdicts import Verdicts
from flows.steps.sending.dispatcher import Dispatcher
from state.model.envelope import TopicPartition
from state.model.registry import TypesToDate, load_registry

FILE_NAME = "lane.sqlite"
JOURNAL_NAME = "poison"


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What the lanes of one process share."""

    station: Literal["deliver", "transactional"]
    directory: Path
    """DIR/state/STATION: one directory per lane below it."""
    log: Log
    dispatcher: Dispatcher
    topics: Sequence[str]
    """What the lanes read."""
    lanes: int
    """How many there are: lane n has the partitions n, n + lanes, ... of each topic."""
    now_ms: Callable[[], int]
    run_ms: int
    """When the process started: it orders its ledger records after those of the run before."""
    types: TypesToDate = field(default_factory=load_registry)
    """What types may do."""
    verdicts: Verdicts = field(default_factory=Verdicts)
    """Which addresses are retired."""
    backlog: Backlog | None = None
    """Is told how far the station is behind."""
    away: Callable[[int], frozenset[str]] = lambda _now: frozenset()
    """What the stations say they cannot send in time, as of a time in ms (RULES 3.E)."""

    def partitions(self, lane: int) -> range:
        """Those of a lane, in each topic and in `attempts`."""
        return range(lane, self.log.partitions(self.topics[0]), self.lanes)

    def places(self, lane: int) -> list[TopicPartition]:
        """Everything that a lane reads."""
        return [(topic, partition) for topic in self.topics for partition in self.partitions(lane)]

    def check_starts(self, start: Callable[[str, int], int], holds: Callable[[int], bool]) -> None:
        """Ask where each place of the lanes held is read from, before the process is ready. Gateways wait for that, so
        state that does not fit the log is refused while that has not grown past what the state includes.
        """
        for lane in filter(holds, range(self.lanes)):
            for topic, partition in self.places(lane):
                start(topic, partition)


def lane_path(directory: Path, lane: int) -> Path:
    """Where a lane keeps its file."""
    return directory / f"p{lane:03}" / FILE_NAME
