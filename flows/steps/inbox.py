"""The sink of the inbox flow: operations become rows, each once, and every change of a group's counts is published.

One sink partition owns the store of one partition of topic `inbox`. Before a call returns, its records are committed:
rows, marks and the offset in one write. So the store alone says where to go on. Then the `counts` of the groups that
changed are appended to the ledger. A kill in between loses those counts only until the next start, which publishes all.

A record that does not decode, raises an error, or ended the process five times becomes a dead letter, and its offset is
noted in the store. When it is given back (header `again`), it is applied once, and only if it was noted. Its items
count as retired meanwhile, so that the third law holds.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.inbox.interface import InboxStore
from connectors.log.interface import Log, NewRecord, Record
from connectors.log.source import SourceBatch, Tick
from connectors.metrics import INBOX_AUDIT_MISMATCHES, INBOX_COMMIT_SECONDS, INBOX_OPERATIONS
from flows.steps.dead_letters import RecordHandler, Unhandled, environment_failed
from operators.inbox_shard import InboxShard, ShardCounts
from state.disk.poison import PoisonJournal
from state.inbox.values import SetAside
from state.model.dead_letter import AGAIN_HEADER
from state.model.envelope import OutputHeader, header, parse_output_header
from state.model.errors import MalformedRecordError
from state.model.inbox import INBOX, AddedSlice, StoredOperation, decode_at_once
from state.model.keys import groups_of_partition, partition_of_group
from state.model.ledger import COUNTS, CountsRecord

STAGE = "inbox"
_DECODING = -2
"""In the journal, in place of a key group: the record is being decoded."""
_UNKNOWN = SetAside(-1, 0)
_AUDITED_GROUPS = 4
"""Groups whose rows are counted one by one per tick, in turn, at most."""
_AUDITED_ITEMS = 4_000
"""What is counted per tick, taken over many: after a large group the next ones wait."""
_SWEPT_USERS = 200
"""Users whose old rows are retired per tick, in turn."""
_APPLIED, _REPEATED = INBOX_OPERATIONS.labels("applied"), INBOX_OPERATIONS.labels("repeated")
_PREPARED_RECORDS = 500
"""Records whose users are read from the store at once."""
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InboxParts:
    """What the sink builds its partitions from."""

    open_store: Callable[[int], InboxStore]
    open_journal: Callable[[int], PoisonJournal]
    """After the store, whose owner it belongs to."""
    open_log: Callable[[], Log]
    partitions: int
    now_ms: Callable[[], int]
    mine: Callable[[int], bool] = lambda _partition: True
    """Whether this process of the cluster holds the store of a partition."""


class InboxSink(FixedPartitionedSink[SourceBatch, None]):
    """Takes (partition number as text, records or tick). Rows are exact after any crash; counts come at least once."""

    def __init__(self, parts: InboxParts) -> None:
        self._parts = parts

    def list_parts(self) -> list[str]:
        """As Bytewax numbers them: in the order of their names."""
        return [f"{number:03}" for number in range(self._parts.partitions) if self._parts.mine(number)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_InboxPartition":
        return _InboxPartition(int(for_part), self._parts)


class _InboxPartition(StatefulSinkPartition[SourceBatch, None]):
    def __init__(self, partition: int, parts: InboxParts) -> None:
        self._parts = parts
        self._store, self._log = parts.open_store(partition), parts.open_log()
        self._poison = parts.open_journal(partition)
        self._load()
        self._ledger_partitions = self._log.partitions("ledger")
        self._handler = RecordHandler(STAGE, self._poison, self._log.partitions("dead_letters"))
        self._batch = self._handler.batch()
        self._turns = HouseTurns(groups_of_partition(partition, parts.partitions))

    def write_batch(self, values: list[SourceBatch]) -> None:
        given = [record for value in values if isinstance(value, list) for record in value]
        records = [record for record in given if record.offset >= self._offset]
        if records:
            with INBOX_COMMIT_SECONDS.time():
                self._take(records)
        if any(isinstance(value, Tick) for value in values):
            self._keep_house()
            self._publish()

    def snapshot(self) -> None:
        """Everything was committed by `write_batch`."""

    def close(self) -> None:
        self._publish()
        self._store.close()
        self._log.close()

    def _load(self) -> None:
        """As the store has it."""
        store = self._store
        self._shard = InboxShard(store, store.marks(), store.totals(), slices=store)
        self._offset, self._set_aside = store.offset(), store.set_aside()
        self._changed: dict[int, SetAside | None] = {}
        self._counted = [0, 0]

    def _take(self, records: Sequence[Record]) -> None:
        """Apply and commit them; one among them that cannot be is found by halves, and nothing of it stays."""
        try:
            for first in range(0, len(records), _PREPARED_RECORDS):
                part = records[first : first + _PREPARED_RECORDS]
                decoded = [
                    self._batch.handle(each.topic, each.partition, each.offset, _DECODING, _decoded, each)
                    for each in part
                ]
                singles = [*_singles(decoded)]
                users = self._shard.missing(each.user for each in singles)
                self._store.prepare(users, self._shard.joined(singles))
                for record, each in zip(part, decoded, strict=True):
                    self._apply(record, each)
            self._batch.end()
            self._commit()
        except Exception as error:
            if environment_failed(error) or type(error) is Exception:  # so RocksDB's errors come
                raise
            self._load()
            if len(records) == 1:
                self._put_aside(records[0], Unhandled(error))
                self._commit()
                return
            half = len(records) // 2
            self._take(records[:half])
            self._take(records[half:])

    def _apply(self, record: Record, decoded: "_DecodedInbox | Unhandled") -> None:
        """Apply one record, or set it aside."""
        if not isinstance(decoded, Unhandled):
            applied = self._batch.handle(record.topic, record.partition, record.offset, -1, self._apply_once, *decoded)
            if not isinstance(applied, Unhandled):
                self._counted[applied] += len(decoded[1])
                self._offset = record.offset + 1
                return
            if applied.error is not None:
                raise applied.error
            decoded = applied
        self._put_aside(record, decoded)

    def _apply_once(self, sequence: OutputHeader, operations: "_Operations", original: int | None) -> bool:
        if original is None:
            return self._shard.apply(sequence, operations)
        if original not in self._set_aside:
            return False
        self._shard.apply(sequence, operations, again=True)
        self._change(original, None)
        return True

    def _put_aside(self, record: Record, unhandled: Unhandled) -> None:
        """Tell it, and remember what it would have added; what fails again when it was given back takes its place."""
        self._log.append([self._handler.set_aside(record, unhandled, self._parts.now_ms())])
        original = _given_back(record)
        if original is None:
            decodes = not self._poison.suspect(record.topic, record.partition, record.offset, _DECODING)
            self._change(record.offset, _known_of(record) if decodes else _UNKNOWN)
            sequence = None if isinstance(unhandled.error, MalformedRecordError) else _sequence_of(record)
            if sequence is not None:  # of what is malformed, and so none of ours, the place means nothing
                self._shard.pass_over(sequence)
        elif original in self._set_aside:
            known = self._set_aside[original]
            self._change(original, None)
            self._change(record.offset, known)
        self._offset = record.offset + 1

    def _change(self, offset: int, known: SetAside | None) -> None:
        self._changed[offset] = known
        group = (known or self._set_aside[offset]).group
        if known is None:
            del self._set_aside[offset]
        else:
            self._set_aside[offset] = known
        if group >= 0:
            self._shard.recount(group)

    def _commit(self) -> None:
        self._store.commit(replace(self._shard.take_commit(self._offset), set_aside=self._changed))
        self._shard.committed()
        self._changed = {}
        for result, operations in zip((_REPEATED, _APPLIED), self._counted, strict=True):
            result.inc(operations)
        self._counted = [0, 0]

    def _keep_house(self) -> None:
        wrong = [group for group in self._turns.audited() if not self._audit(group)]
        group, users = self._turns.swept(self._store, _SWEPT_USERS, self._shard.crowded)
        self._store.prepare(self._shard.missing(users), slices=False)
        if self._shard.sweep(group, users) or wrong:
            self._commit()

    def _audit(self, group: int) -> bool:
        counted = self._store.count_items(group)
        self._turns.counted(counted.effort)
        fits = self._shard.audited(group, counted.items)
        if not fits:
            INBOX_AUDIT_MISMATCHES.inc()
            _logger.error("rows of a key group differ from its totals", group=group)
        return fits

    def _publish(self) -> None:
        at, aside = self._parts.now_ms(), Counter[int]()
        for known in self._set_aside.values():
            aside[known.group] += known.items
        records = [
            _counts_record(counts, aside[counts.group], self._ledger_partitions, at)
            for counts in self._shard.take_counts()
        ]
        if records:
            self._log.append(records)


class HouseTurns:
    """Whose turn it is to be audited and swept: all groups, one after the other, for ever."""

    def __init__(self, groups: range) -> None:
        self._groups = list(groups)
        self._audit = self._sweep = self._credit = 0
        self._after: str | None = None

    def audited(self) -> Iterator[int]:
        """Those of this tick; after each the caller says what it counted."""
        self._credit = min(self._credit + _AUDITED_ITEMS, _AUDITED_ITEMS)
        for _ in range(min(_AUDITED_GROUPS, len(self._groups))):
            if self._credit > 0:
                self._audit = (self._audit + 1) % len(self._groups)
                yield self._groups[self._audit]

    def counted(self, items: int) -> None:
        """So much was counted: the groups that come next wait for as many ticks as it takes."""
        self._credit -= items

    def swept(self, store: InboxStore, count: int, crowded: Callable[[int], bool]) -> tuple[int, list[str]]:
        group = self._groups[self._sweep]
        users = store.users(group, self._after, count, in_slices=crowded(group))
        self._after = users[-1] if len(users) == count else None
        if self._after is None:
            self._sweep = (self._sweep + 1) % len(self._groups)
        return group, users


def _singles(records: "Sequence[_DecodedInbox | Unhandled]") -> Iterator[StoredOperation]:
    """Of the records that are one operation each."""
    for record in records:
        if not isinstance(record, Unhandled) and isinstance(record[1], list) and len(record[1]) == 1:
            yield record[1][0]


def _given_back(record: Record) -> int | None:
    """The offset of the record that this one repeats, because an operator gave it back."""
    again = header(record.headers, AGAIN_HEADER)
    if again is None:
        return None
    name, _, offset = again.decode("ascii", "replace").rpartition("/")
    return int(offset) if name == f"{STAGE}/{record.topic}/{record.partition}" and offset.isdecimal() else None


_Operations = Sequence[StoredOperation] | AddedSlice
_DecodedInbox = tuple[OutputHeader, _Operations, int | None]
"""With what `_given_back` says."""


def _decoded(record: Record) -> _DecodedInbox:
    """:raises MalformedRecordError: a header or the value does not fit."""
    named = dict(record.headers)
    sequence = parse_output_header(named.get("seq"))
    schema = named.get("schema", b"")
    operations: _Operations
    if schema == INBOX.json:
        operations = [INBOX.decode(record.value)]
    else:
        operations = decode_at_once(schema.decode("ascii", "replace"), record.value)
    return sequence, operations, _given_back(record) if AGAIN_HEADER in named else None


def _sequence_of(record: Record) -> OutputHeader | None:
    try:
        return parse_output_header(header(record.headers, "seq"))
    except MalformedRecordError:
        return None


def _known_of(record: Record) -> SetAside:
    """Key group and number of items, as far as it can be read."""
    try:
        (_, group, *_), operations, _ = _decoded(record)
    except Exception as error:
        if environment_failed(error):
            raise
        return _UNKNOWN
    return SetAside(group, sum(operation.op == "add" for operation in operations))


def _counts_record(counts: ShardCounts, aside: int, partitions: int, at: int) -> NewRecord:
    totals = counts.totals
    value = CountsRecord(
        owner="inbox",
        group=counts.group,
        offset=counts.marks.get("d", (-1, -1))[0],
        offset_transactional=counts.marks.get("t", (-1, -1))[0],
        items=totals.items,
        added=totals.added,
        taken_back=totals.taken_back,
        retired=totals.retired + aside,
        at=at,
    )
    group = counts.group
    key = b"%d" % group
    return NewRecord("ledger", partition_of_group(group, partitions), key, COUNTS.encode(value), COUNTS.headers)
