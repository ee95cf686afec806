"""The ledger as columns: what its records become in the archive and in every query (RULES 5, TOPICS.md).

One table holds all kinds; what a kind does not have is null. Parquet parts of the archive have exactly these columns:

| columns | of |
|---|---|
| `kind` | all: decision, emission, delivery, counts; in topic `outcomes` outcome |
| `key_group`, `user`, `time` (ms: decided_at, at, or the log's time) | all |
| the fields of TOPICS.md by their names, `attempts` as a list of structs | decision, emission, delivery, outcome |
| `owner`, `totals` (JSON of the running totals) | counts |
| `source`, `seq_offset`, `seq_ordinal` | header `seq`; without one: empty, the log's offset (of an outcome 0), 0 |
| `log_offset`, `log_ms` | place in the topic and the log's time |
| `first_offset`, `first_log_offset` | the lowest seq_offset and log_offset of any state of the same key |

The state of a key that holds has the highest (seq_offset, seq_ordinal); of equal ones it is the earliest appended.
Of outcomes it is the earliest appended: what is heard first of a question holds.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypedDict

import msgspec
import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute
from msgspec import inspect

from state import slices
from state.model.arrow import batch_table
from state.model.envelope import OutputHeader, parse_output_header, schema_of
from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.keys import key_group
from state.model.ledger import COUNTS, DECISION, DELIVERY, EMISSION, CountsRecord
from state.model.outcome import OUTCOME
from state.model.schema import Schema
from state.packed import PACKED_TEXT, key_numbers, packed, repeated, row_numbers

pc: Any = pyarrow.compute  # its stubs refuse chunked arrays of text beside scalars
_typed_dict: Any = TypedDict  # checkers want to see its keys
Fields = list[tuple[str, pa.DataType]]
_TEXT = pa.string()
_LONG = pa.int64()
_Rows = npt.NDArray[np.int64]


def _arrow_type(kind: inspect.Type) -> pa.DataType:
    """What a field of a struct is as a column; null is possible everywhere."""
    match kind:
        case inspect.UnionType():
            return _arrow_type(next(each for each in kind.types if not isinstance(each, inspect.NoneType)))
        case inspect.StrType():
            return _TEXT
        case inspect.BoolType():
            return pa.bool_()
        case inspect.IntType():
            return _LONG
        case inspect.FloatType():
            return pa.float64()
        case inspect.ListType():
            return pa.list_(_arrow_type(kind.item_type))
        case inspect.StructType():
            return pa.struct(_fields(kind))
    raise TypeError(f"no column for {kind}")


def _fields(struct: inspect.StructType) -> Fields:
    return [(field.name, _arrow_type(field.type)) for field in struct.fields]


def _columns_of(schema: Schema[Any]) -> Fields:
    struct = inspect.type_info(schema.struct)
    assert isinstance(struct, inspect.StructType)
    return _fields(struct)


_PLACE: Fields = [
    ("source", _TEXT), ("seq_offset", _LONG), ("seq_ordinal", _LONG), ("first_offset", _LONG),
    ("log_offset", _LONG), ("first_log_offset", _LONG), ("log_ms", _LONG),
]  # fmt: skip
_FIELDS: dict[str, Fields] = {
    "decision": _columns_of(DECISION),
    "emission": _columns_of(EMISSION),
    "delivery": _columns_of(DELIVERY),
    "counts": [("owner", _TEXT), ("totals", _TEXT)],
    "outcome": _columns_of(OUTCOME),
}
_OF_SOME = ("segments", "cost", "variant")
"""Fields that only records of text messages have, and of texts with variants."""
KINDS = tuple(_FIELDS)
_SCALARS = {kind: pa.scalar(kind) for kind in KINDS}
_SCHEMAS = {f"{kind}/1+{form}".encode(): (kind, form == "json") for kind in KINDS for form in ("json", "arrow")}
_SLICE = "slice"
_SCHEMAS[slices.SCHEMA] = (_SLICE, False)
"""By the header `schema`: kind, and whether it is a single record."""
_COMMON: Fields = [("kind", _TEXT), ("key_group", pa.int16()), ("time", _LONG)]
_COLUMNS: dict[str, pa.DataType] = dict(_COMMON + [field for each in _FIELDS.values() for field in each] + _PLACE)
SCHEMA = pa.schema(list(_COLUMNS.items()))
DISTINCT = ("emission_id", "provider_id", "totals")
"""Texts that nearly every row has of its own."""
PACKED = pa.schema(
    [(name, PACKED_TEXT if kind == _TEXT and name not in DISTINCT else kind) for name, kind in _COLUMNS.items()]
)
"""The same columns, texts that repeat as dictionaries: what is made of records, merged and written to Parquet."""
COLUMNS_OF = {kind: [name for name, _ in dict(_COMMON + fields + _PLACE).items()] for kind, fields in _FIELDS.items()}
"""By kind, the columns in which its records are not null."""
_TIMES = {"decision": "decided_at", "emission": "decided_at", "delivery": "at", "outcome": "at"}
_REQUIRED = {
    "decision": ("event_id", "user", "outcome", "decided_at"),
    "emission": ("emission_id", "user", "decided_at"),
    "delivery": ("emission_id", "user", "channel", "outcome", "at"),
    "outcome": ("user", "channel", "outcome", "question", "at"),
}
_KEYS = {
    "decision": ("event_id", "user"),
    "emission": ("emission_id", "user"),
    "delivery": ("emission_id", "user", "channel", "device"),
    "counts": ("owner", "key_group"),
    "outcome": ("event_id", "emission_id", "user", "channel", "device", "question"),
}


def _value_type(kind: Any) -> Any:
    """What a value of a column is in JSON."""
    if pa.types.is_list(kind):
        return list[_value_type(kind.value_type) | None]  # type: ignore[misc]  # no literal either
    if pa.types.is_struct(kind):
        return _typed_dict("nested", {field.name: _value_type(field.type) | None for field in kind}, total=False)
    return {_TEXT: str, _LONG: int, pa.bool_(): bool, pa.float64(): float}[kind]


def _reader(kind: str) -> Callable[[bytes], msgspec.Struct]:
    """Reads a record of which every field may be missing or null; others are ignored."""
    fields = [(name, _value_type(of) | None, None) for name, of in _FIELDS[kind]]
    return msgspec.json.Decoder(msgspec.defstruct(kind, fields, gc=False)).decode


_READERS = {kind: (_reader(kind), attrgetter(*(name for name, _ in fields))) for kind, fields in _FIELDS.items()}
"""By kind, what reads a record and what gives all its fields."""


class LogRecord(Protocol):
    """What is needed of a record of topic `ledger` or `outcomes`."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp_ms(self) -> int: ...
    @property
    def value(self) -> bytes: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class RefusedRecord(NamedTuple):
    """A record that is no ledger record."""

    record: LogRecord
    error: MalformedRecordError


