"""The three laws (RULES 5, TOPICS.md "Laws"): nothing that was accepted is lost, and nothing appears from nowhere.

Every term is counted by its owner on its own; the ledger's records are counted here. Owners count at different
instants. So each law is taken per key group at the place up to which its owner counted, and where two owners met the
stream at different places, the ledger's own records between the two places are the bridge. Two further equations hold
the records themselves against the counts: pending decisions, and what the emission records say was handed out.

Pure: it gets the last state of every key (columns of `state/ledger.py`) and, if there is one, what was counted row by
row in the inbox stores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute

from state.model.keys import KEY_GROUPS
from state.model.ledger import TERMINAL_DECISIONS, TERMINAL_DELIVERIES

pc: Any = pyarrow.compute
Longs = npt.NDArray[np.int64]
Terms = dict[str, Longs]
"""Name of a term to its value per key group."""
COLUMNS = ["source", "log_ms", "outcome", "inbox", "deliveries", "totals"]
"""What is needed of the ledger beside its keys and places."""
_DECIDERS = {"d": "decide", "t": "transactional"}
_DELIVERERS = {"d": "deliver", "t": "transactional"}


@dataclass(frozen=True, slots=True)
class CountedRows:
    """What an inbox store holds of a key group, counted row by row."""

    items: int
    taken_back: int
    retired: int
    offsets: Mapping[str, int]
    """Per source, the place in its decision log that the rows include."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A key group in which a law does not hold."""

    group: int
    source: str
    left: Mapping[str, int]
    right: Mapping[str, int]

    @property
    def difference(self) -> int:
        """Left minus right."""
        return sum(self.left.values()) - sum(self.right.values())


@dataclass(frozen=True, slots=True)
class Law:
    """One equation, summed over all key groups and sources."""

    name: str
    left: Mapping[str, int]
    right: Mapping[str, int]
    mismatches: Sequence[Mismatch]

    @property
    def difference(self) -> int:
        """Left minus right; 0 also where mismatches of several groups cancel out."""
        return sum(self.left.values()) - sum(self.right.values())


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that an owner should have counted by now and has not: its counts are missing or stopped."""

    owner: str
    group: int
    records: int


@dataclass(frozen=True, slots=True)
class LawReport:
    """All laws at one look."""

    laws: Sequence[Law]
    gaps: Sequence[Gap]

    @property
    def holds(self) -> bool:
        """Whether every law holds in every group, and every owner keeps counting."""
        return not self.gaps and not any(law.mismatches for law in self.laws)


def check_laws(ledger: pa.Table, rows: Mapping[int, CountedRows] | None = None, *, settled_ms: int) -> LawReport:
    """Check everything.

    `rows`: the stores' own rows per group; None: what the inbox flow published is used. Records that were
    appended before `settled_ms` must be in some count by now.
    """
    facts = _Facts(ledger, rows)
    laws = [
        _law("1", [_decisions_law(facts, source) for source in _DECIDERS]),
        _law("1 pending", [_pending_law(facts, source) for source in _DECIDERS]),
        _law("2", [_deliveries_law(facts, source) for source in _DECIDERS]),
        _law("2 emissions", [_emissions_law(facts, source) for source in _DECIDERS]),
        _law("3", [_inbox_law(facts)]),
    ]
    return LawReport(laws, _gaps(facts, settled_ms))


@dataclass(frozen=True, slots=True)
class _Equation:
    source: str
    left: Terms
    right: Terms


class _Kind:
    """The columns of one kind of record, as arrays."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.group: Longs = _longs(table, "key_group")
        self.offset: Longs = _longs(table, "seq_offset")
        self.first: Longs = _longs(table, "first_offset")
        self.place: Longs = _longs(table, "first_log_offset")
        self.log_ms: Longs = _longs(table, "log_ms")
        self.source = np.array(table["source"].to_pylist(), dtype=object)

    def per_group(self, condition: npt.NDArray[np.bool_], weights: Longs | None = None) -> Longs:
        """Records that meet the condition, or their weights, summed per group."""
        chosen = None if weights is None else weights[condition].astype(np.float64)
        return np.bincount(self.group[condition], weights=chosen, minlength=KEY_GROUPS).astype(np.int64)


