"""Rows of a table or of a Parquet part that pass tests, without reading what no test names.

Columns are read in the order of the tests, for the row groups alone whose bounds and filters allow a match
(`part_ends`) and of which a row passed the tests before. Only of rows that pass all of them the wanted columns are
read. A million rows cost some 40 ms of one core for each column that a test names; all columns would take two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from connectors.archive.part_ends import Extent, RowGroup, opened_part, row_groups_of
from state.ledger import SCHEMA
from state.packed import row_numbers

pc: Any = pyarrow.compute  # its stubs refuse chunked arrays beside scalars
RowPlaces = npt.NDArray[np.int64]
_FEW = 4_096
"""Of so few rows the columns of all tests are read at once: each call costs more than they do."""


class RowTest(NamedTuple):
    """What a row must pass. A value that is null does not pass."""

    columns: tuple[str, ...]
    passes: Callable[[pa.Table], Any]
    """For each row of a table that has the columns: true, false or null."""
    possible: Callable[[Extent], bool] = bool
    """Whether some rows may have one that passes; so may any where nothing is given."""
    recipients: Callable[[pa.Table], Any] | None = None
    """For each recipient of a slice, whose columns these are: whether his records may pass. None: each may."""


def equal(name: str, value: Any) -> RowTest:
    """A column has this value."""
    wanted = pa.scalar(value)

    def passes(table: pa.Table) -> Any:
        return pc.equal(table[name], wanted)

    return RowTest((name,), passes, _may_be(name, [value]), passes if name == "user" else None)


def one_of(name: str, values: Sequence[str]) -> RowTest:
    """A column has one of these values."""
    known = pa.array(values, pa.string())
    return RowTest((name,), lambda table: pc.is_in(table[name], value_set=known), _may_be(name, values))


def one_of_numbers(name: str, numbers: Sequence[int]) -> RowTest:
    """A column has one of these numbers, which are few: each is compared with the bounds."""
    known = pa.array(numbers)
    return RowTest(
        (name,),
        lambda table: pc.is_in(table[name], value_set=known.cast(table[name].type)),
        lambda group: any(group.may_lie(name, number, number) for number in numbers),
    )


def _may_be(name: str, values: Sequence[Any]) -> Callable[[Extent], bool]:
    low, high = min(values, default=None), max(values, default=None)
    return lambda group: bool(values) and group.may_lie(name, low, high) and group.may_have(name, values)


def within(name: str, low: int | None, high: int | None) -> RowTest:
    """A column is `low` or more, and below `high`; None: without bound."""
    first, last = -(1 << 62) if low is None else low, (1 << 62) if high is None else high - 1
    least, most = pa.scalar(first, pa.int64()), pa.scalar(last, pa.int64())

    def passes(table: pa.Table) -> Any:
        return pc.and_(pc.greater_equal(table[name], least), pc.less_equal(table[name], most))

    return RowTest((name,), passes, lambda group: group.may_lie(name, first, last))


def begins_with(name: str, start: str) -> RowTest:
    """A column's text begins so."""
    return RowTest((name,), lambda table: pc.starts_with(table[name], start))


def any_of(*tests: RowTest) -> RowTest:
    """One of the tests is passed."""

    def passes(table: pa.Table) -> Any:
        found = [pc.fill_null(test.passes(table), fill_value=False) for test in tests]
        passed = found[0]
        for each in found[1:]:
            passed = pc.or_(passed, each)
        return passed

    columns = tuple(dict.fromkeys(name for test in tests for name in test.columns))
    return RowTest(columns, passes, lambda group: any(test.possible(group) for test in tests))


def matching(table: pa.Table, tests: Sequence[RowTest]) -> pa.Table:
    """The rows of a table that pass all tests."""
    for test in tests:
        table = table.filter(test.passes(table))
    return table


def matching_rows(
    file: Path, tests: Sequence[RowTest], names: Sequence[str]
) -> Iterator[tuple[int, RowPlaces, pa.Table]]:
    """Number of a row group, rows of it that pass all tests, and these columns of them.

    :raises FileNotFoundError: the part was merged away.
    """
    chosen = [group for group in row_groups_of(file) if all(test.possible(group) for test in tests)]
    if not chosen:
        return
    with opened_part(file, memory_map=True) as part:
        for group in chosen:
            rows = _passing(part, group, tests)
            if rows is None or len(rows):
                yield group.number, *_read(part, group.number, rows, names)


def newest_row_ms(file: Path) -> int | None:
    """When the last row of a part was written, by the log's time; None: it does not say.

    :raises FileNotFoundError: the part was merged away.
    """
    told = [group.bounds.get("log_ms") for group in row_groups_of(file)]
    newest = [bounds[1] for bounds in told if bounds is not None]
    return max(newest) if newest and len(newest) == len(told) else None


def rows_at(file: Path, number: int, rows: RowPlaces, names: Sequence[str]) -> pa.Table:
    """These columns of some rows of a row group.

    :raises FileNotFoundError: the part was merged away.
    """
    with opened_part(file, memory_map=True) as part:
        return _read(part, number, rows, names)[1]


def _passing(part: pq.ParquetFile, group: RowGroup, tests: Sequence[RowTest]) -> RowPlaces | None:
    """Rows that pass; None: all of them, since there is no test."""
    rows: RowPlaces | None = None
    number, few = group.number, group.rows <= _FEW
    all_of_them = list(dict.fromkeys(name for test in tests for name in test.columns))
    whole = part.read_row_group(number, columns=all_of_them, use_threads=False) if few else None
    for test in tests:
        table = (
            whole if whole is not None else part.read_row_group(number, columns=list(test.columns), use_threads=False)
        )
        passed = np.asarray(pc.fill_null(test.passes(table), fill_value=False))
        rows = np.flatnonzero(passed) if rows is None else rows[passed[rows]]
        if not len(rows):
            break
    return rows


def _read(
    part: pq.ParquetFile, number: int, rows: RowPlaces | None, names: Sequence[str]
) -> tuple[RowPlaces, pa.Table]:
    """Columns that parts of earlier releases lack are null."""
    there = set(part.schema_arrow.names)
    size = part.metadata.row_group(number).num_rows
    table = part.read_row_group(number, columns=[name for name in names if name in there], use_threads=False)
    if rows is None:
        rows = np.arange(size)
    else:
        table = table.take(row_numbers(rows))
    columns = [table[name] if name in there else pa.nulls(len(rows), SCHEMA.field(name).type) for name in names]
    return rows, pa.table(columns, names=list(names)).cast(pa.schema([SCHEMA.field(name) for name in names]))
