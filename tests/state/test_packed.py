"""Packed columns say what the same columns say as lists of texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from state.packed import (
    PACKED_TEXT,
    key_numbers,
    order_numbers,
    packed,
    packed_rows,
    repeated,
    taken,
    with_sorted_texts,
    without_large_dictionaries,
)

TEXTS = ["b", None, "a", "b", "ä", "a"]
OTHERS = ["c", "b", None]


def chunked(*chunks: Any) -> Any:
    return pa.chunked_array([pa.array(chunk, pa.string()).dictionary_encode() for chunk in chunks], PACKED_TEXT)


def of_one(column: Any, name: str = "text") -> Any:
    """A table of one column in one piece."""
    return pa.table({name: pa.chunked_array([column])})


def piece(table: pa.Table) -> Any:
    """Its only column."""
    return table.column(0).chunk(0)


@pytest.mark.parametrize("chunks", [[], [TEXTS], [TEXTS, OTHERS], [OTHERS, [], TEXTS], [[None], [None]]])
@pytest.mark.parametrize("kind", [PACKED_TEXT, pa.string()])
def test_chunks_become_one_array_of_the_same_texts(chunks: Any, kind: Any) -> None:
    said = [text for chunk in chunks for text in chunk]
    plain = pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string())
    for column in (chunked(*chunks), plain):
        one = packed(column, kind)
        assert (one.type, one.to_pylist()) == (kind, said)
    if kind == PACKED_TEXT:
        distinct = packed(chunked(*chunks), kind).dictionary.to_pylist()
        assert None not in distinct
        assert len(set(distinct)) == len(distinct)


def test_numbers_stay_numbers() -> None:
    assert packed(pa.chunked_array([[1, None], [3]]), pa.int32()) == pa.array([1, None, 3], pa.int32())


@pytest.mark.parametrize("times", [[1, 1, 1], [2, 0, 3], [0, 0, 0], [0, 1, 0]])
@pytest.mark.parametrize(("values", "kind"), [(["x", None, "x"], PACKED_TEXT), ([7, None, 9], pa.int64())])
def test_a_value_is_there_as_often_as_it_is_asked_for(values: list[Any], kind: Any, times: list[int]) -> None:
    found = repeated(values, kind, np.array(times))
    assert found.type == kind
    assert found.to_pylist() == [value for value, count in zip(values, times, strict=True) for _ in range(count)]


def test_a_table_has_the_types_of_its_schema_and_the_columns_that_it_had() -> None:
    schema = pa.schema([("text", PACKED_TEXT), ("number", pa.int32()), ("absent", pa.string())])
    table = pa.table({"number": pa.chunked_array([[1], [2]]), "text": pa.chunked_array([["a"], ["b"]])})
    found = packed_rows(table, schema)
    assert found.schema == pa.schema([schema.field("number"), schema.field("text")])
    assert found.to_pydict() == {"number": [1, 2], "text": ["a", "b"]}


@pytest.mark.parametrize(
    "texts", [TEXTS, ["x", "x"], [None, None], ["a"] * 3 + [None], [f"t{n:03}" for n in range(300)]]
)
def test_equal_tables_have_equal_dictionaries(texts: list[str | None]) -> None:
    """In whatever order and with whatever more the dictionaries were made."""
    one = pa.array(texts, pa.string()).dictionary_encode()
    more = pa.array(["unused", *reversed(texts)], pa.string()).dictionary_encode()
    two = pa.DictionaryArray.from_arrays(
        pa.array([None if text is None else more.dictionary.index(text).as_py() for text in texts], pa.int32()),
        more.dictionary,
    )
    first, second = (piece(with_sorted_texts(of_one(column))) for column in (one, two))
    assert first.to_pylist() == second.to_pylist() == texts
    if len(set(texts)) <= 256:
        assert first.dictionary == second.dictionary
        assert first.dictionary.to_pylist() == sorted({text for text in texts if text is not None}, key=str.encode)


def test_a_column_of_many_texts_is_plain() -> None:
    table = of_one(chunked(["a", "b"], ["c", "d", "e"]).combine_chunks())
    assert without_large_dictionaries(table, 5).column(0).type == PACKED_TEXT
    plain = without_large_dictionaries(table, 4)
    assert plain.column(0).type == pa.string()
    assert plain.to_pydict() == table.to_pydict()


@pytest.mark.parametrize("rows", [[], [0], [5, 0, 0, 3]])
def test_rows_are_taken_from_every_kind_of_column(rows: list[int]) -> None:
    columns: dict[str, Any] = {
        "texts": chunked(TEXTS),
        "same": chunked(["x"] * 6),
        "never": chunked([None] * 6),
        "numbers": pa.chunked_array([[1, 2, 3, 4, 5, 6]]),
        "some": pa.chunked_array([[1, None, 3, 4, 5, 6]]),
        "none": pa.chunked_array([pa.nulls(6, pa.int64())]),
        "plain": pa.chunked_array([TEXTS]),
    }
    whole = pa.table({name: column.combine_chunks() for name, column in columns.items()})
    found = taken(whole.select(["texts", "numbers", "some", "plain"]), np.array(rows, np.int64)).to_pydict()
    for name, values in found.items():
        assert values == [columns[name].to_pylist()[row] for row in rows]
    all_rows = taken(whole, np.arange(6)[::-1].copy())
    assert all_rows.to_pydict() == {name: column.to_pylist()[::-1] for name, column in columns.items()}


def test_rows_have_the_same_number_where_their_texts_are_the_same() -> None:
    one: Any = pa.array(["a", "b", "a", None, "", "a"], pa.string())
    two: Any = pa.array(["x", "x", "x", "y", "y", None], pa.string()).dictionary_encode()
    numbers = key_numbers([pa.chunked_array([one]), pa.chunked_array([two])])
    keys = [(a or "", b or "") for a, b in zip(one.to_pylist(), two.to_pylist(), strict=True)]
    assert {(keys[i] == keys[j]) == (numbers[i] == numbers[j]) for i in range(6) for j in range(6)} == {True}
    assert sorted(set(numbers)) == list(range(len(set(keys))))


def test_numbers_do_not_run_over_with_many_keys() -> None:
    texts = pa.chunked_array([[f"t{n}" for n in range(70_000)]])
    assert len(set(key_numbers([texts] * 5))) == 70_000


def test_order_is_that_of_the_texts_null_last() -> None:
    numbers = order_numbers(chunked(TEXTS))
    order = sorted(range(6), key=lambda row: (TEXTS[row] is None, (TEXTS[row] or "").encode()))
    assert list(np.argsort(numbers, kind="stable")) == order