class _Facts:
    """What the equations are made of."""

    def __init__(self, ledger: pa.Table, rows: Mapping[int, CountedRows] | None) -> None:
        kinds = {
            kind: ledger.filter(pc.field("kind") == kind) for kind in ("decision", "emission", "delivery", "counts")
        }
        self.decisions, self.emissions = _Kind(kinds["decision"]), _Kind(kinds["emission"])
        self.deliveries = _Kind(kinds["delivery"])
        self.terminal = _is_in(kinds["decision"], TERMINAL_DECISIONS)
        self.with_inbox = _flags(kinds["decision"], "inbox")
        self.delivered = _is_in(kinds["delivery"], TERMINAL_DELIVERIES)
        self.handed_out = _longs(kinds["emission"], "deliveries")
        self.deliveries.source = _sources_of(kinds["delivery"], kinds["emission"])
        self.counts = _Counts(kinds["counts"])
        self.published = self.counts.has("inbox")
        if rows is not None:
            self.counts.put_rows(rows)


class _Counts:
    """The last counts of each owner per group; 0 where there are none, places -1."""

    def __init__(self, table: pa.Table) -> None:
        self._totals: dict[str, dict[int, dict[str, int]]] = {}
        for row in table.select(["owner", "key_group", "totals", "log_offset"]).to_pylist():
            totals = {**orjson.loads(row["totals"]), "place": row["log_offset"]}
            self._totals.setdefault(row["owner"], {})[row["key_group"]] = totals

    def has(self, owner: str) -> npt.NDArray[np.bool_]:
        """Groups for which there are counts of an owner."""
        present = np.zeros(KEY_GROUPS, np.bool_)
        present[list(self._totals.get(owner, ()))] = True
        return present

    def term(self, owner: str, name: str, missing: int = 0) -> Longs:
        """One running total per group."""
        values = np.full(KEY_GROUPS, missing, np.int64)
        for group, totals in self._totals.get(owner, {}).items():
            values[group] = totals.get(name, missing)
        return values

    def put_rows(self, rows: Mapping[int, CountedRows]) -> None:
        """Counted row by row, in place of what the inbox flow published."""
        self._totals["inbox"] = {
            group: {
                "items": counted.items,
                "taken_back": counted.taken_back,
                "retired": counted.retired,
                "offset": counted.offsets.get("d", -1),
                "offset_transactional": counted.offsets.get("t", -1),
            }
            for group, counted in rows.items()
        }

    def reached(self, owner: str, name: str = "offset") -> Longs:
        """The place up to which an owner counted; -1: nothing yet."""
        return self.term(owner, name, missing=-1)


def _decisions_law(facts: _Facts, source: str) -> _Equation:
    owner, records = _DECIDERS[source], facts.decisions
    counted = facts.counts.reached(owner)
    terminal = facts.terminal & (records.source == source) & (records.offset <= counted[records.group])
    return _Equation(
        source,
        {"resolved": facts.counts.term(owner, "resolved")},
        {
            "terminal": records.per_group(terminal),
            "held": facts.counts.term(owner, "held"),
            "aggregating": facts.counts.term(owner, "aggregating"),
        },
    )


def _pending_law(facts: _Facts, source: str) -> _Equation:
    owner, records = _DECIDERS[source], facts.decisions
    counted = facts.counts.reached(owner)[records.group]
    pending = (records.source == source) & (records.first <= counted) & ((records.offset > counted) | ~facts.terminal)
    held, aggregating = facts.counts.term(owner, "held"), facts.counts.term(owner, "aggregating")
    return _Equation(source, {"held": held, "aggregating": aggregating}, {"pending": records.per_group(pending)})


def _deliveries_law(facts: _Facts, source: str) -> _Equation:
    decider, deliverer = _DECIDERS[source], _DELIVERERS[source]
    records = facts.deliveries
    before = records.place < facts.counts.reached(deliverer, "place")[records.group]
    emitted = facts.counts.reached(decider)
    taken = facts.counts.reached(deliverer)
    return _Equation(
        source,
        {
            "emitted": facts.counts.term(decider, "emitted"),
            "fallbacks": facts.counts.term(deliverer, "fallbacks"),
            "between": _between(facts.emissions, source, emitted, taken, facts.handed_out),
        },
        {
            "terminal": records.per_group(facts.delivered & before & (records.source == source)),
            "in_flight": facts.counts.term(deliverer, "in_flight"),
        },
    )


def _emissions_law(facts: _Facts, source: str) -> _Equation:
    owner, records = _DECIDERS[source], facts.emissions
    counted = (records.source == source) & (records.offset <= facts.counts.reached(owner)[records.group])
    emitted = facts.counts.term(owner, "emitted")
    return _Equation(source, {"emitted": emitted}, {"on_record": records.per_group(counted, facts.handed_out)})


