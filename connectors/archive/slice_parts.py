"""Parts of slices: what decide wrote for many recipients at once lies as it came until its hour is merged.

To make rows of it takes most of what a part costs, and most of them are never asked for. One row is a record of topic
`ledger` with the schema `slice/1+arrow` (TOPICS.md), beside what tells whether a query needs it:

| column | type | is |
|---|---|---|
| `key_group`, `time`, `log_ms` | int16, int64, int64 | as in all its rows |
| `event_id`, `type`, `priority`, `sender_id`, `actor`, `object` | text | the same |
| `emission_base` | text | the part of its emissions' ids that they share |
| `log_offset` | int64 | its place in the topic |
| `seq` | text | the header |
| `rows` | int32 | its decisions and emissions |
| `value` | binary | the record's |

A file is Parquet; its name ends so that no reader of `*.parquet` takes it for rows, and a merge makes these. What is
wrong with a slice is found before it is kept: such a one goes the way of single records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from connectors.archive.part_ends import ASKED_MAX, Extent, RowGroup, opened_part, row_groups_of
from connectors.archive.scan import RowPlaces, RowTest, newest_row_ms
from connectors.log.interface import Record
from state import slices
from state.ledger import COLUMNS_OF, PACKED, SCHEMA, slice_tables
from state.model.envelope import parse_output_header
from state.model.errors import MalformedRecordError, StateDamagedError
from state.model.keys import emission_base
from state.packed import row_numbers

pc: Any = pyarrow.compute  # its stubs refuse chunked arrays beside scalars
_TEXTS = ("event_id", "type", "priority", "sender_id", "actor", "object")
_TOLD_FIELDS: list[tuple[str, pa.DataType]] = [
    ("key_group", pa.int16()), *((name, pa.string()) for name in _TEXTS), ("time", pa.int64()), ("log_ms", pa.int64()),
    ("emission_base", pa.string()), ("log_offset", pa.int64()), ("seq", pa.string()), ("rows", pa.int32()),
]  # fmt: skip
_TOLD = [name for name, _ in _TOLD_FIELDS]
SLICE_SCHEMA = pa.schema([*_TOLD_FIELDS, ("value", pa.binary())])
_KINDS = ("decision", "emission")
_AT_ONCE = 20_000
"""Rows made at a time; a slice has no more."""


def kept_slices(records: Sequence[Record], bytes_min: int) -> tuple[pa.Table, list[Record]]:
    """The sound slices of at least so many bytes as they are kept, by key group, and all other records."""
    large = [record for record in records if len(record.value) >= bytes_min and _is_slice(record)]
    told = slices.outlines([record.value for record in large])
    kept = [_told(record, outline) for record, outline in zip(large, told, strict=True) if outline is not None]
    mine = {row["log_offset"] for row in kept}
    kept.sort(key=lambda row: (row["key_group"], row["log_offset"]))
    return pa.Table.from_pylist(kept, SLICE_SCHEMA), [record for record in records if record.offset not in mine]


def _is_slice(record: Record) -> bool:
    headers = dict(record.headers)
    try:
        return headers.get("schema") == slices.SCHEMA and bool(parse_output_header(headers.get("seq")))
    except MalformedRecordError:
        return False


def _told(record: Record, outline: slices.SliceOutline) -> dict[str, Any]:
    facts, seq = outline.facts, dict(record.headers)["seq"]
    return {name: getattr(facts, name) for name in _TEXTS} | {
        "key_group": parse_output_header(seq).group, "time": facts.decided_at, "log_ms": record.timestamp_ms,
        "emission_base": emission_base(facts.type, facts.object, facts.event_id), "log_offset": record.offset,
        "seq": seq.decode(), "rows": outline.rows, "value": record.value,
    }  # fmt: skip


class _KindOfSlice(NamedTuple):
    """The rows of one kind of a slice."""

    kind: str
    told: dict[str, Any]
    """All but its value."""

    def may_lie(self, name: str, low: Any, high: Any) -> bool:
        """As a row group says it of its rows."""
        value = self.told.get("event_id" if name == "first_event_id" else name)
        return value is None or bool(low <= value <= high)

    def may_have(self, name: str, values: Sequence[Any]) -> bool:
        """The same."""
        if name == "kind":
            return self.kind in values
        if name not in COLUMNS_OF[self.kind]:
            return False
        if len(values) > ASKED_MAX:
            return True
        if name == "emission_id":
            return any(value.startswith(self.told["emission_base"]) for value in values)
        name = "event_id" if name == "first_event_id" else name
        return name not in _TEXTS or self.told[name] in values


class _Together(NamedTuple):
    """Rows that are made together."""

    group: int
    """The row group."""
    numbers: list[int]
    """Of slices there."""
    kinds: Sequence[str]


class KeptSource:
    """A part of slices, which is read as if it had their rows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._places: list[tuple[_Together, Sequence[RowTest]]] = []
        """What was read together, and by which tests recipients were chosen."""

    def newest_ms(self) -> int | None:
        """When its last row was written, by the log's time."""
        return newest_row_ms(self._file)

    def matching(self, tests: Sequence[RowTest], names: Sequence[str]) -> Iterator[tuple[int, RowPlaces, pa.Table]]:
        """A place, rows there that pass all tests, and these columns of them.

        :raises FileNotFoundError: the part was merged away.
        """
        needed = _plain([*names, *(name for test in tests for name in test.columns)])
        for group in row_groups_of(self._file):
            places = _possible(self._file, group, tests)
            if not places:
                continue
            kept = self._kept(group.number)
            for place in places:
                table = self._made(kept, place, tests, needed)
                rows = _passing(table, tests)
                if len(rows):
                    self._places.append((place, tests))
                    found = table.select(list(names))
                    found = found if len(rows) == len(table) else found.take(row_numbers(rows))
                    yield len(self._places) - 1, rows, found

    def rows(self, place: int, rows: RowPlaces, names: Sequence[str]) -> pa.Table:
        """These columns of these rows."""
        there, tests = self._places[place]
        return self._made(self._kept(there.group), there, tests, _plain(names)).take(row_numbers(rows))

    def _kept(self, group: int) -> pa.Table:
        with opened_part(self._file, memory_map=True) as part:
            return part.read_row_group(group, columns=_RECORD, use_threads=False)

    def _made(self, kept: pa.Table, place: _Together, tests: Sequence[RowTest], schema: pa.Schema) -> pa.Table:
        mine = kept.take(pa.array(place.numbers))
        return pa.concat_tables([schema.empty_table(), *_expanded(self._file, mine, place.kinds, schema, tests)])