_Placed = tuple[LogRecord, OutputHeader]
"""A record with its header `seq`; the key group is -1 where that does not say it."""


def empty_table() -> pa.Table:
    """A ledger without records."""
    return SCHEMA.empty_table()


def ledger_table(records: Sequence[LogRecord]) -> tuple[pa.Table, list[RefusedRecord]]:
    """The records as columns, by kind and in order within a kind, and those that cannot be read."""
    table, refused = packed_ledger(records)
    return table.cast(SCHEMA), refused


def packed_ledger(records: Sequence[LogRecord]) -> tuple[pa.Table, list[RefusedRecord]]:
    """The same with the types of `PACKED`: a batch of a fan-out costs little more than its distinct texts."""
    refused: list[RefusedRecord] = []
    groups: dict[tuple[str, bool], list[_Placed]] = {}
    for record in records:
        try:
            kind, sequence = _told_by(record)
        except MalformedRecordError as error:
            refused.append(RefusedRecord(record, error))
        else:
            groups.setdefault(kind, []).append((record, sequence))
    tables = [table for (kind, is_json), group in groups.items() for table in _tables(kind, is_json, group, refused)]
    return pa.concat_tables([PACKED.empty_table(), *tables]), refused


def slice_tables(
    records: Sequence[LogRecord], kinds: Sequence[str], schema: pa.Schema, chosen: Callable[[Any], Any] | None = None
) -> list[pa.Table]:
    """Columns of the rows of slices: a table of decisions and one of emissions, if these are wanted and there are any.

    :param chosen: leaves of a slice's columns the recipients that are wanted. None: all are.
    :raises MalformedRecordError: one cannot be read.
    """
    ordered = sorted(((record, _told_by(record)[1]) for record in records), key=lambda placed: placed[1].group)
    (decisions, emissions), decided, emitted = slices.expand_many([record.value for record, _ in ordered], chosen)
    made = (("decision", decisions, decided), ("emission", emissions, emitted))
    wanted = ((kind, table, rows) for kind, table, rows in made if kind in kinds and table is not None)
    return [_complete(kind, table, ordered, rows, schema) for kind, table, rows in wanted]


