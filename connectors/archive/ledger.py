"""Queries over the ledger: the archive's parts and the tail of topic `ledger` behind them, the last state of each key.
What was heard later lies beside it: topic `outcomes`, archived in the same columns.

Works while the system runs and from any process. Where the rows are, and how few of them are read: `states` and `scan`.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

from connectors.archive.manifest import COLUMNAR
from connectors.archive.newest import newest_records
from connectors.archive.scan import RowTest, any_of, begins_with, equal, one_of, within
from connectors.archive.states import TOPIC, Hours, LedgerStates, of_group, of_people_of, states_of
from connectors.archive.variants import by_variant
from connectors.log.interface import Log
from connectors.log.read_to_ends import stored_batches
from connectors.paging import PAGE_WITHIN, ListCursor, Listed
from state.ledger import latest, records_of
from state.model.durations import HOUR_MS
from state.model.keys import emission_base, key_group, partition_of_group
from state.model.ledger import EventCounts
from state.model.work import SliceWork, decode_work

pc: Any = pyarrow.compute  # its stubs refuse expressions
_WAIT = timedelta(seconds=5)
_ROWS_AT_ONCE = 4_096
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
        self._states, self._log = LedgerStates(directory.parent, log), log
        self._partitions = self._states.partitions

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

    def newest(
        self, query: LedgerQuery, limit: int, start: ListCursor = (), give_up: timedelta = PAGE_WITHIN
    ) -> Listed[dict[str, Any]]:
        """A page of the records that match, those first which were written last. `give_up`: then it ends, full or not;
        it counts from before the log's tail is read.

        Of an event that went to many people, what it began itself is found.
        """
        group = None if query.user is None else key_group(query.user)
        until = time.monotonic() + give_up.total_seconds()

        def page() -> Listed[dict[str, Any]]:
            hours = self._states.by_hour(group)
            return _page(hours, query, limit, start, timedelta(seconds=until - time.monotonic()))[0]

        return self._states.consistent(page)

    def of_event(
        self, event: str, query: LedgerQuery, limit: int, start: ListCursor = (), give_up: timedelta = PAGE_WITHIN
    ) -> tuple[Listed[dict[str, Any]], EventCounts | None]:
        """A page as `newest` gives it, of an event, and its `progress`: out of one look at log and archive. None: there
        is no such record.
        """

        def both() -> tuple[Listed[dict[str, Any]], EventCounts | None]:
            hours = self._states.by_hour(None, COLUMNAR)
            page, decisions = _page(hours, replace(query, event=event), limit, start, give_up)
            every = decisions if query.user is None else None
            return page, self._progress(event, hours, every) if page.found else None

        return self._states.consistent(both)

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
        return self._states.consistent(lambda: self._progress(event, self._states.by_hour(None, COLUMNAR)))

    def _progress(self, event: str, hours: Hours, decided: pa.Table | None = None) -> EventCounts:
        decided = states_of(hours, _decided(LedgerQuery(event)), _OF_DECISIONS) if decided is None else decided
        decisions = latest(decided)
        groups, since_ms = len(pc.unique(decisions["key_group"])), _first_of(decisions)
        counts = EventCounts(
            _by_outcome(decisions), groups=groups, planned=self._planned(event, decisions.slice(0, 1)),
            why=_by_reason(decisions),
        )  # fmt: skip
        emissions = pc.unique(decisions["emission_id"].drop_null())
        few = len(emissions) <= _EMISSIONS_NAMED_MAX
        named = one_of("emission_id", emissions.to_pylist()) if few else _begun_by(event, decisions)
        about, people = any_of(named, equal("event_id", event)), of_people_of(decisions)
        heard = latest(states_of(hours, [*people, equal("kind", "outcome"), about], _OF_ANSWERS))
        counts = replace(counts, heard=_by_outcome(heard))
        if not len(emissions):
            return counts
        condition = [
            *people,
            named if few else equal("first_event_id", event),
            one_of("kind", ("emission", "delivery")),
        ]
        found = latest(states_of(hours, condition, _OF_DELIVERIES, since_ms))
        deliveries = found.filter(pc.field("kind") == "delivery")
        handed_out, segments, cost = (pc.sum(found[name]).as_py() or 0 for name in ("deliveries", "segments", "cost"))
        return replace(
            counts, handed_out=handed_out, deliveries=_by_outcome(deliveries), why_ended=_by_reason(deliveries),
            segments=segments, cost=round(cost, 6),
        )  # fmt: skip

    def campaign(self, name: str, sender: str) -> EventCounts:
        """The same over all events of a campaign, which is the object of each; and for what reasons they ended so, and
        what became of each variant of its text.
        """
        return self._states.consistent(lambda: self._campaign(name, sender, self._states.by_hour(None, COLUMNAR)))

    def _campaign(self, name: str, sender: str, hours: Hours) -> EventCounts:
        decided = [equal("object", name), equal("sender_id", sender), equal("kind", "decision")]
        columns = [*_VERSION, "event_id", "user", "outcome", "reason", "emission_id"]
        decisions = latest(states_of(hours, decided, columns))
        suppressed = decisions.filter(pc.field("outcome") == "SUPPRESSED")
        counts = EventCounts(_by_outcome(decisions), reasons=_by_outcome(suppressed, "reason"))
        named = one_of("emission_id", pc.unique(decisions["emission_id"].drop_null()).to_pylist())
        deliveries = latest(states_of(hours, [named, equal("kind", "delivery")], _OF_VARIANTS))
        heard = _heard_of(hours, named, decisions)
        variants = by_variant(decisions, deliveries, heard)
        return replace(counts, deliveries=_by_outcome(deliveries), heard=_by_outcome(heard), variants=variants)

    def variants(self, type_name: str, since_ms: int, tests: str) -> Mapping[str, Mapping[str, int]]:
        """What became of the variants of a type's text since then, without what the sender `tests` tried."""
        return self._states.consistent(
            lambda: _variants_of(self._states.by_hour(None, COLUMNAR), type_name, since_ms, tests)
        )

    def _planned(self, event: str, decisions: pa.Table) -> int | None:
        """How many key groups the event has slices for, as the slice says that one of its decisions follows from."""
        for row in decisions.to_pylist():
            place, offset = ("work", partition_of_group(row["key_group"], self._partitions)), row["first_offset"]
            if row["source"] != "d" or not self._log.begin_offset(*place) <= offset < self._log.end_offset(*place):
                continue
            found = stored_batches(self._log, {place: offset}, {place: offset + 1}, deadline=_WAIT, most=1)
            for record in itertools.chain.from_iterable(found):
                work = decode_work(record.value)
                if isinstance(work, SliceWork) and work.event.event_id == event and work.plan:
                    return int(work.plan, 16).bit_count()
        return None

    def undelivered(self, since_ms: int) -> Iterator[dict[str, Any]]:
        """Deliveries that ended as DEAD_LETTER since then, with the place of the record and who sent the event.

        Memory is that of few of their columns.
        """
        found = self._states.consistent(lambda: self._undelivered(since_ms, self._states.by_hour(None)))
        for some in found.to_batches(_ROWS_AT_ONCE):
            for row in some.to_pylist():
                partition = partition_of_group(row["key_group"], self._partitions)
                yield row | {"place": (TOPIC, partition, row["first_log_offset"])}

    def _undelivered(self, since_ms: int, hours: Hours) -> pa.Table:
        ended = [equal("outcome", "DEAD_LETTER"), equal("kind", "delivery"), within("time", since_ms, None)]
        columns = list(dict.fromkeys([*_VERSION, *_KEY, "source", "reason", "at", "first_event_id", "type"]))
        found = latest(states_of(hours, ended, columns, since_ms - HOUR_MS))
        about = one_of("event_id", pc.unique(found["first_event_id"].drop_null()).to_pylist())
        decisions = states_of(hours, [about, equal("kind", "decision")], ["event_id", "sender_id"])
        events, senders = (decisions[name].cast(pa.string()).combine_chunks() for name in ("event_id", "sender_id"))
        known = pc.index_in(found["first_event_id"].cast(pa.string()), value_set=events)
        return found.append_column("sender_id", senders.take(known))

    def everything(self, columns: list[str]) -> pa.Table:
        """The last state of every key, in these columns and those that order states: what the laws are checked on."""
        return latest(self._states.scan([], None, list(dict.fromkeys([*_VERSION, *_KEY, *columns]))))

    def _matching(self, query: LedgerQuery) -> pa.Table:
        tests, group = _tests(query), None if query.user is None else key_group(query.user)
        topics = COLUMNAR if "outcome" in query.kinds else (TOPIC,)
        if query.event is None:
            return self._states.scan(tests, group, topics=topics)
        decisions = self._states.scan(_decided(query), group, ["emission_id", "ingested_at", "key_group"])
        ids = pc.unique(decisions["emission_id"].drop_null()).to_pylist()
        related = any_of(equal("event_id", query.event), _of_emissions(ids))
        return self._states.scan(
            [*of_people_of(decisions), related, *tests], group, topics=topics, since_ms=_first_of(decisions)
        )


