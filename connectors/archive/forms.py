"""What the parts of an archived topic hold, and how the parts of an hour become one.

`LEDGER`, also of topic `outcomes`: the columns of `state/ledger.py`. The parts of some seconds have the batches of
fan-outs by key group, and large slices lie beside them as they are (`slice_parts`). A merge makes rows of these, keeps
the last state of each key, and puts the rows in order: by kind, key group, user and time. Equal rows are equal bytes.
`RAW`: the topic's records as they are, every one of them, in the order of their offsets:

| column | type | is |
|---|---|---|
| `partition` | int32 | |
| `offset` | int64 | place in the partition |
| `timestamp_ms` | int64 | the log's time |
| `key`, `value` | binary | |
| `headers` | list of struct of `name` (text), `value` (binary) | in order; a name may repeat |
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from connectors.archive.manifest import PART_SUFFIX, SLICE_SUFFIX
from connectors.archive.part_ends import BOUNDED, FILTERED, FILTERED_MERGED, opened_part
from connectors.archive.slice_parts import SLICE_SCHEMA, joined_slices, key_groups_of, rows_of_groups
from connectors.log.interface import Headers, Record
from state.ledger import COLUMNS_OF, DISTINCT, KINDS, PACKED, SCHEMA, all_columns, latest
from state.packed import (
    PACKED_TEXT,
    order_numbers,
    packed_rows,
    taken,
    with_sorted_texts,
    without_large_dictionaries,
)

pc: Any = pyarrow.compute  # its stubs refuse dictionaries
_RAW_FIELDS: list[tuple[str, pa.DataType]] = [
    ("partition", pa.int32()), ("offset", pa.int64()), ("timestamp_ms", pa.int64()), ("key", pa.binary()),
    ("value", pa.binary()), ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
]  # fmt: skip
RAW_SCHEMA = pa.schema(_RAW_FIELDS)
_YOUNGER = ("question", "variant")
"""Columns that parts of earlier releases lack; a reader of Parquet must not be asked for their dictionaries."""
_PACKED_NAMES = [field.name for field in PACKED if field.type == PACKED_TEXT and field.name not in _YOUNGER]
_MERGED_BYTES_MAX = 64 << 20
"""Raw records merged at a time: what a merge holds in memory."""


WriteOptions = dict[str, Any]
_LEDGER_OPTIONS: WriteOptions = {
    "use_dictionary": [
        *(name for name in SCHEMA.names if name not in (*DISTINCT, "user")),
        "channels.list.element",
        "actors.list.element",
    ],
    "write_statistics": list(BOUNDED),
    "store_schema": False,
}
"""No dictionaries of what hardly repeats, bounds and filters only of what queries ask for, plain types for every
reader."""


def _filtered(names: Iterable[str]) -> WriteOptions:
    return _LEDGER_OPTIONS | {"bloom_filter_options": {name: {"ndv": 20_000, "fpp": 0.01} for name in names}}


@dataclass(frozen=True, slots=True)
class ArchiveForm:
    """The parts of a topic."""

    schema: pa.Schema
    log_time: str
    """Column of the log's time in ms: it says to which hour a part belongs."""
    written: WriteOptions
    """How Parquet stores the columns of the parts of some seconds."""
    written_merged: WriteOptions
    """The same of an hour, which is in order."""
    unfolded: Callable[[pa.Table], pa.Table]
    """The table as it is handed to Parquet."""
    merged: Callable[[Sequence[Path], int], Iterator[pa.Table]]
    """The parts of an hour that is over as tables, at most about so many rows each."""
    joined: Callable[[Sequence[Path]], pa.Table] | None
    """Small parts of an hour that goes on as one table; None: nobody queries them while they are young."""
    ordered: bool
    """Whether rows are in the order of offsets, so that a part covers a range of offsets."""
    suffix: str = PART_SUFFIX
    row_group_rows: int | None = None
    """None: as many as the archive's options say."""
    rows: Callable[[pa.Table], int] = len
    """How many a table stands for."""


def every_state(files: Sequence[Path]) -> pa.Table:
    """All rows as they are, those of states that were superseded too."""
    found = []
    for file in files:
        with opened_part(file, read_dictionary=_PACKED_NAMES) as part:
            found.append(part.read(use_threads=False))
    return all_columns(packed_rows(pa.concat_tables(found, promote_options="default"), PACKED))