def all_columns(table: pa.Table) -> pa.Table:
    """A packed table of some columns with the others too, which are null."""
    return _table({name: table[name] for name in table.column_names}, len(table))


def latest(table: pa.Table) -> pa.Table:
    """The state of each key that holds, in the order of the table; `first_offset` and `first_log_offset` are the lowest
    of all its states.
    """
    kinds = table["kind"].cast(_TEXT)
    lowest = {name: table[name].to_numpy().copy() for name in ("first_offset", "first_log_offset")}
    kept = [_holding(kind, table, np.flatnonzero(pc.equal(kinds, _SCALARS[kind])), lowest) for kind in KINDS]
    rows = np.sort(np.concatenate(kept))
    if len(rows) == len(table):
        return table
    for name, values in lowest.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values, _LONG))
    return table.take(row_numbers(rows))


def records_of(table: pa.Table) -> list[dict[str, Any]]:
    """The records as they were written, `kind` first and each with the fields of its kind."""
    return [_record_of(row) for row in table.to_pylist()]


def _record_of(row: dict[str, Any]) -> dict[str, Any]:
    kind = row["kind"]
    if kind == "counts":
        totals: dict[str, Any] = orjson.loads(row["totals"])
        return {"kind": kind, "owner": row["owner"], "group": row["key_group"], **totals}
    left_out = {name for name in _OF_SOME if row[name] is None}
    record = {"kind": kind} | {name: row[name] for name, _ in _FIELDS[kind] if name not in left_out}
    for name in ("channels", "actors", "attempts"):
        if name in record:
            record[name] = record[name] or []
    return record


def _told_by(record: LogRecord) -> tuple[tuple[str, bool], OutputHeader]:
    """What the headers say: what it is, and its place."""
    named = dict(record.headers)
    known = _SCHEMAS.get(named.get("schema", b""))
    if known is None:
        raise MalformedRecordError(f"header schema: {schema_of(record.headers)!r} is no record of the ledger")
    if "seq" in named:
        return known, parse_output_header(named["seq"])
    return known, OutputHeader("", -1, 0 if known[0] == "outcome" else record.offset, 0)