def _page(
    hours: Hours, query: LedgerQuery, limit: int, start: ListCursor, give_up: timedelta
) -> tuple[Listed[dict[str, Any]], pa.Table | None]:
    """The newest records that match and, of a query for an event, all states of its decisions."""
    group, since_ms, decisions = None if query.user is None else key_group(query.user), query.from_ms, None
    tests = [] if query.to_ms is None else [within("time", None, query.to_ms)]
    if query.event is not None:
        decisions = states_of(hours, of_group(_decided(query), group), _OF_DECISIONS)
        if not len(decisions):
            return Listed([], None), decisions
        ids, since_ms = pc.unique(decisions["emission_id"].drop_null()), _first_of(decisions)
        few = len(ids) <= _EMISSIONS_NAMED_MAX
        begun = _of_emissions(ids.to_pylist()) if few else equal("first_event_id", query.event)
        tests += [*of_people_of(decisions), any_of(equal("event_id", query.event), begun)]
    changing = [equal(name, value) for name, value in query.columns.items() if name not in _NEVER_CHANGES]
    tests = of_group([*changing, *tests, *_tests(query)], group)
    earliest = 0 if since_ms is None else since_ms - HOUR_MS
    return newest_records(hours, tests, limit, start, since_ms=earliest, give_up=give_up), decisions


