"""Streams of small batches against those of Arrow."""

from typing import Any

import numpy as np
import pyarrow
from hypothesis import given, settings
from hypothesis import strategies as st

from state.model.arrow import batch_table, narrow, tag_column
from state.model.arrow_stream import (
    COMMON,
    PlainColumn,
    is_simple,
    plain_column,
    plain_numbers,
    plain_texts,
    stream_bytes,
)

pa: Any = pyarrow
INTEGERS = np.typecodes["AllInteger"]


@st.composite
def batches(draw: st.DrawFn) -> dict[str, PlainColumn]:
    rows = draw(st.integers(1, 40))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    missing = draw(st.none() | st.just(np.array(column(st.booleans()), np.bool_)))
    texts = draw(st.lists(st.none() | st.text(max_size=9), min_size=1, max_size=3))
    quiet = plain_texts([None if text is None else text.encode() for text in texts])
    assert quiet.array().to_pylist() == texts
    codes = np.array(column(st.integers(0, quiet.rows - 1)), np.int32).tobytes()
    found: dict[str, Any] = {
        "user": plain_column(pa.array(column(st.text(max_size=9) | st.none()), pa.string())),
        "endpoints": plain_column(pa.array(column(st.binary(max_size=9)), pa.binary())),
        "tag": tag_column(np.array(column(st.integers(0, (1 << 64) - 1)), np.uint64)),
        "quiet": PlainColumn("dictionary", rows, 0, (b"", codes), quiet),
        "again": PlainColumn("dictionary", rows, 0, (b"", codes), quiet),
        "narrow": narrow(np.array(column(st.integers(-(1 << 31), 1 << 31)), np.int64), missing),
    }
    found |= {code: plain_numbers(np.array(column(st.integers(0, 99)), code), missing) for code in INTEGERS}
    return {name: found[name] for name in draw(st.lists(st.sampled_from([*found]), min_size=1, unique=True))}


@settings(max_examples=200, deadline=None)
@given(batches(), st.binary(min_size=16, max_size=99))
def test_they_are_the_same_bytes(columns: dict[str, PlainColumn], some: bytes) -> None:
    common = some.hex().encode()
    assert is_simple(columns, common)
    arrays = [each.array() for each in columns.values()]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns), metadata={COMMON: common})
    sink = pa.BufferOutputStream()
    with pa.ipc.RecordBatchStreamWriter(sink, batch.schema) as writer:
        writer.write_batch(batch)
    value = stream_bytes(columns, common)
    assert value == sink.getvalue().to_pybytes()
    assert batch_table(value, "batch").num_rows == batch.num_rows


def test_what_it_does_not_write() -> None:
    text = pa.array(["abc", None, "de"])
    known = plain_column(text)
    assert known is not None
    assert known.array().equals(text)
    assert not is_simple({}, b"x" * 99)
    assert not is_simple({"user": known}, b"{}")
    for other in (text[1:], text[:0], pa.array([1]), pa.array([True]), text.dictionary_encode()):
        assert not is_simple({"user": plain_column(other)}, b"x" * 99)
    shorter = plain_column(text[:2])
    assert shorter is not None
    assert shorter.array().equals(text[:2])
