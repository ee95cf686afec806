"""Files of rows: three forms, one answer."""

import io
import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.tables import UNREADABLE, Form, TableError, read_rows


def _read(
    content: bytes, form: Form, needed: Sequence[str] = ("a", "b"), optional: Sequence[str] = ("c",)
) -> list[tuple[int, list[Any]]]:
    chunks = list(read_rows(io.BytesIO(content), form, needed, optional, most=1000))
    assert all(len(chunk.numbers) <= 1000 for chunk in chunks)
    return [
        (number, list(values))
        for chunk in chunks
        for number, values in zip(chunk.numbers, zip(*chunk.columns, strict=True), strict=True)
    ]


def _written(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=1500)
    return sink.getvalue()


def _parquet(**columns: Any) -> bytes:
    return _written(pa.table(columns))


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(["a,x,b\r\n", *(f"{row['a']},1,{row['b']}\r\n" for row in rows)]).encode()


def _ndjson(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(row | {"x": [1]}).encode() for row in rows)


def test_the_three_forms_give_the_same_columns() -> None:
    rows = [{"a": f"a{number}", "b": "é,"[: number % 2]} for number in range(5001)]
    expected = [["a" + str(number), rows[number]["b"], None] for number in range(len(rows))]
    parquet = _parquet(x=[1] * len(rows), b=[row["b"] for row in rows], a=[row["a"] for row in rows])
    for form, content, first in (
        ("parquet", parquet, 1), ("csv", _csv(rows), 2), ("ndjson", _ndjson(rows), 1),
    ):  # fmt: skip
        read = _read(content, form)  # type: ignore[arg-type]  # a literal in a tuple is a str to mypy
        assert [values for _, values in read] == expected, form
        assert [number for number, _ in read] == list(range(first, first + len(rows))), form


@pytest.mark.parametrize(
    ("form", "content", "problem"),
    [
        ("csv", b"", "is empty"),
        ("csv", b"\n\n", "is empty"),
        ("csv", b"1;2\n3;4\n", "no header line with a column `a`"),
        ("csv", b"PK\3\4and so on", "is no CSV in UTF-8, but a workbook"),
        ("csv", "a,b\n1,2\n".encode("utf-16"), "is no CSV in UTF-8, but a workbook"),
        ("csv", b"a,c\n1,2\n", "no header line with a column `b`"),
        ("ndjson", b"", "no line"),
        ("ndjson", b" \n\n", "no line"),
        ("parquet", b"", "no sound Parquet"),
        ("parquet", b"PAR1", "no sound Parquet"),
        ("parquet", _parquet(a=["x"]), "no column `b`"),
        ("parquet", _written(pa.Table.from_arrays([pa.array(["x"])] * 3, ["a", "b", "b"])), "two columns `b`"),
        ("parquet", _parquet(a=["x"], b=[["x"]]), "`b` that is neither"),
        ("parquet", _parquet(a=["x"], b=pa.array([2**62], pa.timestamp("ms"))), "no sound Parquet"),
        ("parquet", _parquet(a=["x"], b=pa.array([2**30], pa.date32())), "no sound Parquet"),
        ("parquet", _parquet(a=["x"], b=["x"])[:-300].ljust(800, b"\xff") + b"PAR1", "no sound Parquet"),
    ],
)
def test_what_is_no_such_file_is_refused(form: Form, content: bytes, problem: str) -> None:
    with pytest.raises(TableError, match=problem):
        _read(content, form)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_csv_of_any_spreadsheet_is_read(mark: str) -> None:
    lines = ["\ufeffA,x, B", "1,,2"]
    content = "\r\n".join([*(line.replace(",", mark) for line in lines), f'"3,5"{mark}{mark}4'])
    assert _read(content.encode(), "csv") == [(2, ["1", "2", None]), (3, ["3,5", "4", None])]


def test_a_row_that_cannot_be_read_keeps_its_number_and_harms_no_other() -> None:
    lines = [b'{"a":"1","b":"2"}', b"", b"{", b"[1]", b"\xff", b'{"b":null,"a":"1","c":true}', b"[" * 5000, b'"x"']
    bad = [UNREADABLE] * 3
    assert _read(b"\n".join(lines), "ndjson") == [
        (1, ["1", "2", None]), (3, bad), (4, bad), (5, bad), (6, ["1", None, True]), (7, bad), (8, bad),
    ]  # fmt: skip
    long = b'{"a":"' + b"x" * 100_000 + b'"}\n{"a":"1"}'
    assert _read(long, "ndjson")[-1] == (2, ["1", None, None])
    csv = b'\xef\xbb\xbfa,c,b\n1,,2\n\n3\n"' + b"x" * 200_000 + b'",4\n"5\n5",6,7,8\n"5\n5",6,7,\n\xff,,1'
    read = _read(csv, "csv")
    assert read[:2] == [(2, ["1", "2", ""]), (4, ["3", None, None])]
    assert (5, bad) in read
    assert read[-3:] == [(7, bad), (9, ["5\n5", "7", "6"]), (10, ["\udcff", "1", ""])]


