"""Files of rows with named columns, read a chunk at a time: memory does not grow with the file.

| form | holds |
|---|---|
| `ndjson` | one JSON object a line; where one column is asked for, also its value alone |
| `csv` | UTF-8 with a header line that names the columns; semicolons or tabs, as many spreadsheets write, do as well. |
| `parquet` | columns of texts or numbers |

Columns that are not asked for are passed over, and so are empty lines. Nothing is judged: a value is what the file
holds, None where it holds none, and `UNREADABLE` in every column of a row that cannot be read. In CSV that is also a
row of more values than the header line has: mostly one of them has a comma and no quotes.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice
from operator import attrgetter
from typing import IO, Any, Final, Literal, NamedTuple

import msgspec

from connectors.parquet_pages import unpacked_sizes
from state.model.errors import UNDECODABLE, CarillonError, MalformedRecordError

Form = Literal["ndjson", "csv", "parquet"]
CHUNK_ROWS = 20_000
_LINE_MAX = 64 << 10
"""Bytes of a line; in CSV characters of a row, which quotes may stretch over lines."""
_CHUNK_BYTES = 4 << 20
"""A chunk ends early, soon after so many."""
_PIECE_ROWS = 64
_COLUMN_BYTES_MAX = 256 << 20
"""Of one column in one row group of Parquet, unpacked: it may have to be in memory as a whole."""


_PAGES_MAX = 100_000
"""Of one column: a page of the usual writers has thousands of values."""


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


class _Objects:
    """Reads lines of JSON objects: a chunk at once, or line by line where one is none."""

    def __init__(self, names: Sequence[str]) -> None:
        fields = {f"c{at}": name for at, name in enumerate(names)}
        self._decoder = msgspec.json.Decoder(
            msgspec.defstruct("row", [(field, Any, None) for field in fields], rename=fields)
        )
        self._values = [attrgetter(field) for field in fields]

    def rows(self, lines: Sequence[bytes], first: int) -> TableRows:
        """The first of the lines has the number `first`; a line that is too long comes in several pieces."""
        try:
            found = self._decoder.decode_lines(b"".join(lines))
        except UNDECODABLE:
            found = []
        if len(found) == len(lines):
            return TableRows(range(first, first + len(lines)), [list(map(each, found)) for each in self._values])
        numbers = accumulate((line.endswith(b"\n") for line in lines), initial=first)
        numbered = [(number, self._row(line)) for number, line in zip(numbers, lines, strict=False) if line.strip()]
        return TableRows(
            [number for number, _ in numbered], [[row[at] for _, row in numbered] for at in range(len(self._values))]
        )

    def _row(self, line: bytes) -> Sequence[Any]:
        try:
            found = self._decoder.decode(line)
        except UNDECODABLE:
            return (_alone(line),) if len(self._values) == 1 else (UNREADABLE,) * len(self._values)
        return [value(found) for value in self._values]


def _alone(line: bytes) -> Any:
    """The only column's value without an object around it."""
    try:
        return msgspec.json.decode(line, type=str)
    except UNDECODABLE:
        return UNREADABLE


def _ndjson(file: IO[bytes], wanted: _Wanted) -> Iterator[TableRows]:
    objects, number, empty = _Objects(wanted.columns), 1, True
    source = iter(partial(file.readline, _LINE_MAX), b"")
    while lines := _some(source, wanted.most, lambda piece: sum(map(len, piece))):
        rows = objects.rows(lines, number)
        number += sum(line.endswith(b"\n") for line in lines)
        if rows.numbers:
            empty = False
            yield rows
    if empty:
        raise TableError("has no line")


def _some(source: Iterator[Any], most: int, size: Callable[[Sequence[Any]], int]) -> list[Any]:
    """The next of them, few where they are large."""
    taken, left = list[Any](), _CHUNK_BYTES
    while left > 0 and (piece := list(islice(source, min(_PIECE_ROWS, most - len(taken))))):
        taken += piece
        left -= size(piece)
    return taken


