"""Files of rows: three forms, one answer."""

import io
import json
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


def _parquet(**columns: list[Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=1500)
    return sink.getvalue()


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
        ("csv", b"", "no header line with a column `a`"),
        ("csv", b"\n\n", "no header line with a column `a`"),
        ("csv", b"a;b\n1;2\n", "no header line with a column `a`"),
        ("csv", b"a,c\n1,2\n", "no header line with a column `b`"),
        ("ndjson", b"", "no line"),
        ("ndjson", b" \n\n", "no line"),
        ("parquet", b"", "no sound Parquet"),
        ("parquet", b"PAR1", "no sound Parquet"),
        ("parquet", _parquet(a=["x"]), "no column `b`"),
    ],
)
def test_what_is_no_such_file_is_refused(form: Form, content: bytes, problem: str) -> None:
    with pytest.raises(TableError, match=problem):
        _read(content, form)


def test_a_row_that_cannot_be_read_keeps_its_number_and_harms_no_other() -> None:
    lines = [b'{"a":"1","b":"2"}', b"", b"{", b"[1]", b"\xff", b'{"b":null,"a":"1","c":true}', b"[" * 5000, b'"x"']
    bad = [UNREADABLE] * 3
    assert _read(b"\n".join(lines), "ndjson") == [
        (1, ["1", "2", None]), (3, bad), (4, bad), (5, bad), (6, ["1", None, True]), (7, bad), (8, bad),
    ]  # fmt: skip
    long = b'{"a":"' + b"x" * 100_000 + b'"}\n{"a":"1"}'
    assert _read(long, "ndjson")[-1] == (2, ["1", None, None])
    csv = b'\xef\xbb\xbfa,c,b\n1,,2\n\n3\n"' + b"x" * 200_000 + b'",4\n"5\n5",6,7,8\n\xff,,1'
    read = _read(csv, "csv")
    assert read[:2] == [(2, ["1", "2", ""]), (4, ["3", None, None])]
    assert (5, bad) in read
    assert read[-2:] == [(7, ["5\n5", "7", "6"]), (8, ["\udcff", "1", ""])]


def test_the_only_column_may_stand_alone() -> None:
    assert _read(b'"a"\n{"u":"b"}\n3\n{}', "ndjson", ["u"], []) == [
        (1, ["a"]), (2, ["b"]), (3, [UNREADABLE]), (4, [None]),
    ]  # fmt: skip
