"""What deliver lanes are built from: their place on disk, what they share, and the marks that tell repeats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from connectors.log.interface import Log, Record
from flows.steps.sending.sender import Sender
from state.deliver.store import MarkKey, Place
from state.inbox.operations import Sequence as SequenceHeader
from state.inbox.operations import parse_sequence
from state.model.envelope import header
from state.model.errors import MalformedRecordError

FILE_NAME = "lane.sqlite"
JOURNAL_NAME = "poison"
RENDERING = -2
"""In the journal, in place of a key group: the record was read, and one of its deliveries is being rendered."""


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What lanes are built from."""

    directory: Path
    """DIR/state/deliver: one directory per lane below it."""
    log: Log
    sender: Sender
    half: int
    """Partitions of one priority: lane n has the partitions n and n + half."""
    topics: Sequence[str]
    now_ms: Callable[[], int]
    run_ms: int
    """When the process started: it orders its ledger records after those of the run before."""


def lane_path(directory: Path, lane: int) -> Path:
    """Where a lane keeps its file."""
    return directory / f"p{lane:03}" / FILE_NAME


class LaneMarks:
    """The last `seq` taken per topic, partition, source and key group (TOPICS.md)."""

    def __init__(self, stored: Mapping[MarkKey, tuple[int, int]]) -> None:
        self.all = dict(stored)

    def is_new(self, place: Place, sequence: SequenceHeader) -> bool:
        """Whether it is above its mark."""
        return sequence.mark > self.all.get(_key(place, sequence), (-1, -1))

    def take(self, place: Place, sequence: SequenceHeader) -> None:
        """Make it the mark."""
        self.all[_key(place, sequence)] = sequence.mark

    def pass_over(self, record: Record) -> None:
        """It was dealt with, whatever came of it; a record whose `seq` does not read has no mark."""
        with suppress(MalformedRecordError):
            place, sequence = (record.topic, record.partition), parse_sequence(header(record.headers, "seq"))
            if self.is_new(place, sequence):
                self.take(place, sequence)

    def furthest(self) -> dict[int, int]:
        """The highest offset per key group."""
        found: dict[int, int] = {}
        for (_, _, group), (offset, _) in self.all.items():
            found[group] = max(found.get(group, -1), offset)
        return found


def _key(place: Place, sequence: SequenceHeader) -> MarkKey:
    return f"{place[0]}/{place[1]}", sequence.source, sequence.group
