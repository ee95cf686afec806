"""The sink of the inbox flow: operations become rows, each once, and every change of a group's counts is published.

One sink partition owns the store of one partition of topic `inbox`. It commits what a call brought before it returns:
rows, marks and the offset in one write, so the store alone knows where to go on. Then it appends the `counts` of the
groups that changed to the ledger. A kill in between loses those counts only until the next start, which publishes all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import orjson
import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.inbox.interface import InboxStore
from connectors.log.interface import Log, NewRecord, Record
from connectors.metrics import DEAD_LETTERS, INBOX_AUDIT_MISMATCHES, INBOX_COMMIT_SECONDS, INBOX_OPERATIONS
from flows.steps.resuming import dead_letter
from flows.steps.ticks import Tick
from operators.inbox_shard import InboxShard, ShardCounts
from state.envelope import header, schema_of
from state.inbox_ops import decode_operations, parse_sequence
from state.model.errors import MalformedRecordError
from state.model.keys import groups_of_partition, partition_of_group

Item = list[Record] | Tick
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HousekeepingOptions:
    """What a tick does beside publishing counts."""

    audited_groups: int = 4
    """Groups whose rows are counted one by one per tick, in turn."""
    swept_users: int = 200
    """Users whose old rows are retired per tick, in turn."""


@dataclass(frozen=True, slots=True)
class InboxParts:
    """What the sink builds its partitions from."""

    open_store: Callable[[int], InboxStore]
    open_log: Callable[[], Log]
    partitions: int
    now_ms: Callable[[], int]
    housekeeping: HousekeepingOptions = HousekeepingOptions()
    mine: Callable[[int], bool] = lambda _partition: True
    """Whether this process of the cluster holds the store of a partition."""


class InboxSink(FixedPartitionedSink[Item, None]):
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


class _InboxPartition(StatefulSinkPartition[Item, None]):
    def __init__(self, partition: int, parts: InboxParts) -> None:
        self._parts = parts
        self._store, self._log = parts.open_store(partition), parts.open_log()
        self._shard = InboxShard(self._store.load, self._store.marks(), self._store.totals())
        self._offset = self._store.offset()
        self._ledger_partitions = self._log.partitions("ledger")
        self._turns = _Turns(groups_of_partition(partition, parts.partitions))

    def write_batch(self, values: list[Item]) -> None:
        records = [record for value in values if isinstance(value, list) for record in value]
        if records:
            with INBOX_COMMIT_SECONDS.time():
                self._apply(records)
                self._commit()
        if any(isinstance(value, Tick) for value in values):
            self._keep_house()
            self._publish()

    def snapshot(self) -> None:
        """Everything was committed by `write_batch`."""

    def close(self) -> None:
        self._publish()
        self._store.close()
        self._log.close()

    def _apply(self, records: list[Record]) -> None:
        for record in records:
            if record.offset < self._offset:
                continue
            try:
                place = parse_sequence(header(record.headers, "seq"))
                operations = decode_operations(schema_of(record.headers), record.value)
            except MalformedRecordError as error:
                partitions = self._log.partitions("dead_letters")
                self._log.append(
                    [dead_letter(record, error, stage="inbox", at=self._parts.now_ms(), partitions=partitions)]
                )
                DEAD_LETTERS.labels("inbox").inc()
            else:
                applied = self._shard.apply(place, operations)
                INBOX_OPERATIONS.labels("applied" if applied else "repeated").inc(len(operations))
            self._offset = record.offset + 1

    def _commit(self) -> None:
        self._store.commit(self._shard.take_commit(self._offset))
        self._shard.committed()

    def _keep_house(self) -> None:
        options = self._parts.housekeeping
        wrong = [group for group in self._turns.audited(options.audited_groups) if not self._audit(group)]
        group, users = self._turns.swept(self._store, options.swept_users)
        if self._shard.sweep(group, users) or wrong:
            self._commit()

    def _audit(self, group: int) -> bool:
        fits = self._shard.audited(group, self._store.count_items(group))
        if not fits:
            INBOX_AUDIT_MISMATCHES.inc()
            _logger.error("rows of a key group differ from its totals", group=group)
        return fits

    def _publish(self) -> None:
        at = self._parts.now_ms()
        records = [_counts_record(counts, self._ledger_partitions, at) for counts in self._shard.take_counts()]
        if records:
            self._log.append(records)


class _Turns:
    """Whose turn it is to be audited and swept: all groups, one after the other, for ever."""

    def __init__(self, groups: range) -> None:
        self._groups = list(groups)
        self._audit = self._sweep = 0
        self._after: str | None = None

    def audited(self, count: int) -> list[int]:
        first, self._audit = self._audit, (self._audit + count) % len(self._groups)
        return [self._groups[(first + step) % len(self._groups)] for step in range(min(count, len(self._groups)))]

    def swept(self, store: InboxStore, count: int) -> tuple[int, list[str]]:
        group = self._groups[self._sweep]
        users = store.users(group, self._after, count)
        self._after = users[-1] if len(users) == count else None
        if self._after is None:
            self._sweep = (self._sweep + 1) % len(self._groups)
        return group, users


def _counts_record(counts: ShardCounts, partitions: int, at: int) -> NewRecord:
    totals = counts.totals
    value = {
        "kind": "counts",
        "owner": "inbox",
        "group": counts.group,
        "offset": counts.marks.get("d", (-1, -1))[0],
        "offset_transactional": counts.marks.get("t", (-1, -1))[0],
        "items": totals.items,
        "added": totals.added,
        "taken_back": totals.taken_back,
        "retired": totals.retired,
        "at": at,
    }
    headers = (("schema", b"counts/1+json"),)
    group = counts.group
    return NewRecord("ledger", partition_of_group(group, partitions), b"%d" % group, orjson.dumps(value), headers)
