"""Bytes of inboxes and of their operations: they come back the same, and old ones are still read."""

import pyarrow as pa
import pytest
from helpers.places import GOLDEN
from msgspec.structs import replace

from state.inbox.codec import decode_head, decode_row, encode_head, encode_row, row_count
from state.inbox.values import InboxHead, OlderItem, RowItem, StoredRow
from state.model.envelope import parse_output_header
from state.model.errors import MalformedRecordError, StateDamagedError, StateVersionError
from state.model.inbox import decode_operations

BYTES = GOLDEN / "inbox"
ROW = StoredRow(
    number=7,
    type="like",
    object="photo",
    windowed=True,
    first_event_id="e0",
    count=5,
    at=1_700_000_000_000,
    read=True,
    items=[RowItem(3, "e3", None, 30), RowItem(4, "e4", "bob", 40, b'{"a":1}')],
    older=[OlderItem(1, 11, 12), OlderItem(2, 2**64 - 1, 0)],
)
HEAD = InboxHead(next_number=8, unread=2, rows=3, read_up_to=99)


def test_rows_and_heads_come_back() -> None:
    assert decode_row(encode_row(ROW)) == ROW
    assert row_count(encode_row(ROW)) == 5
    french = replace(ROW, language="fr-CA")
    assert decode_row(encode_row(french)) == french
    for merged in (0, 5):
        for logged in (-1, 0, 7):
            for oldest in (None, 0, 1_700_000_000_000):
                head = InboxHead(8, 2, 3, 99, merged, logged, oldest)
                assert decode_head(encode_head(head)) == head


def test_stored_bytes_of_version_1_are_read() -> None:
    assert decode_row((BYTES / "inbox_row_1.bin").read_bytes()) == ROW
    assert decode_head((BYTES / "inbox_head_1.bin").read_bytes()) == HEAD
    assert encode_row(ROW) == (BYTES / "inbox_row_1.bin").read_bytes()
    assert encode_head(HEAD) == (BYTES / "inbox_head_1.bin").read_bytes()
    head = InboxHead(8, 2, 3, 99, merged=5, logged=7, oldest=1_700_000_000_000)
    assert decode_head((BYTES / "inbox_head_oldest.bin").read_bytes()) == head


def test_other_bytes_are_errors() -> None:
    with pytest.raises(StateVersionError, match="version 02"):
        decode_row(b"\x02" + encode_row(ROW)[1:])
    with pytest.raises(StateDamagedError, match="rebuild it from the log"):
        decode_row(encode_row(ROW)[:-3])
    with pytest.raises(StateDamagedError):
        decode_head(b"\x01\x91\x01\x01")


def test_a_batch_of_operations() -> None:
    columns = {
        "op": pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int8()), pa.array(["add"])),
        "user": pa.array(["mia", "leo"]),
        "type": pa.array(["new_post"] * 2),
        "event_id": pa.array(["e1"] * 2),
        "actor": pa.array(["bob", None]),
        "windowed": pa.array([False] * 2),
        "at": pa.array([5, 5]),
        "place": pa.array([6, 6]),
        "payload": pa.array(['{"t":1}', None]),
    }
    sink = pa.BufferOutputStream()
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    first, second = decode_operations("inbox/1+arrow", sink.getvalue().to_pybytes())
    assert (first.user, first.actor, first.at, first.payload_json()) == ("mia", "bob", 5, b'{"t":1}')
    assert (second.user, second.actor, second.object, second.payload_json()) == ("leo", None, None, None)


def test_what_is_no_operation_is_refused() -> None:
    for schema, value in (
        ("inbox/1+json", b'{"op":"add"}'),
        ("inbox/1+json", b'{"op":"add","user":"mia","at":"soon"}'),
        ("inbox/1+arrow", b"nonsense"),
        ("inbox/2+json", b"{}"),
    ):
        with pytest.raises(MalformedRecordError):
            decode_operations(schema, value)
    with pytest.raises(MalformedRecordError, match="source:group:offset:ordinal"):
        parse_output_header(b"d:1:2")
