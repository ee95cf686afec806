"""Files of rows with named columns, read a chunk at a time: memory does not grow with the file.

| form | holds |
|---|---|
| `ndjson` | one JSON object a line; where one column is asked for, also its value alone |
| `csv` | UTF-8 with a header line that names the columns |
| `parquet` | columns, whatever their types |

Columns that are not asked for are passed over, and so are empty lines. Nothing is judged: a value is what the file
holds, None where it holds none, and `UNREADABLE` in every column of a row that cannot be read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any, Final, Literal, NamedTuple

import msgspec

from state.model.errors import UNDECODABLE, CarillonError

Form = Literal["ndjson", "csv", "parquet"]
CHUNK_ROWS = 20_000
_LINE_BYTES_MAX = 64 << 10


class TableError(CarillonError):
    """The file is none of its form, or lacks a column; the text says which and names no value."""


class _Unreadable(NamedTuple):
    """Stands for what is no value."""


UNREADABLE: Final = _Unreadable()


class TableRows(NamedTuple):
    """Some rows of a file."""

    numbers: Sequence[int]
    """Where each is: its line, or in Parquet its row, from 1."""
    columns: list[list[Any]]
    """As they were asked for; each has a value for each row."""


class _Wanted(NamedTuple):
    """What is asked for."""

    needed: Sequence[str]
    optional: Sequence[str]
    most: int

    @property
    def columns(self) -> Sequence[str]:
        return (*self.needed, *self.optional)


def read_rows(
    file: IO[bytes], form: Form, needed: Sequence[str], optional: Sequence[str] = (), *, most: int = CHUNK_ROWS
) -> Iterator[TableRows]:
    """The columns `needed` and `optional` of a file, from its beginning, at most so many rows at a time.

    :raises TableError: the file is none, is empty of lines, or lacks a needed column; in NDJSON each row has its own.
    """
    file.seek(0)
    return _READERS[form](file, _Wanted(needed, optional, most))


def _chunks(rows: Iterable[tuple[int, Sequence[Any]]], most: int) -> Iterator[TableRows]:
    """Numbered rows, turned into columns."""
    source = iter(rows)
    while chunk := list(islice(source, most)):
        numbers, values = zip(*chunk, strict=True)
        yield TableRows(numbers, [list(column) for column in zip(*values, strict=True)])


def _ndjson(file: IO[bytes], wanted: _Wanted) -> Iterator[TableRows]:
    empty = True
    for rows in _chunks(_numbered_objects(file, wanted.columns), wanted.most):
        empty = False
        yield rows
    if empty:
        raise TableError("has no line")


def _numbered_objects(file: IO[bytes], names: Sequence[str]) -> Iterator[tuple[int, Sequence[Any]]]:
    row = msgspec.defstruct("row", [(f"c{at}", Any, None) for at in range(len(names))],
                            rename={f"c{at}": name for at, name in enumerate(names)})  # fmt: skip
    decode, values_of, number, ended = msgspec.json.Decoder(row).decode, msgspec.structs.astuple, 0, True
    while line := file.readline(_LINE_BYTES_MAX):
        number += ended
        ended = line.endswith(b"\n")
        if not line.strip():
            continue
        try:
            yield number, values_of(decode(line))
        except UNDECODABLE:
            yield number, _alone(line) if len(names) == 1 else (UNREADABLE,) * len(names)


def _alone(line: bytes) -> Sequence[Any]:
    """The only column's value without an object around it."""
    try:
        return (msgspec.json.decode(line, type=str),)
    except UNDECODABLE:
        return (UNREADABLE,)


def _csv(file: IO[bytes], wanted: _Wanted) -> Iterator[TableRows]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        reader = csv.reader(text)
        header = next((row for _, row in _csv_rows(reader)), None) or ()
        missing = [name for name in wanted.needed if name not in header]
        if missing:
            raise TableError(f"has no header line with a column `{missing[0]}`")
        places = [header.index(name) if name in header else None for name in wanted.columns]
        yield from _chunks(((number, _picked(row, places)) for number, row in _csv_rows(reader)), wanted.most)
    finally:
        text.detach()


def _csv_rows(reader: Any) -> Iterator[tuple[int, Sequence[Any] | None]]:
    """TableRows with their last lines; None: what is no CSV."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = None
        if row or row is None:
            yield reader.line_num, row


def _picked(row: Sequence[Any] | None, places: Sequence[int | None]) -> Sequence[Any]:
    if row is None:
        return (UNREADABLE,) * len(places)
    width = len(row)
    return [None if place is None or place >= width else row[place] for place in places]


def _parquet(file: IO[bytes], wanted: _Wanted) -> Iterator[TableRows]:
    import pyarrow as pa  # heavy, and needed by this alone
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        there = table.schema_arrow.names
        missing = [name for name in wanted.needed if name not in there]
        if missing:
            raise TableError(f"has no column `{missing[0]}`")
        first = 1
        for batch in table.iter_batches(
            batch_size=wanted.most, columns=[name for name in wanted.columns if name in there]
        ):
            columns = [
                batch.column(name).to_pylist() if name in there else [None] * batch.num_rows for name in wanted.columns
            ]
            yield TableRows(range(first, first + batch.num_rows), columns)
            first += batch.num_rows
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise TableError("is no sound Parquet file") from error


_READERS: dict[Form, Callable[[IO[bytes], _Wanted], Iterator[TableRows]]] = {
    "ndjson": _ndjson,
    "csv": _csv,
    "parquet": _parquet,
}
