"""The ledger as columns: what its records become in the archive and in every query (RULES 5, TOPICS.md).

One table holds all kinds; what a kind does not have is null. Parquet parts of the archive have exactly these columns:

| columns | of |
|---|---|
| `kind` | all: decision, emission, delivery, counts |
| `key_group`, `user`, `time` (ms: decided_at, at, or the log's time) | all |
| the fields of TOPICS.md by their names, `attempts` as a list of structs | decision, emission, delivery |
| `owner`, `totals` (JSON of the running totals) | counts |
| `source`, `seq_offset`, `seq_ordinal` | header `seq`; without one: empty, the log's offset, 0 |
| `log_offset`, `log_ms` | place in topic `ledger` and the log's time |
| `first_offset`, `first_log_offset` | the lowest seq_offset and log_offset of any state of the same key |

The state of a key that holds has the highest (seq_offset, seq_ordinal); of equal ones it is the earliest appended.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute
import pyarrow.json
from msgspec import inspect

from state import slices
from state.model.envelope import header, parse_output_header, schema_of
from state.model.errors import MalformedRecordError
from state.model.keys import key_group
from state.model.ledger import COUNTS, DECISION, DELIVERY, EMISSION, CountsRecord
from state.model.schema import Schema

pc: Any = pyarrow.compute  # its stubs refuse chunked arrays of text beside scalars
pa_json: Any = pyarrow.json  # its stubs refuse buffers
Fields = list[tuple[str, pa.DataType]]
_TEXT = pa.string()
_LONG = pa.int64()


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
}
KINDS = tuple(_FIELDS)
_SCHEMAS = {f"{kind}/1+{form}".encode(): (kind, form == "json") for kind in KINDS for form in ("json", "arrow")}
"""By the header `schema`: kind, and whether it is a single record."""
_COMMON: Fields = [("kind", _TEXT), ("key_group", pa.int16()), ("time", _LONG)]
_COLUMNS: dict[str, pa.DataType] = dict(_COMMON + [field for each in _FIELDS.values() for field in each] + _PLACE)
SCHEMA = pa.schema(list(_COLUMNS.items()))
_JSON_SCHEMAS = {kind: pa.schema(fields) for kind, fields in _FIELDS.items()}
_TIMES = {"decision": "decided_at", "emission": "decided_at", "delivery": "at"}
_REQUIRED = {
    "decision": ("event_id", "user", "outcome", "decided_at"),
    "emission": ("emission_id", "user", "decided_at"),
    "delivery": ("emission_id", "user", "channel", "outcome", "at"),
}
_KEYS = {
    "decision": ("event_id", "user"),
    "emission": ("emission_id", "user"),
    "delivery": ("emission_id", "user", "channel", "device"),
    "counts": ("owner", "key_group"),
}


class LogRecord(Protocol):
    """What is needed of a record of topic `ledger`."""

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


class _Placed(NamedTuple):
    """A record with its kind and header `seq`."""

    record: LogRecord
    source: str
    group: int | None
    offset: int
    ordinal: int


def empty_table() -> pa.Table:
    """A ledger without records."""
    return SCHEMA.empty_table()


def ledger_table(records: Sequence[LogRecord]) -> tuple[pa.Table, list[RefusedRecord]]:
    """The records as columns, by kind and in order within a kind, and those that cannot be read."""
    refused: list[RefusedRecord] = []
    json: dict[str, list[_Placed]] = {}
    tables: list[pa.Table] = []
    for record in records:
        try:
            if header(record.headers, "schema") == slices.SCHEMA:
                tables += _from_slice(_placed(record))
                continue
            kind, is_json = _kind(record)
            placed = _placed(record)
            if is_json:
                json.setdefault(kind, []).append(placed)
            else:
                tables.append(_from_arrow(kind, placed))
        except MalformedRecordError as error:
            refused.append(RefusedRecord(record, error))
    for kind, group in json.items():
        tables.append(_from_json(kind, group, refused))
    return pa.concat_tables([empty_table(), *tables]), refused


def latest(table: pa.Table) -> pa.Table:
    """The state of each key that holds; `first_offset` and `first_log_offset` are the lowest of all its states."""
    parts = [_latest_of(kind, table.filter(pc.field("kind") == kind)) for kind in KINDS]
    return pa.concat_tables(parts)


def records_of(table: pa.Table) -> list[dict[str, Any]]:
    """The records as they were written, `kind` first and each with the fields of its kind."""
    return [_record_of(row) for row in table.to_pylist()]


def _record_of(row: dict[str, Any]) -> dict[str, Any]:
    kind = row["kind"]
    if kind == "counts":
        totals: dict[str, Any] = orjson.loads(row["totals"])
        return {"kind": kind, "owner": row["owner"], "group": row["key_group"], **totals}
    record = {"kind": kind} | {name: row[name] for name, _ in _FIELDS[kind]}
    for name in ("channels", "actors", "attempts"):
        if name in record:
            record[name] = record[name] or []
    return record


def _kind(record: LogRecord) -> tuple[str, bool]:
    known = _SCHEMAS.get(header(record.headers, "schema") or b"")
    if known is None:
        raise MalformedRecordError(f"header schema: {schema_of(record.headers)!r} is no record of the ledger")
    return known


def _placed(record: LogRecord) -> _Placed:
    value = header(record.headers, "seq")
    if value is None:
        return _Placed(record, "", None, record.offset, 0)
    sequence = parse_output_header(value)
    return _Placed(record, sequence.source, sequence.group, sequence.offset, sequence.ordinal)


def _from_json(kind: str, group: list[_Placed], refused: list[RefusedRecord]) -> pa.Table:
    if kind == "counts":
        return _counts_table(group, refused)
    try:
        return _complete(kind, _parse(kind, [placed.record.value for placed in group]), group)
    except (MalformedRecordError, pa.ArrowInvalid):
        return pa.concat_tables([empty_table(), *_one_by_one(kind, group, refused)])


def _one_by_one(kind: str, group: list[_Placed], refused: list[RefusedRecord]) -> list[pa.Table]:
    tables = []
    for placed in group:
        try:
            tables.append(_complete(kind, _parse(kind, [placed.record.value]), [placed]))
        except (MalformedRecordError, pa.ArrowInvalid) as error:
            refused.append(RefusedRecord(placed.record, MalformedRecordError(f"{kind}: {error}")))
    return tables


def _parse(kind: str, values: list[bytes]) -> pa.Table:
    text = b"\n".join(values) + b"\n"
    options = pa_json.ParseOptions(explicit_schema=_JSON_SCHEMAS[kind], unexpected_field_behavior="ignore")
    reading = pa_json.ReadOptions(use_threads=False, block_size=len(text) + 1)
    table: pa.Table = pa_json.read_json(pa.BufferReader(text), read_options=reading, parse_options=options)
    if len(table) != len(values):
        raise MalformedRecordError(f"{kind}: a record is not one JSON object")
    return table


def _from_arrow(kind: str, placed: _Placed) -> pa.Table:
    if kind == "counts":
        raise MalformedRecordError("counts are JSON")
    try:
        table = pa.ipc.open_stream(placed.record.value).read_all()
        return _complete(kind, table, [placed] * len(table))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise MalformedRecordError(f"{kind}: {error}") from error


def _from_slice(placed: _Placed) -> list[pa.Table]:
    decisions, emissions = slices.expand(placed.record.value)
    found = [_complete("decision", decisions, [placed] * len(decisions))]
    return found if emissions is None else [*found, _complete("emission", emissions, [placed] * len(emissions))]


def _complete(kind: str, table: pa.Table, group: list[_Placed]) -> pa.Table:
    """All columns of the ledger, from those of a kind and the places of its records.

    :raises MalformedRecordError: a field that every record of the kind has is null.
    """
    for name in _REQUIRED[kind]:
        if name not in table.column_names or table[name].null_count:
            raise MalformedRecordError(f"{kind}.{name}: missing")
    columns: dict[str, Any] = {name: table[name] for name, _ in _FIELDS[kind] if name in table.column_names}
    columns["kind"] = pa.array([kind] * len(group), _TEXT)
    columns["time"] = table[_TIMES[kind]]
    users: list[Any] = table["user"].to_pylist()
    groups = [
        key_group(user) if placed.group is None else placed.group for user, placed in zip(users, group, strict=True)
    ]
    return _table(columns | _place_columns(group) | {"key_group": pa.array(groups, pa.int16())}, len(group))


def _counts_table(group: list[_Placed], refused: list[RefusedRecord]) -> pa.Table:
    rows: list[tuple[_Placed, CountsRecord]] = []
    for placed in group:
        try:
            counts = COUNTS.decode(placed.record.value)
        except MalformedRecordError as error:
            refused.append(RefusedRecord(placed.record, error))
            continue
        version = placed if placed.source else placed._replace(offset=counts.offset, ordinal=placed.record.offset)
        rows.append((version, counts))
    columns = {
        "kind": pa.array(["counts"] * len(rows), _TEXT),
        "time": pa.array([placed.record.timestamp_ms for placed, _ in rows], _LONG),
        "key_group": pa.array([counts.group for _, counts in rows], pa.int16()),
        "owner": pa.array([counts.owner for _, counts in rows], _TEXT),
        "totals": pa.array([_totals(counts) for _, counts in rows], _TEXT),
    }
    return _table(columns | _place_columns([placed for placed, _ in rows]), len(rows))


def _totals(counts: CountsRecord) -> str:
    """JSON of the terms and of their place."""
    fields: dict[str, Any] = msgspec.to_builtins(counts)
    return orjson.dumps({name: fields[name] for name in fields if name not in ("kind", "owner", "group")}).decode()


def _place_columns(group: Sequence[_Placed]) -> dict[str, Any]:
    offsets = pa.array([placed.offset for placed in group], _LONG)
    places = pa.array([placed.record.offset for placed in group], _LONG)
    return {
        "source": pa.array([placed.source for placed in group], _TEXT),
        "seq_offset": offsets,
        "first_offset": offsets,
        "seq_ordinal": pa.array([placed.ordinal for placed in group], _LONG),
        "log_offset": places,
        "first_log_offset": places,
        "log_ms": pa.array([placed.record.timestamp_ms for placed in group], _LONG),
    }


def _table(columns: dict[str, Any], rows: int) -> pa.Table:
    arrays = []
    for name, kind in _COLUMNS.items():
        column = columns.get(name)
        arrays.append(pa.array([None] * rows, kind) if column is None else column.cast(kind))
    return pa.table(arrays, schema=SCHEMA)


def _latest_of(kind: str, table: pa.Table) -> pa.Table:
    if len(table) < 2:
        return table
    parts = [pc.coalesce(table[name].cast(_TEXT), pa.scalar("")) for name in _KEYS[kind]]
    keys = pc.binary_join_element_wise(*parts, "\0")
    order = pc.sort_indices(
        pa.table({
            "key": keys, "offset": table["seq_offset"], "ordinal": table["seq_ordinal"], "log": table["log_offset"],
        }),
        sort_keys=[("key", "ascending"), ("offset", "descending"), ("ordinal", "descending"), ("log", "ascending")],
    )  # fmt: skip
    ordered, keys = table.take(order), keys.take(order).combine_chunks()
    is_first = np.concatenate([[True], pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)])
    starts = np.flatnonzero(is_first)
    holding = ordered.take(starts)
    for name in ("first_offset", "first_log_offset"):
        lowest = np.minimum.reduceat(ordered[name].to_numpy(), starts)
        holding = holding.set_column(holding.column_names.index(name), name, pa.array(lowest, _LONG))
    return holding
