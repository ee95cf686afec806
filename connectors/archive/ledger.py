"""Queries over the ledger: the archive's parts and the tail of topic `ledger` behind them, the last state of each key.
What was heard later lies beside it: topic `outcomes`, archived in the same columns.

Works while the system runs and from any process. A query takes the manifest, then reads the log from the manifest's
offset to the end that the log had when the query began. Nothing is missing or double, since parts and offset change
together.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset
import structlog

from connectors.archive.manifest import COLUMNAR, ArchiveManifest, read_manifest
from connectors.log.interface import Log
from connectors.log.read_to_ends import stored_batches, stored_records
from state.ledger import SCHEMA, empty_table, latest, ledger_table, records_of
from state.model.keys import emission_base, key_group, partition_of_group
from state.model.ledger import EventCounts
from state.model.topics import OUTCOMES
from state.model.work import SliceWork, decode_work

pc: Any = pyarrow.compute  # its stubs refuse expressions
dataset: Any = pyarrow.dataset
_logger = structlog.get_logger(__name__)
TOPIC = "ledger"
_WAIT = timedelta(seconds=5)
_TRIES = 3
_EMISSIONS_NAMED_MAX = 1_000
"""Beyond it, emissions are looked for by the event that began them."""


@dataclass(frozen=True, slots=True)
class LedgerQuery:
    """What to look for; None: any. Times in ms UTC, `from_ms` included, `to_ms` excluded."""

    event: str | None = None
    """Its decisions, and the emissions and deliveries that these led to."""
    user: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    kinds: tuple[str, ...] = ("decision", "delivery")
    columns: Mapping[str, str] = field(default_factory=dict)
    """Further columns and the values that they must have, in the last state of a record."""


class HistoryState(NamedTuple):
    """One state of a key, with what it follows from."""

    record: dict[str, Any]
    source: str
    """`d`: decide; `t`: transactional; empty where the record names none."""
    offset: int
    """Of the record that brought it about, in the log of its source."""
    first_offset: int
    """The lowest of those of this key, so far as they are kept."""


class LedgerReader:
    """Reads an archive (`DIR/archive/ledger`) and a log. Methods may be called by any thread and block on the disk."""

    def __init__(self, directory: Path, log: Log) -> None:
        """The caller keeps the log open as long as this is used, and closes it."""
        self._directory, self._log = directory, log
        self._partitions = log.partitions(TOPIC)

    def records(self, query: LedgerQuery) -> list[dict[str, Any]]:
        """The records that match, as they were written, by time, user and kind."""
        table = self.table(query)
        return records_of(table.sort_by([(name, "ascending") for name in ("time", "user", "kind", "log_offset")]))

    def table(self, query: LedgerQuery) -> pa.Table:
        """The records that match, each key's last state, in the columns of `state/ledger.py`."""
        found = latest(self._matching(query))
        for name, value in query.columns.items():  # only now, as with the time below
            found = found.filter(pc.field(name) == value)
        if query.to_ms is not None:  # only now: an earlier state must not take the place of a later one
            found = found.filter(pc.field("time") < query.to_ms)
        return found

    def newest(self, query: LedgerQuery, limit: int) -> list[dict[str, Any]]:
        """Those of the records that match which were written last, the newest first."""
        table = self.table(query)
        columns = ("time", "log_offset", "kind", "event_id", "emission_id", "channel", "device")
        order = [(name, "descending") for name in columns]
        return records_of(table.take(pc.select_k_unstable(table, limit, order)))

    def history(self, event: str, user: str) -> list[HistoryState]:
        """Every state of the decisions and deliveries of (event, user) that is still kept, in order of time.

        Hours that were merged hold the last state only.
        """
        kinds = ("decision", "emission", "delivery", "outcome")
        found = self._matching(LedgerQuery(event=event, user=user, kinds=kinds))
        heard = pc.field("kind") == "outcome"
        found = pa.concat_tables([found.filter(~heard), latest(found.filter(heard))])
        ordered = found.sort_by([("time", "ascending"), ("seq_offset", "ascending"), ("seq_ordinal", "ascending")])
        places = (ordered[name].to_pylist() for name in ("source", "seq_offset", "first_offset"))
        distinct: list[HistoryState] = []
        for record, *place in zip(records_of(ordered), *places, strict=True):
            if all(record != known.record for known in distinct):  # a resumed flow writes the same bytes again
                distinct.append(HistoryState(record, *place))
        return distinct

    def progress(self, event: str) -> EventCounts:
        """How many recipients of the event have each outcome, and what became of the deliveries that this led to.

        Of an event that went to many people, deliveries are counted that it shares with no earlier event.
        """
        decided = (pc.field("kind") == "decision") & (pc.field("event_id") == event)
        decisions = latest(
            self._scan(
                decided, None, [*_VERSION, "event_id", "user", "outcome", "emission_id", "source", "type", "object"]
            )
        )
        groups = len(pc.unique(decisions["key_group"]))
        counts = EventCounts(_by_outcome(decisions), groups=groups, planned=self._planned(event, decisions.slice(0, 1)))
        emissions = pc.unique(decisions["emission_id"].drop_null())
        named = pc.field("emission_id").isin(emissions)
        few = len(emissions) <= _EMISSIONS_NAMED_MAX
        counts = replace(counts, heard=self._heard(event, named if few else _begun_by(event, decisions)))
        if not len(emissions):
            return counts
        condition = named if few else pc.field("first_event_id") == event
        columns = [*_VERSION, "emission_id", "user", "channel", "device", "outcome", "deliveries", "segments", "cost"]
        found = latest(self._scan(condition & pc.field("kind").isin(["emission", "delivery"]), None, columns))
        deliveries = found.filter(pc.field("kind") == "delivery")
        handed_out, segments, cost = (pc.sum(found[name]).as_py() or 0 for name in ("deliveries", "segments", "cost"))
        ended = _by_outcome(deliveries)
        return replace(counts, handed_out=handed_out, deliveries=ended, segments=segments, cost=round(cost, 6))

    def campaign(self, name: str, sender: str) -> EventCounts:
        """The same over all events of a campaign, which is the object of each; and for what reasons they ended so."""
        decided = (pc.field("kind") == "decision") & (pc.field("object") == name) & (pc.field("sender_id") == sender)
        columns = [*_VERSION, "event_id", "user", "outcome", "reason", "emission_id"]
        decisions = latest(self._scan(decided, None, columns))
        suppressed = decisions.filter(pc.field("outcome") == "SUPPRESSED")
        counts = EventCounts(_by_outcome(decisions), reasons=_by_outcome(suppressed, "reason"))
        named = pc.field("emission_id").isin(pc.unique(decisions["emission_id"].drop_null()))
        delivered = named & (pc.field("kind") == "delivery")
        columns = [*_VERSION, "emission_id", "user", "channel", "device", "outcome"]
        deliveries = latest(self._scan(delivered, None, columns))
        columns = list(dict.fromkeys([*_VERSION, *_KEY, "question", "outcome"]))
        heard = latest(self._scan(named, None, columns, (OUTCOMES,)))
        return replace(counts, deliveries=_by_outcome(deliveries), heard=_by_outcome(heard))

    def _heard(self, event: str, of_emissions: Any) -> dict[str, int]:
        """What was heard of the event's items, and of these emissions, by outcome."""
        columns = list(dict.fromkeys([*_VERSION, *_KEY, "question", "outcome"]))
        return _by_outcome(
            latest(self._scan(of_emissions | (pc.field("event_id") == event), None, columns, (OUTCOMES,)))
        )

    def _planned(self, event: str, decisions: pa.Table) -> int | None:
        """How many key groups the event has slices for, as the slice says that one of its decisions follows from."""
        for row in decisions.to_pylist():
            place, offset = ("work", partition_of_group(row["key_group"], self._partitions)), row["first_offset"]
            if row["source"] != "d" or not self._log.begin_offset(*place) <= offset < self._log.end_offset(*place):
                continue
            for record in stored_records(self._log, {place: offset}, {place: offset + 1}, deadline=_WAIT):
                work = decode_work(record.value)
                if isinstance(work, SliceWork) and work.event.event_id == event and work.plan:
                    return int(work.plan, 16).bit_count()
        return None

    def undelivered(self, since_ms: int) -> list[dict[str, Any]]:
        """Deliveries that ended as DEAD_LETTER since then, with the place of the record and who sent the event."""
        condition = (pc.field("kind") == "delivery") & (pc.field("outcome") == "DEAD_LETTER")
        columns = list(dict.fromkeys([*_VERSION, *_KEY, "source", "reason", "at", "first_event_id", "type"]))
        found = latest(self._scan(condition & (pc.field("time") >= since_ms), None, columns)).to_pylist()
        decisions = (pc.field("kind") == "decision") & pc.field("event_id").isin(
            [row["first_event_id"] for row in found]
        )
        senders = self._scan(decisions, None, ["event_id", "sender_id"]) if found else empty_table()
        sender_of = dict(zip(senders["event_id"].to_pylist(), senders["sender_id"].to_pylist(), strict=True))
        return [
            row
            | {
                "sender_id": sender_of.get(row["first_event_id"]),
                "place": (TOPIC, partition_of_group(row["key_group"], self._partitions), row["first_log_offset"]),
            }
            for row in found
        ]

    def everything(self, columns: list[str]) -> pa.Table:
        """The last state of every key, in these columns and those that order states: what the laws are checked on."""
        return latest(self._scan(None, None, list(dict.fromkeys([*_VERSION, *_KEY, *columns]))))

    def _matching(self, query: LedgerQuery) -> pa.Table:
        condition = pc.field("kind").isin(list(query.kinds))
        if query.user is not None:
            condition &= pc.field("user") == query.user
        for name in _NEVER_CHANGES.intersection(query.columns):
            condition &= pc.field(name) == query.columns[name]
        if query.from_ms is not None:  # a state before it is either not the last, or does not match
            condition &= pc.field("time") >= query.from_ms
        group = None if query.user is None else key_group(query.user)
        topics = COLUMNAR if "outcome" in query.kinds else (TOPIC,)
        if query.event is None:
            return self._scan(condition, group, topics=topics)
        decisions = (pc.field("kind") == "decision") & (pc.field("event_id") == query.event)
        if query.user is not None:
            decisions &= pc.field("user") == query.user
        ids = pc.unique(self._scan(decisions, group)["emission_id"].drop_null()).to_pylist()
        related = pc.field("emission_id").isin(pa.array(ids, pa.string())) & (pc.field("kind") != "decision")
        return self._scan(condition & (related | (pc.field("event_id") == query.event)), group, topics=topics)

    def _scan(
        self, condition: Any, group: int | None, columns: list[str] | None = None, topics: Sequence[str] = (TOPIC,)
    ) -> pa.Table:
        """All states that match, of one key group or of all."""
        if group is not None:
            condition = (pc.field("key_group") == group) & condition
            partitions = [partition_of_group(group, self._partitions)]
        else:
            partitions = list(range(self._partitions))
        names = columns or SCHEMA.names
        tables = [
            table
            for place in itertools.product(topics, partitions)
            for table in self._partition(place, condition, names)
        ]
        return pa.concat_tables([empty_table().select(names), *tables])

    def _partition(self, place: tuple[str, int], condition: Any, names: list[str]) -> Iterator[pa.Table]:
        topic, partition = place
        manifest, parts = self._parts(self._directory.parent / topic / str(partition), condition, names)
        yield parts
        yield from self._tail(place, manifest.offset, condition, names)

    def _parts(self, directory: Path, condition: Any, names: list[str]) -> tuple[ArchiveManifest, pa.Table]:
        for _ in range(_TRIES - 1):
            manifest = read_manifest(directory)
            try:
                return manifest, _read_parts(directory, manifest, condition, names)
            except FileNotFoundError as error:  # merged away since, and this reader was slow
                _logger.info("parts were merged away during a query; it starts again", error=str(error))
        manifest = read_manifest(directory)
        return manifest, _read_parts(directory, manifest, condition, names)

    def _tail(self, place: tuple[str, int], offset: int, condition: Any, names: list[str]) -> Iterator[pa.Table]:
        offset = offset or self._log.begin_offset(*place)
        for records in stored_batches(self._log, {place: offset}, deadline=_WAIT):
            table, _ = ledger_table(records)
            yield (table if condition is None else table.filter(condition)).select(names)