def _tables(kind: str, is_json: bool, group: list[_Placed], refused: list[RefusedRecord]) -> list[pa.Table]:
    """All records at once; one by one, where one of them does not fit."""
    if kind == "counts" and is_json:
        return [_counts_table(group, refused)]
    read = _from_json if is_json else _from_arrow
    try:
        return read(kind, group)
    except (MalformedRecordError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        if len(group) > 1:
            return [table for placed in group for table in _tables(kind, is_json, [placed], refused)]
        refused.append(RefusedRecord(group[0][0], MalformedRecordError(f"{kind}: {error}")))
        return []


def _from_json(kind: str, group: list[_Placed]) -> list[pa.Table]:
    table = _parse(kind, [record.value for record, _ in group])
    return [_complete(kind, table, group, np.ones(len(group), np.int64))]


def _parse(kind: str, values: list[bytes]) -> pa.Table:
    read, fields_of = _READERS[kind]
    try:
        rows = map(fields_of, [read(value) for value in values])
        columns = [pa.array(column, of) for column, (_, of) in zip(zip(*rows, strict=True), _FIELDS[kind], strict=True)]
    except (*UNDECODABLE, OverflowError, UnicodeEncodeError) as error:
        raise MalformedRecordError(str(error)) from error
    return pa.table(columns, schema=pa.schema(_FIELDS[kind]))


def _from_arrow(kind: str, group: list[_Placed]) -> list[pa.Table]:
    """Records with the same columns become one table, slices one of decisions and one of emissions."""
    if kind == "counts":
        raise MalformedRecordError("they are JSON")
    if kind == _SLICE:
        return slice_tables([record for record, _ in group], ("decision", "emission"), PACKED)
    ordered = sorted(group, key=lambda placed: placed[1].group)
    alike: dict[pa.Schema, list[tuple[_Placed, pa.Table]]] = {}
    for placed in ordered:
        table = batch_table(placed[0].value, kind)
        alike.setdefault(table.schema, []).append((placed, table))
    return [_joined(kind, each) for each in alike.values()]


def _joined(kind: str, alike: list[tuple[_Placed, pa.Table]]) -> pa.Table:
    rows = np.array([len(table) for _, table in alike], np.int64)
    return _complete(kind, pa.concat_tables([table for _, table in alike]), [placed for placed, _ in alike], rows)


def _complete(kind: str, table: pa.Table, group: list[_Placed], rows: _Rows, schema: pa.Schema = PACKED) -> pa.Table:
    """All columns of a schema, from those of a kind, the places of its records, and how many rows each of them has.

    :raises MalformedRecordError: a field that every record of the kind has is null.
    """
    for name in _REQUIRED[kind]:
        if name not in table.column_names or table[name].null_count:
            raise MalformedRecordError(f"{kind}.{name}: missing")
    there = {name for name, _ in _FIELDS[kind]}.intersection(table.column_names)
    columns: dict[str, Any] = {
        field.name: packed(table[field.name], field.type) for field in schema if field.name in there
    }
    columns["kind"] = repeated([kind], PACKED_TEXT, np.array([len(table)]))
    columns["time"] = columns.get(_TIMES[kind], table[_TIMES[kind]])
    columns["key_group"] = _key_groups(table["user"], group, rows)
    return _table(columns | _place_columns(group, rows), len(table), schema)


def _key_groups(users: Any, group: list[_Placed], rows: _Rows) -> Any:
    """As the header `seq` says; else, the user's."""
    found = np.repeat([sequence.group for _, sequence in group], rows)
    unknown = np.flatnonzero(found < 0)
    found[unknown] = [key_group(user) for user in users.take(pa.array(unknown)).to_pylist()]
    return pa.array(found, pa.int16())


def _counts_table(group: list[_Placed], refused: list[RefusedRecord]) -> pa.Table:
    rows: list[tuple[_Placed, CountsRecord]] = []
    for record, sequence in group:
        try:
            counts = COUNTS.decode(record.value)
        except MalformedRecordError as error:
            refused.append(RefusedRecord(record, error))
            continue
        version = sequence if sequence.source else sequence._replace(offset=counts.offset, ordinal=record.offset)
        rows.append(((record, version), counts))
    columns = {
        "kind": repeated(["counts"], PACKED_TEXT, np.array([len(rows)])),
        "time": pa.array([record.timestamp_ms for (record, _), _ in rows], _LONG),
        "key_group": pa.array([counts.group for _, counts in rows], pa.int16()),
        "owner": pa.array([counts.owner for _, counts in rows], _TEXT).dictionary_encode(),
        "totals": pa.array([_totals(counts) for _, counts in rows], _TEXT),
    }
    places = _place_columns([placed for placed, _ in rows], np.ones(len(rows), np.int64))
    return _table(columns | places, len(rows))


def _totals(counts: CountsRecord) -> str:
    """JSON of the terms and of their place."""
    fields: dict[str, Any] = msgspec.to_builtins(counts)
    return orjson.dumps({name: fields[name] for name in fields if name not in ("kind", "owner", "group")}).decode()


def _place_columns(group: Sequence[_Placed], rows: _Rows) -> dict[str, Any]:
    offsets = repeated([sequence.offset for _, sequence in group], _LONG, rows)
    places = repeated([record.offset for record, _ in group], _LONG, rows)
    return {
        "source": repeated([sequence.source for _, sequence in group], PACKED_TEXT, rows),
        "seq_offset": offsets,
        "first_offset": offsets,
        "seq_ordinal": repeated([sequence.ordinal for _, sequence in group], _LONG, rows),
        "log_offset": places,
        "first_log_offset": places,
        "log_ms": repeated([record.timestamp_ms for record, _ in group], _LONG, rows),
    }


def _table(columns: dict[str, Any], rows: int, schema: pa.Schema = PACKED) -> pa.Table:
    made = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in schema
    ]
    return pa.table(made, schema=schema)


def _holding(kind: str, table: pa.Table, rows: _Rows, lowest: dict[str, _Rows]) -> _Rows:
    """The rows of a kind that hold; the lowest offsets of all states of a key are set in these rows."""
    if len(rows) < 2:
        return rows
    mine = table if len(rows) == len(table) else table.select(_KEYS[kind]).take(row_numbers(rows))
    key = key_numbers([mine[name] for name in _KEYS[kind]])
    again = np.bincount(key)[key] > 1
    several, key = rows[again], key[again]
    if not len(several):
        return rows
    log, ordinal, offset = (table[name].to_numpy()[several] for name in ("log_offset", "seq_ordinal", "seq_offset"))
    order = np.lexsort((log, -ordinal, -offset, key))
    several, starts = several[order], np.flatnonzero(np.diff(key[order], prepend=-1))
    for values in lowest.values():
        values[several[starts]] = np.minimum.reduceat(values[several], starts)
    return np.concatenate([rows[~again], several[starts]])
