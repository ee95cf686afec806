"""Pages of the ledger, from what was written last back, an hour of the archive at a time, or less of the last one.

A page ends when it is full, or when its time would be up before it had looked once more for half as long again as the
last time; then it says how far it looked, and where to go on. Records are in the order of the log's time; those of one
millisecond by their own. A decision that is not final is shown as long as no later state of it was written. What a
crashed process wrote twice, on both sides of the end of an hour, may come twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from connectors.archive.scan import RowPlaces, RowTest, equal, one_of, within
from connectors.archive.states import Hours, Source, tables_of
from connectors.paging import ListCursor, Listed
from state.ledger import COLUMNS_OF, KINDS, SCHEMA, empty_table, latest, records_of
from state.model.durations import HOUR_MS
from state.model.ledger import TERMINAL_DECISIONS
from state.packed import row_numbers

pc: Any = pyarrow.compute  # its stubs refuse value sets
_EVER = 1 << 62
_SPAN_MS = 30_000
"""What is looked at first of an hour that is not merged; then four times as much, and so on."""
_LONGER = 1.5
"""How much longer four times as much takes, about; up to 2.5 was seen."""
_KINDS, _TERMINAL, _DECISION = pa.array(KINDS), pa.array(TERMINAL_DECISIONS), pa.scalar("decision")
"""Made once: whenever pyarrow takes a value of Python, it looks for a library that is not there."""
_ORDER = ("log_ms", "time", "log_offset")
_STATE = [
    "kind", "event_id", "user", "until", "seq_offset", "seq_ordinal", "log_offset", "first_offset", "first_log_offset",
]  # fmt: skip


class _Hits(NamedTuple):
    """Rows of an hour that match, the newest first: columns of the same length."""

    log_ms: RowPlaces
    time: RowPlaces
    log_offset: RowPlaces
    source: RowPlaces
    place: RowPlaces
    row: RowPlaces
    kind: RowPlaces
    """Numbers of `KINDS`."""
    is_open: RowPlaces
    """1: a decision of which a later state may have been written."""

    def chosen(self, rows: Any) -> _Hits:
        """Some of them."""
        return _Hits(*(column[rows] for column in self))


_NONE = _Hits(*[np.array([], np.int64)] * 8)


def newest_records(
    hours: Hours, tests: Sequence[RowTest], limit: int, start: ListCursor, *, since_ms: int, give_up: timedelta
) -> Listed[dict[str, Any]]:
    """A page of at most so many records; what was written in the hours before `since_ms` is left out.

    `start`: before which time, by the log, and how many of the first were shown already.

    :raises FileNotFoundError: a part was merged away meanwhile.
    """
    until, (before_ms, skip) = time.monotonic() + give_up.total_seconds(), start or (_EVER, 0)
    wanted = [hour for hour in hours if since_ms // HOUR_MS <= hour and hour * HOUR_MS < before_ms]
    found: list[pa.Table] = []
    left = limit
    began = time.monotonic()
    for hour, low, high in _spans(hours, sorted(wanted, reverse=True), before_ms):
        whole = high - low == HOUR_MS
        hits = _hits(hours, hour, tests if whole else [*tests, within("log_ms", low, high)], skip + left)
        shown = hits.chosen(slice(skip, skip + left))
        found.append(_rows(hours[hour], shown, SCHEMA.names))
        left -= len(shown.row)
        if not left:
            return Listed(_records(found), _behind(hits, shown, skip))
        skip = max(0, skip - len(hits.row))
        took, began = time.monotonic() - began, time.monotonic()
        if low != min(wanted) * HOUR_MS and began + _LONGER * took > until:
            return Listed(_records(found), (low, 0), low)
    return Listed(_records(found), None)


def _spans(hours: Hours, wanted: Sequence[int], before_ms: int) -> Iterator[tuple[int, int, int]]:
    """An hour, and the times of [low, high) in it, from the newest back: a merged hour at once, since each of its parts
    has rows of all times; of one that goes on a short span first, which often fills a page.
    """
    for hour in wanted:
        low, high = hour * HOUR_MS, min(before_ms, (hour + 1) * HOUR_MS)
        newest, step = [source.newest_ms() for source in hours[hour]], HOUR_MS
        if None not in newest:
            high, step = min(high, 1 + max(at for at in newest if at is not None)), _SPAN_MS
        while high > low:
            yield hour, max(low, high - step), high
            high, step = high - step, 4 * step


def _behind(hits: _Hits, shown: _Hits, skipped: int) -> ListCursor:
    """Behind the last that was shown; of its millisecond some may be left."""
    last = int(shown.log_ms[-1])
    first = int(np.searchsorted(-hits.log_ms, -last))
    return last + 1, skipped + len(shown.row) - first


def _hits(hours: Hours, hour: int, tests: Sequence[RowTest], window: int) -> _Hits:
    """All of the span. Whether a decision was ended is asked if one that may be is among the first `window`."""
    hits = _all_hits(hours[hour], tests)
    is_open = hits.is_open.astype(bool)
    if not is_open[:window].any():
        return hits
    shown = ~is_open
    shown[is_open] = _last_states(hours, hour, _rows(hours[hour], hits.chosen(is_open), _STATE))
    return hits.chosen(shown)


def _all_hits(sources: Sequence[Source], tests: Sequence[RowTest]) -> _Hits:
    found: list[_Hits] = []
    for number, source in enumerate(sources):
        for place, rows, table in source.matching(tests, [*_ORDER, "kind", "outcome"]):
            is_open = _is_open.passes(table).to_numpy().astype(np.int64)
            kinds = pc.index_in(table["kind"], value_set=_KINDS).to_numpy().astype(np.int64)
            of = np.full(len(rows), number), np.full(len(rows), place)
            log_ms, at, offset = (table[name].to_numpy() for name in _ORDER)
            found.append(_Hits(log_ms, at, offset, *of, rows, kinds, is_open))
    hits = _Hits(*(np.concatenate(columns) for columns in zip(_NONE, *found, strict=True)))
    return hits.chosen(np.lexsort((hits.row, hits.place, hits.source, -hits.log_offset, -hits.time, -hits.log_ms)))


def _last_states(hours: Hours, hour: int, held: pa.Table) -> Any:
    """For each of these decisions of the hour, which were not final: whether no later state was written, then or since.

    Nearly all end in the hour to which they were held. So the others are read for those alone that did not.
    """
    last = np.zeros(len(held), bool)
    held = held.append_column("number", pa.array(np.arange(len(held))))
    expected = {at // HOUR_MS for at in pc.unique(held["until"]).to_pylist() if at is not None}
    for later in sorted((each for each in hours if each >= hour), key=lambda each: (each not in expected, each)):
        if not len(held):
            break
        about = [one_of("event_id", pc.unique(held["event_id"]).to_pylist()), equal("kind", "decision")]
        found = list(tables_of({later: hours[later]}, about, _STATE, later))
        numbers = pa.array(np.full(sum(map(len, found)), -1))
        since = pa.concat_tables([held.slice(0, 0).drop_columns("number"), *found]).append_column("number", numbers)
        states = latest(pa.concat_tables([held, since]))
        held = states.filter(pc.field("number") >= 0)
    last[held["number"].to_numpy()] = True
    return last


def _rows(sources: Sequence[Source], hits: _Hits, names: Sequence[str]) -> pa.Table:
    """Columns in the same order. Those that no record of these kinds has are null, and not read."""
    tables, order = [empty_table().select(list(names))], [np.array([], np.int64)]
    for source, place in sorted({*zip(hits.source.tolist(), hits.place.tolist(), strict=True)}):
        here = np.flatnonzero((hits.source == source) & (hits.place == place))
        known = {name for kind in {*hits.kind[here].tolist()} for name in COLUMNS_OF[KINDS[kind]]}
        tables.append(sources[source].rows(place, hits.row[here], [name for name in names if name in known]))
        order.append(here)
    whole = pa.concat_tables(tables, promote_options="default")
    return whole.take(row_numbers(np.argsort(np.concatenate(order))))


def _records(found: Sequence[pa.Table]) -> list[dict[str, Any]]:
    """Each once; a resumed flow writes the same bytes again."""
    return records_of(latest(pa.concat_tables([empty_table(), *found])))


def _open_decisions(table: pa.Table) -> Any:
    ended = pc.is_in(table["outcome"], value_set=_TERMINAL)
    return pc.and_(pc.equal(table["kind"], _DECISION), pc.invert(ended))


_is_open = RowTest(("kind", "outcome"), _open_decisions)
