"""All states of the ledger's records: the archive's parts and the tail of the log behind them, by the hour in which
they were written.

Nothing is missing or double, since parts and offset of a manifest change together: the log is read from the manifest's
offset to the end that it had then.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute
import structlog

from connectors.archive.manifest import SLICE_SUFFIX, read_manifest
from connectors.archive.scan import (
    RowPlaces,
    RowTest,
    equal,
    matching,
    matching_rows,
    newest_row_ms,
    one_of_numbers,
    rows_at,
    within,
)
from connectors.archive.slice_parts import KeptSource
from connectors.log.interface import Log, Record
from connectors.log.read_to_ends import stored_batches
from state.ledger import SCHEMA, empty_table, ledger_table
from state.model.durations import HOUR_MS
from state.model.envelope import header, parse_output_header
from state.model.keys import partition_of_group
from state.packed import row_numbers

pc: Any = pyarrow.compute  # its stubs refuse chunked arrays
TOPIC = "ledger"
T = TypeVar("T")
_WAIT = timedelta(seconds=5)
_TRIES = 3
_GROUPS_MAX = 32
"""Of more key groups nearly every row group has some."""
_logger = structlog.get_logger(__name__)
Found = tuple[int, RowPlaces, pa.Table]
"""A place within a source, rows of it, and columns of these."""


class PartSource:
    """A part of the archive."""

    def __init__(self, file: Path, *, merged: bool) -> None:
        self._file, self._merged = file, merged

    def newest_ms(self) -> int | None:
        """When its last row was written, by the log's time; None: it has those of a whole hour, or does not say."""
        return None if self._merged else newest_row_ms(self._file)

    def matching(self, tests: Sequence[RowTest], names: Sequence[str]) -> Iterator[Found]:
        """What passes all tests."""
        return matching_rows(self._file, tests, names)

    def rows(self, place: int, rows: RowPlaces, names: Sequence[str]) -> pa.Table:
        """These columns of these rows."""
        return rows_at(self._file, place, rows, names)


class TailSource:
    """What is in the log alone."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def newest_ms(self) -> int | None:
        """When its last row was written, by the log's time."""
        newest: int | None = pc.max(self._table["log_ms"]).as_py()
        return newest

    def matching(self, tests: Sequence[RowTest], names: Sequence[str]) -> Iterator[Found]:
        """What passes all tests."""
        numbered = self._table.append_column("row", pa.array(range(len(self._table)), pa.int64()))
        found = matching(numbered, tests)
        if len(found):
            yield 0, found["row"].to_numpy(), found.select(list(names))

    def rows(self, place: int, rows: RowPlaces, names: Sequence[str]) -> pa.Table:
        """These columns of these rows."""
        assert not place
        return self._table.select(list(names)).take(row_numbers(rows))


Source = PartSource | KeptSource | TailSource
Hours = dict[int, list[Source]]
"""What was written in each hour since 1970, by the log's time."""


class LedgerStates:
    """Reads an archive (`DIR/archive`) and a log. Methods may be called by any thread and block on the disk."""

    def __init__(self, archive: Path, log: Log) -> None:
        self._archive, self._log = archive, log
        self.partitions = log.partitions(TOPIC)

    def consistent(self, question: Callable[[], T]) -> T:
        """The answer; it is asked again where parts were merged away meanwhile, since this reader was slow."""
        for _ in range(_TRIES - 1):
            try:
                return question()
            except FileNotFoundError as error:
                _logger.info("parts were merged away during a query; it starts again", error=str(error))
        return question()

    def scan(
        self, tests: Sequence[RowTest], group: int | None, columns: Sequence[str] | None = None,
        topics: Sequence[str] = (TOPIC,), since_ms: int | None = None,
    ) -> pa.Table:  # fmt: skip
        """All states that pass the tests, of one key group or of all.

        :param since_ms: what was written before the hour of this time, by the log's time, is left out.
        """
        return self.consistent(
            lambda: states_of(self.by_hour(group, topics), of_group(tests, group), columns, since_ms)
        )

    def by_hour(self, group: int | None, topics: Sequence[str] = (TOPIC,)) -> Hours:
        """Everything as of now, of the partition of a key group or of all."""
        chosen = range(self.partitions) if group is None else [partition_of_group(group, self.partitions)]
        hours: Hours = {}
        for topic, partition in itertools.product(topics, chosen):
            directory = self._archive / topic / str(partition)
            manifest = read_manifest(directory)
            for part in manifest.parts:
                hours.setdefault(part.hour, []).append(_source_of(directory / part.file, merged=part.compacted))
            for table in self._tail((topic, partition), manifest.offset, group):
                for hour, rows in _hours_of(table):
                    hours.setdefault(hour, []).append(TailSource(rows))
        return hours

    def _tail(self, place: tuple[str, int], offset: int, group: int | None) -> Iterator[pa.Table]:
        offset = offset or self._log.begin_offset(*place)
        for records in stored_batches(self._log, {place: offset}, deadline=_WAIT):
            yield ledger_table([each for each in records if _may_be_of(each, group)])[0]


def tables_of(hours: Hours, tests: Sequence[RowTest], names: Sequence[str], first: int) -> Iterator[pa.Table]:
    """Columns of what passes the tests, of the hours from the first on, in the order in which it was archived."""
    for hour in sorted(hours):
        if hour >= first:
            for source in hours[hour]:
                yield from (table for _, _, table in source.matching(tests, names))


def states_of(
    hours: Hours, tests: Sequence[RowTest], columns: Sequence[str] | None = None, since_ms: int | None = None
) -> pa.Table:
    """The same as one table; what was written before the hour of `since_ms`, by the log's time, is left out."""
    names = list(columns or SCHEMA.names)
    return pa.concat_tables([empty_table().select(names), *tables_of(hours, tests, names, _hour_of(since_ms))])


def of_group(tests: Sequence[RowTest], group: int | None) -> list[RowTest]:
    """The tests, and that a row is of this key group."""
    return list(tests) if group is None else [equal("key_group", group), *tests]


def of_people_of(decisions: pa.Table) -> list[RowTest]:
    """That a row is of a key group of these decisions, where they are of few: what came of them is too."""
    groups = pc.unique(decisions["key_group"])
    return [one_of_numbers("key_group", groups.to_pylist())] if 0 < len(groups) <= _GROUPS_MAX else []


def _source_of(file: Path, *, merged: bool) -> Source:
    return KeptSource(file) if file.suffix == SLICE_SUFFIX else PartSource(file, merged=merged)


def _may_be_of(record: Record, group: int | None) -> bool:
    """Whether rows of a record may be of a key group; None: of any."""
    seq = None if group is None else header(record.headers, "seq")
    return seq is None or parse_output_header(seq).group == group


def _hour_of(at_ms: int | None) -> int:
    return 0 if at_ms is None else at_ms // HOUR_MS


def _hours_of(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """A table by the hours in which its rows were written."""
    times = table["log_ms"].to_numpy()
    for hour in sorted({*(times // HOUR_MS).tolist()}):
        rows = matching(table, [within("log_ms", hour * HOUR_MS, (hour + 1) * HOUR_MS)])
        yield hour, rows