def test_the_only_column_may_stand_alone() -> None:
    assert _read(b'"a"\n{"u":"b"}\n3\n{}', "ndjson", ["u"], []) == [
        (1, ["a"]), (2, ["b"]), (3, [UNREADABLE]), (4, [None]),
    ]  # fmt: skip


def test_a_page_of_parquet_that_is_damaged_is_no_sound_file() -> None:
    content = bytearray(_parquet(a=["x" * 9] * 999, b=[str(number) for number in range(999)]))
    content[30:90] = b"\xff" * 60
    with pytest.raises(TableError, match="no sound Parquet"):
        _read(bytes(content), "parquet")


def test_a_value_of_parquet_that_repeats_is_in_memory_once() -> None:
    bomb = _written(pa.table({"a": ["x" * 100_000] * 1_000 + [None], "b": ["y"] * 1_001}))
    assert len(bomb) < 20_000
    before = pa.total_allocated_bytes()
    (rows,) = read_rows(io.BytesIO(bomb), "parquet", ["a", "b"])
    values = rows.columns[0]
    assert (len({id(value) for value in values}), values[-1]) == (2, None)
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_a_column_of_parquet_that_unpacks_to_much_is_refused() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": ["x" * (1 << 20)] * 257}), sink, use_dictionary=False, compression="zstd")
    assert len(sink.getvalue()) < 1 << 20
    with pytest.raises(TableError, match="more than 256 MiB of `a`"):
        _read(sink.getvalue(), "parquet", ["a"], [])


def test_a_parquet_file_that_says_it_is_small_and_unpacks_to_much_is_refused_before_it_takes_memory() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": ["x" * (1 << 20)] * 257}), sink, use_dictionary=False, compression="zstd")
    content = sink.getvalue()
    size = pq.ParquetFile(sink).metadata.row_group(0).column(0).total_uncompressed_size
    said = _varint(size << 1)
    forged = content.replace(said, b"\x82" + b"\x80" * (len(said) - 2) + b"\0")
    assert pq.ParquetFile(io.BytesIO(forged)).metadata.row_group(0).column(0).total_uncompressed_size == 1
    usual, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(TableError, match="more than 256 MiB of `a`"):
            _read(forged, "parquet", ["a"], [])
        assert (pool.max_memory() or 0) < 8 << 20
    finally:
        pa.set_memory_pool(usual)


def test_pages_without_end_are_refused_soon() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": list(map(str, range(120_000)))}), sink, use_dictionary=False, data_page_size=1,
                   write_batch_size=1)  # fmt: skip
    with pytest.raises(TableError, match="no sound Parquet"):
        _read(sink.getvalue(), "parquet", ["a"], [])


def test_values_that_go_on_from_each_other_are_refused_since_few_bytes_are_many() -> None:
    sink = io.BytesIO()
    values = pa.table({"a": ["x" * 100_000 + str(number) for number in range(2_000)]})
    pq.write_table(values, sink, use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"})
    assert len(sink.getvalue()) < 1 << 20, "200 MB"
    with pytest.raises(TableError, match="no sound Parquet"):
        _read(sink.getvalue(), "parquet", ["a"], [])


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


@pytest.mark.parametrize("piece", [b"x", b",", b'"5\n",'])
def test_a_row_of_csv_that_goes_on_and_on_is_never_held(piece: bytes) -> None:
    content = io.BytesIO(b"a,b\n1,2\n" + piece * ((8 << 20) // len(piece)) + b"\n8,9\n")
    seen = set[Any]()
    tracemalloc.start()
    for chunk in read_rows(content, "csv", ["a", "b"], most=100):
        seen.update(chunk.columns[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen >= {"1", UNREADABLE}
    assert "8" in seen or piece[:1] == b'"', "where quotes are cut, what follows is not what it was"
    assert peak < 3 << 20


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_a_chunk_of_long_rows_has_few(form: Form) -> None:
    value = "x" * 60_000
    content = f"a,b\n{f'{value},1{chr(10)}' * 400}" if form == "csv" else f'{{"a":"{value}","b":1}}\n' * 400
    sizes = [len(chunk.numbers) for chunk in read_rows(io.BytesIO(content.encode()), form, ["a", "b"])]
    assert sum(sizes) == 400
    assert max(sizes) < 200
