"""Decide as Bytewax steps: records of `work` by key group, the decision operators, their checkpoint, encoded outputs.

State is kept in `state.rocksdb`, not in Bytewax's recovery store: a group starts at its stored offset, and what an
epoch changed is committed when the next one begins, that is when its outputs are in the log (DESIGN 2.6). So the flow
is exact with or without `-r`.
"""

from collections.abc import Callable, Iterator

from bytewax.operators import StatefulBatchLogic

from connectors.log import NewRecord, Record
from connectors.log.bytewax import keyed
from flows.steps.outputs import OutputWriter
from operators.decide import apply
from state.group import GroupState
from state.model.group_keys import GROUP_KEYS
from state.model.keys import groups_of_partition
from state.model.registry import Registry
from state.model.work import TickWork, decode_work
from state.rocksdb import GroupStore

GroupRecords = tuple[int, list[tuple[int, bytes]]]
"""A key group and its (offset, value) in order."""


def split_by_group(partitions: int) -> Callable[[list[Record]], Iterator[tuple[str, GroupRecords]]]:
    """Batches of raw records to one batch per key group; a record without a group goes to all of its partition."""

    def split(records: list[Record]) -> Iterator[tuple[str, GroupRecords]]:
        groups: dict[int, list[tuple[int, bytes]]] = {}
        for record in records:
            entry = (record.offset, record.value)
            concerned = (int(record.key),) if record.key else groups_of_partition(record.partition, partitions)
            for group in concerned:
                groups.setdefault(group, []).append(entry)
        for group, entries in groups.items():
            yield GROUP_KEYS[group], (group, entries)

    return split


class DecideGroup(StatefulBatchLogic[GroupRecords, tuple[str, NewRecord], None]):
    """One key group. Which one, it learns from its first batch."""

    def __init__(self, store: GroupStore, registry: Registry, partitions: int) -> None:
        self._store, self._registry, self._partitions = store, registry, partitions
        self._group = -1
        self._state: GroupState | None = None
        self._writer: OutputWriter | None = None
        self._advanced = False

    def _open(self, group: int) -> tuple[GroupState, OutputWriter]:
        if self._state is None or self._writer is None:
            self._group = group
            self._state = self._store.load(group, self._registry)
            self._writer = OutputWriter(group, self._partitions)
        return self._state, self._writer

    def on_batch(self, values: list[GroupRecords]) -> tuple[list[tuple[str, NewRecord]], bool]:
        records: list[tuple[str, NewRecord]] = []
        for group, entries in values:
            state, writer = self._open(group)
            for offset, value in entries:
                if offset > state.place:  # the stored state includes what is below
                    records.extend(map(keyed, self._apply(state, writer, offset, value)))
        return records, False

    def _apply(self, state: GroupState, writer: OutputWriter, offset: int, value: bytes) -> list[NewRecord]:
        self._advanced = True
        record = decode_work(value)
        outputs = writer.encode(state, apply(state, record, offset), offset)
        if isinstance(record, TickWork):
            terms = state.count_terms()
            if terms != state.counted:
                state.counted = terms
                outputs.append(writer.counts(terms, offset))
        return outputs

    def snapshot(self) -> None:
        """The epoch ends here: encode what it changed. It is committed when its outputs are known to be in the log."""
        if self._state is not None and self._advanced:
            self._store.stage(self._group, self._state)
            self._advanced = False