def _tests(query: LedgerQuery) -> list[RowTest]:
    """What any state of a record must pass; a state before `from_ms` is either not the last, or does not match."""
    tests = [equal(name, query.columns[name]) for name in _NEVER_CHANGES if name in query.columns]
    tests = [*_of_user(query), *tests, one_of("kind", query.kinds)]
    return tests if query.from_ms is None else [within("time", query.from_ms, None), *tests]


def _decided(query: LedgerQuery) -> list[RowTest]:
    """Decisions on the event of a query."""
    return [equal("event_id", query.event), equal("kind", "decision"), *_of_user(query)]


def _of_user(query: LedgerQuery) -> list[RowTest]:
    return [] if query.user is None else [equal("user", query.user)]


def _of_emissions(ids: Sequence[str]) -> RowTest:
    """Emissions and deliveries; decisions name these, too."""
    named = one_of("emission_id", ids)

    def passes(table: pa.Table) -> Any:
        return pc.and_(named.passes(table), pc.not_equal(table["kind"], "decision"))

    return RowTest(("emission_id", "kind"), passes, named.possible)


def _first_of(decisions: pa.Table) -> int | None:
    """When the event of these decisions came in, with an hour for clocks that differ; None: they do not say."""
    came: int | None = pc.min(decisions["ingested_at"]).as_py()
    return None if not came else came - HOUR_MS


def _begun_by(event: str, decisions: pa.Table) -> RowTest:
    """The emissions that the event began: it gives the beginning of their ids."""
    [decided] = decisions.slice(0, 1).to_pylist()
    return begins_with("emission_id", emission_base(decided["type"], decided["object"], event))


def _variants_of(hours: Hours, type_name: str, since_ms: int, tests: str) -> Mapping[str, Mapping[str, int]]:
    sent = [equal("type", type_name), equal("kind", "delivery"), within("time", since_ms, None)]
    deliveries = latest(states_of(hours, sent, _OF_VARIANTS, since_ms - HOUR_MS))
    named = one_of("emission_id", pc.unique(deliveries["emission_id"]).to_pylist())
    columns = [*_VERSION, "event_id", "user", "emission_id", "sender_id"]
    decisions = latest(states_of(hours, [named, equal("kind", "decision")], columns))
    decisions = decisions.filter(pc.field("sender_id") != tests)
    told = pc.is_in(deliveries["emission_id"], value_set=pc.unique(decisions["emission_id"]))
    return by_variant(decisions, deliveries.filter(told), _heard_of(hours, named, decisions))


def _heard_of(hours: Hours, named: RowTest, decisions: pa.Table) -> pa.Table:
    """What was said of these emissions, or of the events of these decisions."""
    told = any_of(named, one_of("event_id", pc.unique(decisions["event_id"]).to_pylist()))
    return latest(states_of(hours, [equal("kind", "outcome"), told], _OF_ANSWERS))


def _by_outcome(table: pa.Table, column: str = "outcome") -> dict[str, int]:
    rows = table.group_by(column).aggregate([("kind", "count")]).to_pylist()
    return {row[column]: row["kind_count"] for row in rows}


def _by_reason(table: pa.Table) -> dict[tuple[str, str | None], int]:
    rows = table.group_by(["outcome", "reason"]).aggregate([("kind", "count")]).to_pylist()
    return {(row["outcome"], row["reason"]): row["kind_count"] for row in rows}


_NEVER_CHANGES = frozenset({"sender_id", "type", "object", "priority", "channel"})
"""Columns that every state of a record has alike."""
_KEY = ["kind", "event_id", "user", "emission_id", "channel", "device", "owner", "key_group"]
_VERSION = [
    "kind", "key_group", "seq_offset", "seq_ordinal", "log_offset", "first_offset", "first_log_offset",
]  # fmt: skip
_OF_DECISIONS = [
    *_VERSION, "event_id", "user", "outcome", "reason", "emission_id", "source", "type", "object", "ingested_at",
]  # fmt: skip
_OF_DELIVERIES = [
    *_VERSION, "emission_id", "user", "channel", "device", "outcome", "reason", "deliveries", "segments", "cost",
]  # fmt: skip
_OF_VARIANTS = [*_VERSION, "emission_id", "user", "channel", "device", "outcome", "variant"]
_OF_ANSWERS = list(dict.fromkeys([*_VERSION, *_KEY, "question", "outcome"]))
