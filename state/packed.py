"""Tables whose text columns are dictionaries: what is the same in many rows is there once, and rows hold its number.

Such columns are joined, sorted and written by their numbers. `PACKED_TEXT` is their type.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its stubs refuse dictionaries
dictionary_of: Any = pa.DictionaryArray.from_arrays
join: Any = pa.concat_arrays
_TEXT = pa.string()
_NUMBER = pa.int32()
DICTIONARY_MAX = 256
PACKED_TEXT: Any = pa.dictionary(_NUMBER, _TEXT)


def packed(column: Any, kind: Any) -> Any:
    """A chunked column as one array of a type; the dictionaries of its chunks become one, without nulls in it."""
    if not pa.types.is_dictionary(column.type):
        whole = join(column.chunks) if column.chunks else pa.array([], column.type)
        return whole.cast(_TEXT).dictionary_encode() if kind == PACKED_TEXT else whole.cast(kind)
    if not column.chunks:
        return pa.array([], kind)
    values = join([chunk.dictionary for chunk in column.chunks])
    numbers = _among_all(column.chunks)
    if kind != PACKED_TEXT:
        return values.cast(kind).take(numbers)
    distinct = values.cast(_TEXT).dictionary_encode()
    return dictionary_of(distinct.indices.take(numbers), distinct.dictionary)


def _among_all(chunks: Sequence[Any]) -> Any:
    """The numbers of all chunks, as if their dictionaries lay one behind the other."""
    if len(chunks) == 1:
        return chunks[0].indices.cast(_NUMBER)
    sizes = [len(chunk.dictionary) for chunk in chunks]
    firsts = np.cumsum([0, *sizes[:-1]], dtype=np.int32)
    numbers = join([chunk.indices for chunk in chunks]).cast(_NUMBER)
    return pc.add(numbers, pa.array(np.repeat(firsts, [len(chunk) for chunk in chunks]), _NUMBER))


def repeated(values: Sequence[Any], kind: Any, times: npt.NDArray[np.int64]) -> Any:
    """Each value so many times."""
    few: Any = pa.array(values, _TEXT if kind == PACKED_TEXT else kind)
    if len(times) == np.count_nonzero(times == 1):
        return few.dictionary_encode() if kind == PACKED_TEXT else few
    rows: Any = pa.array(np.repeat(np.arange(len(values), dtype=np.int32), times))
    if kind != PACKED_TEXT:
        return few.take(rows)
    distinct: Any = few.dictionary_encode()
    return dictionary_of(distinct.indices.take(rows), distinct.dictionary)


def packed_rows(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in one piece, its columns with the types that a schema gives to these names."""
    fields = [schema.field(name) for name in table.column_names]
    return pa.table([packed(table[field.name], field.type) for field in fields], schema=pa.schema(fields))


def with_sorted_texts(table: pa.Table) -> pa.Table:
    """A table in one piece whose dictionaries have what its rows have and no more, small ones in order: equal tables
    are then equal bytes.
    """
    columns = [_with_sorted_texts(table.column(number).chunk(0)) for number in range(table.num_columns)]
    return pa.table(columns, schema=table.schema)


def _with_sorted_texts(column: Any) -> Any:
    if not pa.types.is_dictionary(column.type) or (len(column.dictionary) == 1 and column.null_count < len(column)):
        return column
    numbers = pc.fill_null(column.indices, len(column.dictionary)).to_numpy()
    used = np.flatnonzero(np.bincount(numbers, minlength=len(column.dictionary))[: len(column.dictionary)])
    if len(used) > DICTIONARY_MAX:
        return column  # it becomes plain texts
    texts = column.dictionary.take(pa.array(used))
    order = pc.sort_indices(texts).to_numpy()
    places = np.zeros(len(column.dictionary), np.int32)
    places[used[order]] = np.arange(len(used))
    return dictionary_of(pa.array(places).take(column.indices), texts.take(pa.array(order)))


def without_large_dictionaries(table: pa.Table, most: int = DICTIONARY_MAX) -> pa.Table:
    """Plain texts in columns of which a chunk has more different ones: Parquet would write the whole dictionary into
    each row group.
    """
    for number, column in enumerate(table.columns):
        chunks: Any = column.chunks
        if pa.types.is_dictionary(column.type) and any(len(chunk.dictionary) > most for chunk in chunks):
            table = table.set_column(number, table.column_names[number], column.cast(_TEXT))
    return table


row_numbers: Any = pa.array


def taken(table: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Table:
    """These rows of a table that is in one piece and has as many; what is the same in all of them stays as it is."""
    columns = [_taken(table.column(number).chunk(0), rows) for number in range(table.num_columns)]
    return pa.table(columns, schema=table.schema)


def _taken(column: Any, rows: npt.NDArray[np.int64]) -> Any:
    """NumPy takes numbers several times as fast as Arrow, where none is null."""
    if pa.types.is_dictionary(column.type):
        if column.null_count == len(column) or (len(column.dictionary) == 1 and not column.null_count):
            return column
        return dictionary_of(_taken(column.indices, rows), column.dictionary)
    if column.null_count == len(column):
        return column
    if pa.types.is_integer(column.type) and not column.null_count:
        return pa.array(column.to_numpy()[rows])
    return column.take(pa.array(rows))


def key_numbers(columns: Sequence[Any]) -> npt.NDArray[np.int32]:
    """For each row the number of its key, which is the texts of these columns; null is the empty text."""
    numbers, size = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        if size > 1 << 31:
            numbers, size = renumbered(numbers)
        text = column if pa.types.is_dictionary(column.type) else column.cast(_TEXT)
        one = packed(pc.fill_null(text.cast(_TEXT), "") if text.null_count else text, PACKED_TEXT)
        numbers, size = numbers * len(one.dictionary) + one.indices.to_numpy(), size * len(one.dictionary)
    return renumbered(numbers)[0].astype(np.int32)


def renumbered(numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Numbers without gaps, in order of appearance, and how many differ."""
    found: Any = pa.array(numbers).dictionary_encode()
    return found.indices.to_numpy().astype(np.int64), len(found.dictionary)


def order_numbers(column: Any) -> npt.NDArray[np.int64]:
    """Numbers of the rows of a packed column in one piece that order as its texts do, bytewise, null last."""
    column = column.chunk(0)
    ranks = np.empty(len(column.dictionary) + 1, np.int64)
    ranks[pc.sort_indices(column.dictionary).to_numpy()] = np.arange(len(column.dictionary))
    ranks[-1] = len(column.dictionary)
    found: npt.NDArray[np.int64] = ranks[pc.fill_null(column.indices, -1).to_numpy()]
    return found
