"""What the parts of an archived topic hold, and how the parts of an hour become one.

`LEDGER`: the columns of `state/ledger.py`, rows by (key group, user, time); a merge keeps the last state of each key.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.log.interface import Headers, Record
from state.ledger import SCHEMA, latest

_RAW_FIELDS: list[tuple[str, pa.DataType]] = [
    ("partition", pa.int32()), ("offset", pa.int64()), ("timestamp_ms", pa.int64()), ("key", pa.binary()),
    ("value", pa.binary()), ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
]  # fmt: skip
RAW_SCHEMA = pa.schema(_RAW_FIELDS)
Sorting = tuple[tuple[str, Literal["ascending", "descending"]], ...]
_MERGED_BYTES_MAX = 64 << 20
"""Raw records merged at a time: what a merge holds in memory."""


@dataclass(frozen=True, slots=True)
class ArchiveForm:
    """The parts of a topic."""

    schema: pa.Schema
    log_time: str
    """Column of the log's time in ms: it says to which hour a part belongs."""
    sorting: Sorting
    """Order of the rows of a part; none: as they come."""
    merged: Callable[[Sequence[Path], int], Iterator[pa.Table]]
    """The parts of an hour as tables, at most about so many rows each."""
    ordered: bool
    """Whether rows are in the order of offsets, so that a part covers a range of offsets."""


def latest_states(files: Sequence[Path], rows_max: int) -> Iterator[pa.Table]:
    """The last state of each key; the states of a key are in one key group."""
    import pyarrow.dataset  # 15 MB, and needed by this alone, once an hour has ended

    dataset: Any = pyarrow.dataset  # its stubs refuse expressions
    source = dataset.dataset([str(file) for file in files], schema=SCHEMA, format="parquet")
    column = source.to_table(columns=["key_group"])["key_group"].to_numpy()
    groups = np.unique(column)
    for piece in np.array_split(groups, min(-(-len(column) // rows_max), len(groups))):
        chosen = (dataset.field("key_group") >= int(piece[0])) & (dataset.field("key_group") <= int(piece[-1]))
        yield latest(source.to_table(filter=chosen))


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
    with pq.ParquetFile(file) as part:
        column = part.schema_arrow.get_field_index("offset")
        for number in range(part.num_row_groups):
            bounds: Any = part.metadata.row_group(number).column(column).statistics
            if bounds.max >= first and (end is None or bounds.min < end):
                yield part.read_row_group(number, use_threads=False)


LEDGER = ArchiveForm(
    SCHEMA,
    "log_ms",
    (("key_group", "ascending"), ("user", "ascending"), ("time", "ascending"), ("log_offset", "ascending")),
    latest_states,
    ordered=False,
)
RAW = ArchiveForm(RAW_SCHEMA, "timestamp_ms", (), every_record, ordered=True)


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
    rows = zip(*plain, _headers(table["headers"].combine_chunks()), strict=True)
    return [Record(topic, *row) for row in rows]


def _headers(column: Any) -> list[Headers]:
    """Pairs of each row; a list of structs read as dictionaries would take most of a replay's time."""
    lists: list[Any] = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    found: list[Headers] = []
    for part in lists:
        bounds = part.offsets.to_pylist()
        names, values = (part.values.field(number).to_pylist() for number in (0, 1))
        pairs = list(zip(names, values, strict=True))
        found += [tuple(pairs[low:high]) for low, high in itertools.pairwise(bounds)]
    return found
