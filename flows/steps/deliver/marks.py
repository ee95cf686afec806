"""The marks of a deliver lane: which records of decide it has taken (TOPICS.md, "Repeated outputs")."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from connectors.log.interface import Record
from state.deliver.store import MarkKey
from state.model.envelope import OutputHeader, TopicPartition, header, parse_output_header
from state.model.errors import MalformedRecordError


class LaneMarks:
    """The last `seq` taken per topic, partition, source and key group (TOPICS.md)."""

    def __init__(self, stored: Mapping[MarkKey, tuple[int, int]]) -> None:
        self.all = dict(stored)
        self._names = dict[TopicPartition, str]()
        """Made once: two are asked for with each record."""

    def is_new(self, place: TopicPartition, sequence: OutputHeader) -> bool:
        """Whether it is above its mark."""
        return sequence.mark > self.all.get(self._key(place, sequence), (-1, -1))

    def take(self, place: TopicPartition, sequence: OutputHeader) -> None:
        """Make it the mark."""
        self.all[self._key(place, sequence)] = sequence.mark

    def pass_over(self, record: Record) -> None:
        """It was dealt with, whatever came of it; a record whose `seq` does not read has no mark."""
        with suppress(MalformedRecordError):
            place, sequence = (record.topic, record.partition), parse_output_header(header(record.headers, "seq"))
            if self.is_new(place, sequence):
                self.take(place, sequence)

    def furthest(self) -> dict[int, int]:
        """The highest offset per key group."""
        found: dict[int, int] = {}
        for (_, _, group), (offset, _) in self.all.items():
            found[group] = max(found.get(group, -1), offset)
        return found

    def _key(self, place: TopicPartition, sequence: OutputHeader) -> MarkKey:
        name = self._names.get(place)
        if name is None:
            name = self._names[place] = f"{place[0]}/{place[1]}"
        return name, sequence.source, sequence.group