def _inbox_law(facts: _Facts) -> _Equation:
    counts, records = facts.counts, facts.decisions
    weights = facts.with_inbox.astype(np.int64)
    between = sum(
        _between(records, source, counts.reached(owner), counts.reached("inbox", name), weights, first=True)
        for source, owner, name in (("d", "decide", "offset"), ("t", "transactional", "offset_transactional"))
    )
    items = sum(counts.term(owner, "inbox_items") for owner in _DECIDERS.values())
    taken_back, retired = counts.term("inbox", "taken_back"), counts.term("inbox", "retired")
    return _Equation(
        "",
        {"items": counts.term("inbox", "items")},
        {
            "inbox_items": np.asarray(items),
            "between": np.asarray(between),
            "taken_back": -taken_back,
            "retired": -retired,
        },
    )


def _between(
    records: _Kind, source: str, counted: Longs, reached: Longs, weights: Longs, *, first: bool = False
) -> Longs:
    """What the records say happened behind `counted` up to `reached`; negative where `reached` is the lower one."""
    places, mine = records.first if first else records.offset, records.source == source
    low, high = counted[records.group], reached[records.group]
    ahead = mine & (places > low) & (places <= high)
    behind = mine & (places > high) & (places <= low)
    return records.per_group(ahead, weights) - records.per_group(behind, weights)


def _law(name: str, equations: Sequence[_Equation]) -> Law:
    left: dict[str, int] = {}
    right: dict[str, int] = {}
    mismatches: list[Mismatch] = []
    for equation in equations:
        for side, terms in ((left, equation.left), (right, equation.right)):
            for term, values in terms.items():
                side[term] = side.get(term, 0) + int(values.sum())
        mismatches += _mismatches(equation)
    return Law(name, left, right, mismatches)


def _mismatches(equation: _Equation) -> list[Mismatch]:
    difference = sum(equation.left.values()) - sum(equation.right.values())
    return [
        Mismatch(
            int(group),
            equation.source,
            {name: int(values[group]) for name, values in equation.left.items()},
            {name: int(values[group]) for name, values in equation.right.items()},
        )
        for group in np.flatnonzero(difference)
    ]


def _gaps(facts: _Facts, settled_ms: int) -> list[Gap]:
    gaps: list[Gap] = []
    for source, owner in _DECIDERS.items():
        reached = facts.counts.reached(owner)
        gaps += _uncounted(facts.decisions, facts.terminal, source, owner, reached, settled_ms)
        gaps += _uncounted(facts.emissions, facts.handed_out > 0, source, owner, reached, settled_ms)
    for source, owner in _DELIVERERS.items():
        records, place = facts.deliveries, facts.counts.reached(owner, "place")
        late = (records.source == source) & (records.place > place[records.group]) & (records.log_ms < settled_ms)
        gaps += _gaps_of(owner, records.per_group(late))
    reached = facts.counts.reached("deliver")
    gaps += _uncounted(facts.emissions, facts.handed_out > 0, "d", "deliver", reached, settled_ms)
    for source, name in (("d", "offset"), ("t", "offset_transactional")):
        reached = np.where(facts.published, facts.counts.reached("inbox", name), -1)
        gaps += _uncounted(facts.decisions, facts.with_inbox, source, "inbox", reached, settled_ms, first=True)
    return gaps


def _uncounted(
    records: _Kind, which: npt.NDArray[np.bool_], source: str, owner: str, reached: Longs, settled_ms: int,
    *, first: bool = False,
) -> list[Gap]:  # fmt: skip
    places = records.first if first else records.offset
    late = which & (records.source == source) & (places > reached[records.group]) & (records.log_ms < settled_ms)
    return _gaps_of(owner, records.per_group(late))


def _gaps_of(owner: str, records: Longs) -> list[Gap]:
    return [Gap(owner, int(group), int(records[group])) for group in np.flatnonzero(records)]


def _longs(table: pa.Table, name: str) -> Longs:
    column: Longs = pc.fill_null(table[name].cast(pa.int64()), 0).to_numpy()
    return column


def _flags(table: pa.Table, name: str) -> npt.NDArray[np.bool_]:
    column: npt.NDArray[np.bool_] = pc.fill_null(table[name], False).to_numpy()
    return column


def _is_in(table: pa.Table, outcomes: Sequence[str]) -> npt.NDArray[np.bool_]:
    column: npt.NDArray[np.bool_] = pc.is_in(table["outcome"], value_set=pa.array(outcomes)).to_numpy()
    return column


def _sources_of(deliveries: pa.Table, emissions: pa.Table) -> Any:
    """A delivery belongs to whoever emitted it; where that record is missing, to who wrote it."""
    ids = emissions["emission_id"].combine_chunks()
    places = pc.index_in(deliveries["emission_id"], value_set=ids)
    of_emission = emissions["source"].combine_chunks().take(places.combine_chunks()).to_pylist()
    own = deliveries["source"].to_pylist()
    found = [emitted or ("t" if mine == "t" else "d") for emitted, mine in zip(of_emission, own, strict=True)]
    return np.array(found, dtype=object)