class _RowLines:
    """Gives lines to a CSV reader, and ends a row that is too long; it reads on behind that."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._read, self.number, self.left = partial(text.readline, _LINE_MAX), 0, _LINE_MAX

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self.left -= len(line)
        if self.left > 0:
            return line
        while len(line) == _LINE_MAX and line[-1] not in "\r\n":
            line = self._read()
        raise csv.Error("row is too long")


def _csv(file: IO[bytes], wanted: _Wanted) -> Iterator[TableRows]:
    delimiter = _delimiter(file)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        source = _csv_rows(_RowLines(text), delimiter)
        header = [name.strip().casefold() for name in next((row for _, row, _ in source), None) or ()]
        missing = [name for name in wanted.needed if name not in header]
        if missing:
            raise TableError(f"{'has' if header else 'is empty: it has'} no header line with a column `{missing[0]}`")
        places = [header.index(name) if name in header else None for name in wanted.columns]
        while chunk := _some(source, wanted.most, lambda piece: sum(size for _, _, size in piece)):
            rows = [None if row is None or any(row[len(header) :]) else row for _, row, _ in chunk]
            yield TableRows([number for number, _, _ in chunk], [_picked(rows, place) for place in places])
    finally:
        text.detach()


def _delimiter(file: IO[bytes]) -> str:
    """What the first line with something in it sets columns apart with; the file is at its beginning again.

    :raises TableError: it is no text.
    """
    begin = file.read(_LINE_MAX)
    file.seek(0)
    if b"\0" in begin[:8] or begin.startswith((b"PK\3\4", codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TableError("is no CSV in UTF-8, but a workbook or another encoding")
    line = next((line for line in begin.splitlines() if line.strip()), b"")
    return next((mark for mark in ";\t" if mark.encode() in line and b"," not in line), ",")


def _csv_rows(lines: _RowLines, delimiter: str) -> Iterator[tuple[int, Sequence[Any] | None, int]]:
    """Rows with their last lines and their sizes; None: what is no CSV."""
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        lines.left = _LINE_MAX
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = None
        if row or row is None:
            yield lines.number, row, _LINE_MAX - lines.left


def _picked(rows: Sequence[Sequence[Any] | None], place: int | None) -> list[Any]:
    """A column."""
    try:
        return [row[place] for row in rows]  # type: ignore[index]  # whatever is no whole row is looked at below
    except (IndexError, TypeError):
        return [
            UNREADABLE if row is None else None if place is None or place >= len(row) else row[place] for row in rows
        ]


def _parquet(file: IO[bytes], wanted: _Wanted) -> Iterator[TableRows]:
    import pyarrow as pa  # heavy, and needed by this alone
    import pyarrow.parquet as pq

    try:
        there = _sound_columns(file, pq.ParquetFile(file), wanted)
        # Values that repeat are read once: a thousand bytes of file may say a large value a million times.
        table = pq.ParquetFile(file, read_dictionary=there)
        first = 1
        for batch in table.iter_batches(batch_size=wanted.most, columns=there):
            columns = [
                _values(batch.column(name)) if name in there else [None] * batch.num_rows for name in wanted.columns
            ]
            yield TableRows(range(first, first + batch.num_rows), columns)
            first += batch.num_rows
    except (pa.ArrowException, OSError, ValueError, OverflowError, MalformedRecordError) as error:
        raise TableError("is no sound Parquet file") from error


def _sound_columns(file: IO[bytes], table: Any, wanted: _Wanted) -> list[str]:
    """Those that are wanted and there.

    :raises TableError: one is missing, is there twice, or holds what memory might not.
    """
    from pyarrow.types import is_fixed_size_binary

    schema, groups = table.schema_arrow, table.metadata
    missing = [name for name in wanted.needed if name not in schema.names]
    if missing:
        raise TableError(f"has no column `{missing[0]}`")
    there = [name for name in wanted.columns if name in schema.names]
    places = {table.schema.column(at).path: at for at in range(len(table.schema))}
    for name in there:
        if schema.names.count(name) > 1:
            raise TableError(f"has two columns `{name}`")
        if name not in places or is_fixed_size_binary(schema.field(name).type):
            raise TableError(f"has a column `{name}` that is neither text nor numbers")
        pages_left = _PAGES_MAX
        for at in range(groups.num_row_groups):
            sizes = _page_sizes(file, groups.row_group(at).column(places[name]), pages_left)
            pages_left -= len(sizes)
            if sum(sizes) > _COLUMN_BYTES_MAX:
                raise TableError(f"has more than {_COLUMN_BYTES_MAX >> 20} MiB of `{name}` in one row group")
    return there


def _page_sizes(file: IO[bytes], chunk: Any, most: int) -> list[int]:
    """What each page of a chunk unpacks to. What the file's end says of that is not asked: it may be forged.

    :raises MalformedRecordError: there are more, or one is none.
    """
    start, dictionary = chunk.data_page_offset, chunk.dictionary_page_offset
    if chunk.has_dictionary_page and dictionary is not None and 0 < dictionary < start:
        start = dictionary
    sizes = list(islice(unpacked_sizes(file, start, chunk.total_compressed_size), most + 1))
    if len(sizes) > most:
        raise MalformedRecordError("a column has too many pages")
    return sizes


def _values(column: Any) -> list[Any]:
    """As Python has them; of those that repeat, one."""
    if not hasattr(column, "dictionary"):
        values: list[Any] = column.to_pylist()
        return values
    used = column.indices.dictionary_encode()
    distinct = [*column.dictionary.take(used.dictionary).to_pylist(), None]
    return [distinct[at] for at in used.indices.fill_null(len(distinct) - 1).to_pylist()]


_READERS: dict[Form, Callable[[IO[bytes], _Wanted], Iterator[TableRows]]] = {
    "ndjson": _ndjson,
    "csv": _csv,
    "parquet": _parquet,
}