def latest_states(files: Sequence[Path], rows_max: int) -> Iterator[pa.Table]:
    """The last state of each key; the states of a key are in one key group."""
    groups, rows = np.array([], np.int16), 0
    of_slices = [file for file in files if file.suffix == SLICE_SUFFIX]
    plain = [file for file in files if file.suffix != SLICE_SUFFIX]
    for file in files:
        column = key_groups_of(file) if file.suffix == SLICE_SUFFIX else _key_groups_of_rows(file)
        groups, rows = np.union1d(groups, column), rows + len(column)
    for piece in np.array_split(groups, min(-(-rows // rows_max), len(groups))):
        low, high = int(piece[0]), int(piece[-1])
        made = rows_of_groups(of_slices, low, high)
        yield pa.concat_tables([_latest_of(_rows(plain, kind, low, high, made.pop(kind, None))) for kind in KINDS])


def _key_groups_of_rows(file: Path) -> Any:
    with opened_part(file) as part:
        return part.read(columns=["key_group"], use_threads=False)["key_group"].to_numpy()


def _rows(files: Sequence[Path], kind: str, low: int, high: int, made: pa.Table | None) -> pa.Table:
    """Of one kind and the key groups from `low` to `high`, with those that were made of slices. A data set of Arrow
    takes three times as long.
    """
    found = [] if made is None else [made.select(COLUMNS_OF[kind])]
    for file in files:
        with opened_part(file, read_dictionary=_PACKED_NAMES) as part:
            of = part.schema_arrow.names.index("kind"), part.schema_arrow.names.index("key_group")
            chosen = [
                n for n in range(part.num_row_groups) if _may_hold(part.metadata.row_group(n), of, kind, low, high)
            ]
            found.append(part.read_row_groups(chosen, columns=COLUMNS_OF[kind], use_threads=False))
    table = pa.concat_tables(found or [PACKED.empty_table()], promote_options="default")
    group = table["key_group"]
    fits = pc.and_(
        pc.equal(table["kind"].cast(pa.string()), kind),
        pc.and_(pc.greater_equal(group, low), pc.less_equal(group, high)),
    )
    return table if pc.all(fits).as_py() else table.filter(fits)


def _may_hold(group: Any, of: tuple[int, int], kind: str, low: int, high: int) -> bool:
    """Whether a row group may have such rows, by its bounds."""
    kinds, groups = (group.column(number).statistics for number in of)
    return bool(kinds.min <= kind <= kinds.max and groups.min <= high and low <= groups.max)


def _latest_of(table: pa.Table) -> pa.Table:
    """Of records of one kind, by key group, user, time and offset: what a query of one user reads lies together."""
    held = latest(packed_rows(table, PACKED)).combine_chunks()
    if not len(held):
        return PACKED.empty_table()
    groups = held["key_group"].to_numpy().astype(np.int64) << 32
    if "user" in held.column_names:  # counts are of no user
        groups = groups + order_numbers(held["user"])
    keys = (held["log_offset"].to_numpy(), held["time"].to_numpy(), groups)
    return all_columns(with_sorted_texts(taken(held, np.lexsort(keys))))


def every_record(files: Sequence[Path], rows_max: int) -> Iterator[pa.Table]:
    """All rows in the order of the files."""
    gathered: list[pa.Table] = []
    rows = size = 0
    for file in files:
        for table in row_groups(file):
            if gathered and (rows + len(table) > rows_max or size + table.nbytes > _MERGED_BYTES_MAX):
                yield pa.concat_tables(gathered)
                gathered, rows, size = [], 0, 0
            gathered.append(table)
            rows, size = rows + len(table), size + table.nbytes
    if gathered:
        yield pa.concat_tables(gathered)


def row_groups(file: Path, first: int = 0, end: int | None = None) -> Iterator[pa.Table]:
    """The row groups of a part of raw records that may hold offsets of [first, end)."""
    with opened_part(file) as part:
        column = part.schema_arrow.get_field_index("offset")
        for number in range(part.num_row_groups):
            bounds: Any = part.metadata.row_group(number).column(column).statistics
            if bounds.max >= first and (end is None or bounds.min < end):
                yield part.read_row_group(number, use_threads=False)


_OF_SLICES: WriteOptions = {
    "use_dictionary": [field.name for field in SLICE_SCHEMA if field.type == pa.string()],
    "write_statistics": list(BOUNDED), "store_schema": False,
}  # fmt: skip
LEDGER = ArchiveForm(
    PACKED, "log_ms", _filtered(FILTERED), _filtered(FILTERED_MERGED), without_large_dictionaries, latest_states,
    every_state, ordered=False,
)  # fmt: skip
SLICES = ArchiveForm(
    SLICE_SCHEMA, "log_ms", _OF_SLICES, _OF_SLICES, lambda table: table, latest_states, joined_slices, ordered=False,
    suffix=SLICE_SUFFIX, row_group_rows=8, rows=lambda table: pc.sum(table["rows"]).as_py(),
)  # fmt: skip
"""What lies beside the rows of the ledger until it is merged into them."""
_RAW_OPTIONS: WriteOptions = {"use_dictionary": False}
"""Nearly every value is another one: dictionaries took a third of the time, and more room than they saved."""
RAW = ArchiveForm(
    RAW_SCHEMA, "timestamp_ms", _RAW_OPTIONS, _RAW_OPTIONS, lambda table: table, every_record, None, ordered=True
)


def raw_table(records: Sequence[Record]) -> pa.Table:
    """Records of one partition as columns."""
    flat = [header for record in records for header in record.headers]
    ends = itertools.accumulate((len(record.headers) for record in records), initial=0)
    pairs = pa.StructArray.from_arrays(
        [pa.array([name for name, _ in flat], pa.string()), pa.array([value for _, value in flat], pa.binary())],
        ["name", "value"],
    )
    columns: list[Any] = [
        [record.partition for record in records],
        [record.offset for record in records],
        [record.timestamp_ms for record in records],
        [record.key for record in records],
        [record.value for record in records],
    ]
    arrays: list[Any] = [pa.array(column, field.type) for column, field in zip(columns, RAW_SCHEMA, strict=False)]
    headers = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pairs)
    return pa.table([*arrays, headers], schema=RAW_SCHEMA)


def raw_records(topic: str, table: pa.Table) -> list[Record]:
    """The records as they were in the log."""
    plain = [table[name].to_pylist() for name in ("partition", "offset", "timestamp_ms", "key", "value")]
    rows = zip(*plain, _headers(table["headers"]), strict=True)
    return [Record(topic, *row) for row in rows]


def _headers(column: Any) -> list[Headers]:
    """Pairs of each row; a list of structs read as dictionaries would take most of a replay's time."""
    found: list[Headers] = []
    for part in column.chunks:
        bounds = part.offsets.to_pylist()
        flat = part.values.slice(bounds[0], bounds[-1] - bounds[0])  # of a slice the values are those of the whole
        pairs = list(zip(*(flat.field(number).to_pylist() for number in (0, 1)), strict=True))
        found += [tuple(pairs[low - bounds[0] : high - bounds[0]]) for low, high in itertools.pairwise(bounds)]
    return found
