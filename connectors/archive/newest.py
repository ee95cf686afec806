"""Pages of the ledger, from what was written last back, an hour of the archive at a time, or less of the last one.

A page ends when it is full or when its time is up; then it says how far it looked, and where to go on. Records are in
the order of the log's time; those of one millisecond by their own. A decision that is not final is shown as long as no
later state of it was written. What a crashed process wrote twice, on both sides of the end of an hour, may come twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from connectors.archive.parquet import HOUR_MS
from connectors.archive.scan import RowPlaces, RowTest, equal, one_of, within
from connectors.archive.states import Hours, Source, tables_of
from connectors.paging import ListCursor, Listed
from state.ledger import COLUMNS_OF, KINDS, empty_table, latest, records_of
from state.model.ledger import TERMINAL_DECISIONS
from state.packed import row_numbers

pc: Any = pyarrow.compute  # its stubs refuse value sets
_EVER = 1 << 62
_SPAN_MS = 30_000
"""What is looked at first of an hour that is not merged; then sixteen times as much, and the rest."""
_KINDS, _TERMINAL, _DECISION = pa.array(KINDS), pa.array(TERMINAL_DECISIONS), pa.scalar("decision")
"""Made once: whenever pyarrow takes a value of Python, it looks for a library that is not there."""
_ORDER = ("log_ms", "time", "log_offset")
_STATE = ["kind", "event_id", "user", "seq_offset", "seq_ordinal", "log_offset", "first_offset", "first_log_offset"]


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
    for hour, low, high in _spans(hours, sorted(wanted, reverse=True), before_ms):
        whole = high - low == HOUR_MS
        hits = _hits(hours, hour, tests if whole else [*tests, within("log_ms", low, high)], skip + left)
        shown = hits.chosen(slice(skip, skip + left))
        found.append(_rows(hours[hour], shown))
        left -= len(shown.row)
        if not left:
            return Listed(_records(found), _behind(hits, shown, skip))
        skip = max(0, skip - len(hits.row))
        if low != min(wanted) * HOUR_MS and time.monotonic() > until:
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
            high, step = high - step, 16 * step


def _behind(hits: _Hits, shown: _Hits, skipped: int) -> ListCursor:
    """Behind the last that was shown; of its millisecond some may be left."""
    last = int(shown.log_ms[-1])
    first = int(np.searchsorted(-hits.log_ms, -last))
    return last + 1, skipped + len(shown.row) - first


def _hits(hours: Hours, hour: int, tests: Sequence[RowTest], window: int) -> _Hits:
    """All of the span. Whether a decision was ended is asked if one that may be is among the first `window`."""
    hits = _all_hits(hours[hour], tests)
    if not hits.is_open[:window].any():
        return hits
    ended = _ended(hours, hour, tests)
    places = zip(hits.source.tolist(), hits.place.tolist(), hits.row.tolist(), strict=True)
    return hits.chosen(np.array([place not in ended for place in places], bool))


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


def _ended(hours: Hours, hour: int, tests: Sequence[RowTest]) -> set[tuple[int, int, int]]:
    """Places of decisions of the hour of which a later state was written, then or since."""
    places: list[tuple[int, int, int]] = []
    held: list[pa.Table] = []
    for number, source in enumerate(hours[hour]):
        for place, rows, table in source.matching([*tests, _is_open], _STATE):
            places += [(number, place, row) for row in rows.tolist()]
            held.append(table)
    mine = pa.concat_tables(held)
    events = pc.unique(mine["event_id"]).to_pylist()
    since = list(tables_of(hours, [one_of("event_id", events), equal("kind", "decision")], _STATE, hour))
    numbers = np.concatenate([np.arange(len(mine)), np.full(sum(map(len, since)), -1)])
    states = pa.concat_tables([mine, *since]).append_column("number", pa.array(numbers))
    left = {*latest(states)["number"].to_pylist()}
    return {place for number, place in enumerate(places) if number not in left}


def _rows(sources: Sequence[Source], shown: _Hits) -> pa.Table:
    """All columns, in the same order. Those that no record of these kinds has are not read."""
    tables, order = [empty_table()], [np.array([], np.int64)]
    for source, place in sorted({*zip(shown.source.tolist(), shown.place.tolist(), strict=True)}):
        here = np.flatnonzero((shown.source == source) & (shown.place == place))
        names = dict.fromkeys(name for kind in {*shown.kind[here].tolist()} for name in COLUMNS_OF[KINDS[kind]])
        tables.append(sources[source].rows(place, shown.row[here], list(names)))
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