_RECORD = ["log_offset", "log_ms", "seq", "value"]


def _plain(names: Iterable[str]) -> pa.Schema:
    return pa.schema([SCHEMA.field(name) for name in dict.fromkeys(names)])


def _possible(file: Path, group: RowGroup, tests: Sequence[RowTest]) -> list[_Together]:
    """What of a row group may have rows that pass."""
    if not _passes(group, tests):
        return []
    with opened_part(file, memory_map=True) as part:
        told = part.read_row_group(group.number, columns=_TOLD, use_threads=False).to_pylist()
    kinds = [[kind for kind in _KINDS if _passes(_KindOfSlice(kind, each), tests)] for each in told]
    wanted = [kind for kind in _KINDS if any(kind in of for of in kinds)]
    numbers = [number for number, of in enumerate(kinds) if of]
    rows = [each["rows"] for each in told]
    return [_Together(group.number, some, wanted) for some in _some_at_once(numbers, rows)]


def _passes(extent: Extent, tests: Sequence[RowTest]) -> bool:
    return all(test.possible(extent) for test in tests)


def _some_at_once(numbers: Sequence[int], rows: Sequence[int]) -> Iterator[list[int]]:
    some: list[int] = []
    for number in numbers:
        if some and sum(rows[each] for each in some) + rows[number] > _AT_ONCE:
            yield some
            some = []
        some.append(number)
    if some:
        yield some


def _expanded(
    file: Path, kept: pa.Table, kinds: Sequence[str], schema: pa.Schema, tests: Sequence[RowTest] = ()
) -> list[pa.Table]:
    """A table of each kind that there is; of the recipients that may pass the tests."""
    columns = [kept[name].to_pylist() for name in _RECORD]
    records = [
        Record("ledger", 0, offset, log_ms, b"", value, (("schema", slices.SCHEMA), ("seq", seq.encode())))
        for offset, log_ms, seq, value in zip(*columns, strict=True)
    ]
    asked = [test.recipients for test in tests if test.recipients is not None]

    def chosen(table: Any) -> Any:
        for may_pass in asked:
            table = table.filter(may_pass(table))
        return table

    try:
        return slice_tables(records, kinds, schema, chosen if asked else None)
    except MalformedRecordError as error:
        raise StateDamagedError(f"{file}: {error}") from error


def _passing(table: pa.Table, tests: Sequence[RowTest]) -> RowPlaces:
    rows: RowPlaces = np.arange(len(table))
    for test in tests:
        passed = np.asarray(pc.fill_null(test.passes(table), fill_value=False))
        rows = rows[passed[rows]]
        if not len(rows):
            break
    return rows


def key_groups_of(file: Path) -> Any:
    """The key group of each row that the slices of a part stand for."""
    with opened_part(file) as part:
        told = part.read(columns=["key_group", "rows"], use_threads=False)
    return np.repeat(told["key_group"].to_numpy(), told["rows"].to_numpy())


def rows_of_groups(files: Sequence[Path], low: int, high: int) -> dict[str, pa.Table]:
    """By kind, the rows of the key groups from `low` to `high`."""
    found: dict[str, list[pa.Table]] = {}
    for file in files:
        chosen = [group.number for group in row_groups_of(file) if group.may_lie("key_group", low, high)]
        with opened_part(file) as part:
            kept = part.read_row_groups(chosen, columns=["key_group", *_RECORD], use_threads=False)
        kept = kept.filter((pc.field("key_group") >= low) & (pc.field("key_group") <= high))
        for kind, table in zip(_KINDS, _expanded(file, kept, _KINDS, PACKED) if len(kept) else (), strict=False):
            found.setdefault(kind, []).append(table)
    return {kind: pa.concat_tables(tables) for kind, tables in found.items()}


def joined_slices(files: Sequence[Path]) -> pa.Table:
    """Small parts as one."""
    found = []
    for file in files:
        with opened_part(file) as part:
            found.append(part.read(use_threads=False))
    return pa.concat_tables(found).sort_by([("key_group", "ascending"), ("log_offset", "ascending")])
