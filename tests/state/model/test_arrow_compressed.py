"""Compressed batches against those of Arrow, and what is compressed once or hardly."""

import random
from base64 import b64encode
from typing import Any

import numpy as np
import pyarrow

from state.model.arrow import batch_bytes, batch_table, narrow, shared_column, tag_column
from state.model.arrow_compressed import CODEC, compressed_columns
from state.model.arrow_stream import COMMON, PlainColumn, plain_column, plain_numbers, plain_texts, stream_bytes

pa: Any = pyarrow
ROWS = 5_000
SHARED = {"event_id": "an event that all of the rows have in common"}
CHOOSE = random.Random(7)


def _names(*, like: str = "user%d") -> Any:
    return pa.array([like % number for number in range(ROWS)])


def _addresses(*tokens: bytes) -> Any:
    return pa.array([b"\x91\x94\xa4push\xa3ios" + token for token in tokens], pa.binary())


def test_they_are_the_same_bytes() -> None:
    codes = np.arange(ROWS, dtype=np.int32) % 2
    missing = np.arange(ROWS) % 3 > 0
    columns: dict[str, Any] = {
        "user": plain_column(_names()),
        "nobody": plain_column(pa.array([None] * ROWS, pa.string())),
        "ending": narrow(np.arange(ROWS) % 7),
        "age": narrow(np.arange(ROWS) * 9, missing),
        "zero": plain_numbers(np.zeros(ROWS, np.int64)),
        "quiet": PlainColumn("dictionary", ROWS, 0, (b"", codes.tobytes()), plain_texts([b"22 to 7", None])),
    }
    common = b'{"event_id":"an event that all of the rows have in common"}'
    arrays = [each.array() for each in columns.values()]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns), metadata={COMMON: common})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=CODEC)
    with pa.ipc.RecordBatchStreamWriter(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    value = stream_bytes(compressed_columns(columns), common, CODEC)
    assert value == sink.getvalue().to_pybytes()
    assert batch_bytes(columns, SHARED) == value
    assert batch_table(value, "batch").num_rows == ROWS


def test_tokens_in_bytes_and_tags_are_stored_as_they_are() -> None:
    """To look for bits that may be saved takes longer than all the rest, and there are none."""
    tokens = [CHOOSE.randbytes(32) for _ in range(ROWS)]
    tags = np.frombuffer(CHOOSE.randbytes(8 * ROWS), np.uint64)
    columns = {"endpoints": _addresses(*tokens), "tag": tag_column(tags)}
    value = batch_bytes(columns, SHARED)
    assert batch_table(value, "batch")["endpoints"].to_pylist() == columns["endpoints"].to_pylist()
    assert batch_table(value, "batch")["tag"].to_pylist() == [tag.tobytes() for tag in tags]
    assert sum(token in value for token in tokens) > 0.9 * ROWS
    assert sum(tag.tobytes() in value for tag in tags[:500]) > 450
    assert 40 * ROWS < len(value) < 45 * ROWS, "but what is around a token is said once"


def test_tokens_in_letters_are_made_shorter() -> None:
    tokens = [b64encode(CHOOSE.randbytes(99)) for _ in range(ROWS)]
    columns = {"endpoints": _addresses(*tokens)}
    value = batch_bytes(columns, SHARED)
    assert batch_table(value, "batch")["endpoints"].to_pylist() == columns["endpoints"].to_pylist()
    assert len(value) < 0.85 * sum(map(len, tokens))


def test_names_of_two_topics_are_compressed_once() -> None:
    names = shared_column(_names())
    first, second = (compressed_columns({"user": names})["user"].buffers for _ in range(2))
    assert first[2] is second[2]
    alone = batch_bytes({"user": _names()}, SHARED)
    assert [batch_bytes({"user": names}, SHARED) for _ in range(2)] == [alone, alone]
    other = _names(like="someone_else%d")
    value = batch_bytes({"user": shared_column(other)}, SHARED)
    assert batch_table(value, "batch")["user"].to_pylist() == other.to_pylist()


def test_equal_neighbours_are_compressed_once() -> None:
    counts, others = (narrow(np.arange(ROWS) % number) for number in (3, 4))
    found = compressed_columns({"hour": counts, "day": narrow(np.arange(ROWS) % 3), "ending": others})
    assert found["hour"].buffers[1] is found["day"].buffers[1]
    assert found["day"].buffers[1] != found["ending"].buffers[1]
    value = batch_bytes({"hour": counts, "day": counts, "ending": others, "user": _names()}, SHARED)
    assert batch_table(value, "batch")["ending"].to_pylist() == [number % 4 for number in range(ROWS)]