def _begun_by(event: str, decisions: pa.Table) -> Any:
    """The emissions that the event began: it gives the beginning of their ids."""
    [decided] = decisions.slice(0, 1).to_pylist()
    return pc.starts_with(pc.field("emission_id"), emission_base(decided["type"], decided["object"], event))


def _by_outcome(table: pa.Table, column: str = "outcome") -> dict[str, int]:
    rows = table.group_by(column).aggregate([("kind", "count")]).to_pylist()
    return {row[column]: row["kind_count"] for row in rows}


_NEVER_CHANGES = frozenset({"sender_id", "type", "object"})
"""Columns that every state of a record has alike."""
_KEY = ["kind", "event_id", "user", "emission_id", "channel", "device", "owner", "key_group"]
_VERSION = [
    "kind", "key_group", "seq_offset", "seq_ordinal", "log_offset", "first_offset", "first_log_offset",
]  # fmt: skip


def _read_parts(directory: Path, manifest: ArchiveManifest, condition: Any, names: list[str]) -> pa.Table:
    files = [str(directory / part.file) for part in manifest.parts]
    if not files:
        return empty_table().select(names)
    parts = dataset.dataset(files, schema=SCHEMA, format="parquet")
    found: pa.Table = parts.to_table(columns=names, filter=condition)
    return found
