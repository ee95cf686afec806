"""Decide as Bytewax steps: records of `work` by key group, the decision operators, their checkpoint, encoded outputs.

State is kept in `state.decide.checkpoint`, not in Bytewax's recovery store. A group starts at its stored offset. The
changes of an epoch are committed when the next one begins, since its outputs are in the log then (DECISIONS, State one
epoch behind). So the flow is exact with or without `-r`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache

import structlog
from bytewax.operators import StatefulBatchLogic

from connectors.log import NewRecord
from connectors.log.sink import keyed
from connectors.log.source import SourceBatch, Tick
from flows.steps.decide.group import GroupDecider
from flows.steps.decide.turns import SliceTurns
from state.model.group_keys import GROUP_KEYS
from state.model.keys import groups_of_partition

_logger = structlog.get_logger(__name__)
_FAILED = {"flow": "decide", "effect": "it resumes at its last complete epoch"}
"""Logged here: with several processes the engine loses an error's text."""
_KEYS_MAX = 1024
GroupRecords = tuple[int, list[tuple[int, bytes]]]
"""A key group and its (offset, value) in order."""


def split_by_group(partitions: int) -> Callable[[SourceBatch], Iterator[tuple[str, GroupRecords]]]:
    """Batches of raw records to one batch per key group; a record without a group goes to all of its partition."""

    @lru_cache(_KEYS_MAX)
    def concerned(partition: int, key: bytes) -> Iterable[int]:
        return _concerned(partition, key, partitions)

    def split(records: SourceBatch) -> Iterator[tuple[str, GroupRecords]]:
        groups: dict[int, list[tuple[int, bytes]]] = {}
        for record in () if isinstance(records, Tick) else records:
            entry = (record.offset, record.value)
            for group in concerned(record.partition, record.key):
                groups.setdefault(group, []).append(entry)
        for group, entries in groups.items():
            yield GROUP_KEYS[group], (group, entries)

    return split


def _concerned(partition: int, key: bytes, partitions: int) -> Iterable[int]:
    """The groups that a record is for; one whose key names none of its partition is judged by the first of them."""
    groups = groups_of_partition(partition, partitions)
    if not key:
        return groups
    named = int(key) if key.isdigit() and len(key) < 4 else -1
    return (named if named in groups else groups[0],)


class DecideGroup(StatefulBatchLogic[GroupRecords, tuple[str, list[NewRecord]], None]):
    """One key group. Which one, it learns from its first batch. If it leads, it goes on for all groups that wait."""

    def __init__(self, open_group: Callable[[int], GroupDecider], turns: SliceTurns) -> None:
        self._open_group, self._turns = open_group, turns
        self._decider: GroupDecider | None = None

    def on_batch(self, values: list[GroupRecords]) -> tuple[list[tuple[str, list[NewRecord]]], bool]:
        with _told():
            return keyed(self._decided(values)), False

    def _decided(self, values: list[GroupRecords]) -> list[NewRecord]:
        outputs: list[NewRecord] = []
        for group, entries in values:
            decider = self._decider = self._decider or self._open_group(group)
            outputs += self._turns.decide(self, decider, entries)
        return outputs

    def notify_at(self) -> datetime | None:
        return datetime.now(UTC) if self._turns.leads(self) else None

    def on_notify(self) -> tuple[list[tuple[str, list[NewRecord]]], bool]:
        with _told():
            return keyed(self._turns.go_on()), False

    def on_eof(self) -> tuple[list[tuple[str, list[NewRecord]]], bool]:
        with _told():
            left = keyed(self._turns.rest())
        if self._decider is not None:
            self._decider.settle()
        return left, False

    def snapshot(self) -> None:
        """The epoch ends here: encode what it changed. It is committed when its outputs are known to be in the log."""
        with _told():
            for decider in self._turns.take_decided():
                decider.collect()
            if self._decider is not None:
                self._decider.collect()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Exception:
        _logger.exception("flow_stops", **_FAILED)
        raise
