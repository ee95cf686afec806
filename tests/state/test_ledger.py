"""Ledger records as columns, and which state of a key holds."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
from helpers.records import counts, decision, delivery, emission, record

from connectors.log.interface import NewRecord, Record
from state.ledger import SCHEMA, latest, ledger_table, records_of
from state.model.keys import key_group

GROUP = key_group("mia")


def logged(records: list[NewRecord], first: int = 0) -> list[Record]:
    return [
        Record(new.topic, new.partition, offset, 1000 + offset, new.key, new.value, new.headers)
        for offset, new in enumerate(records, start=first)
    ]


def test_records_come_back_as_they_were_written() -> None:
    written = [
        decision("mia", "e0", "EMITTED", ("d", 5, 0), emission_id="em1", channels=["push"], cap_hour=0, cap_day=3),
        emission("mia", "em1", "e0", 2, ("d", 5, 1)),
        delivery("mia", "em1", "phone", "DELIVERED", 5100),
        counts("decide", GROUP, 9, resolved=1, held=0),
    ]
    table, refused = ledger_table(logged(written))
    assert not refused
    assert table.schema == SCHEMA
    assert records_of(table) == [orjson.loads(each.value) for each in written]
    assert table["key_group"].to_pylist() == [GROUP] * 4


def test_highest_sequence_holds_whatever_the_order_of_arrival() -> None:
    states = [
        decision("mia", "e0", "AGGREGATING", ("d", 5, 0), inbox=True),
        decision("mia", "e0", "MERGED", ("d", 90, 2), inbox=True),
        decision("mia", "e0", "HELD", ("d", 9, 0), inbox=True, until=99),
        decision("mia", "e1", "SUPPRESSED", ("d", 7, 0), reason="muted"),
        decision("leo", "e0", "INBOX", ("d", 5, 1)),
    ]
    table, _ = ledger_table(logged(states + states))
    held = {(row["event_id"], row["user"]): row for row in latest(table).to_pylist()}
    assert {key: row["outcome"] for key, row in held.items()} == {
        ("e0", "mia"): "MERGED",
        ("e1", "mia"): "SUPPRESSED",
        ("e0", "leo"): "INBOX",
    }
    assert (held["e0", "mia"]["first_offset"], held["e0", "mia"]["log_offset"]) == (5, 1)
    assert latest(latest(table)).sort_by("user").to_pylist() == latest(table).sort_by("user").to_pylist()


def test_batches_are_the_same_as_single_records() -> None:
    singles = [decision(f"u{n}", "e0", "INBOX", ("d", 5, 0), inbox=True) for n in range(20)]
    rows = [orjson.loads(each.value) for each in singles]
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = (("schema", b"decision/1+arrow"), ("seq", b"d:7:5:0"))
    batch = NewRecord("ledger", 0, b"7", sink.getvalue().to_pybytes(), headers)
    columns, refused = ledger_table(logged([batch]))
    assert not refused
    assert records_of(columns) == rows
    assert set(columns["key_group"].to_pylist()) == {7}


def test_columns_of_few_values_may_be_dictionaries_null_included() -> None:
    """As decide writes a fan-out: what is the same for everybody takes one byte a row."""
    rows = 3

    def constant(value: object, kind: pa.DataType) -> pa.Array[Any]:
        return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), pa.array([value], kind))

    text = pa.string()
    columns = {
        "kind": constant("decision", text),
        "event_id": constant("e0", text),
        "user": pa.array(["a", "b", "c"]),
        "outcome": pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), pa.array(["INBOX", "SUPPRESSED"])),
        "reason": pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), pa.array([None, "muted"], text)),
        "inbox": pa.array([True, False, True]),
        "decided_at": constant(5, pa.int64()),
        "cap_hour": pa.array([1, None, 2], pa.int32()),
        "actor": constant(None, text),
    }
    sink = pa.BufferOutputStream()
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    headers = (("schema", b"decision/1+arrow"), ("seq", b"d:7:5:0"))
    table, refused = ledger_table(logged([NewRecord("ledger", 0, b"7", sink.getvalue().to_pybytes(), headers)]))
    assert not refused
    assert table["reason"].to_pylist() == [None, "muted", None]
    assert table["actor"].to_pylist() == [None] * 3
    assert [(row["user"], row["outcome"], row["cap_hour"]) for row in records_of(latest(table))] == [
        ("a", "INBOX", 1),
        ("b", "SUPPRESSED", None),
        ("c", "INBOX", 2),
    ]


def test_what_cannot_be_read_is_refused_and_the_rest_is_not() -> None:
    good = decision("mia", "e0", "INBOX", ("d", 5, 0))
    bad = [
        good._replace(value=b'{"kind":"decision"'),
        good._replace(value=b"null"),
        good._replace(value=good.value + b"\n" + good.value),
        good._replace(value=good.value.replace(b'"cap_hour":null', b'"cap_hour":%d' % (1 << 63))),
        good._replace(value=b'{"kind":"decision","user":"mia"}'),
        good._replace(value=good.value.replace(b'"decided_at":5000', b'"decided_at":"soon"')),
        good._replace(headers=(("schema", b"poem/1+json"),)),
        good._replace(headers=(("schema", b"decision/1+json"), ("seq", b"d:1"))),
        record("ledger", "counts/1+json", {"owner": "decide"}, group=GROUP),
    ]
    table, refused = ledger_table(logged([good, *bad, good]))
    assert len(table) == 2
    assert sorted(each.record.offset for each in refused) == [*range(1, len(bad) + 1)]
