"""Whatever a foreign writer puts into a batch of many, it is read, or refused by the name of what is wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from golden import scenario

from connectors.log import NewRecord
from connectors.log.interface import Record
from state.ledger import ledger_table
from state.model.arrow import batch_bytes, batch_table, common_json, same
from state.model.delivery import EMISSION_SLICE, decode_to_deliver
from state.model.errors import MalformedRecordError
from state.model.inbox import INBOX_SLICE, decode_operations
from state.slices import SCHEMA, expand, expand_many, outlines

Parts = tuple[str, dict[str, Any], Any]
BATCHES = [
    record for record in scenario.decided()[1] if dict(record.headers)["schema"] in (SCHEMA, EMISSION_SLICE.encode())
]


def damaged(record: NewRecord) -> Iterator[Parts]:
    """(what was done to it, columns, what they have in common): each is gone or something else for once."""
    table = batch_table(record.value, "batch")
    common = json.loads(common_json(table, "batch"))
    columns: dict[str, Any] = {name: table[name].combine_chunks() for name in table.column_names}
    rows = len(table)
    values: list[object] = ["x", 1.5, b"ab", 300, -5, [1], True]
    others: list[Any] = [pa.nulls(rows), pa.array([b"ab"] * rows, pa.binary(2))]
    others += [pa.array([value] * rows) for value in values]
    for name in columns:
        yield f"no {name}", {each: column for each, column in columns.items() if each != name}, common
        for other in others:
            yield f"{name}: {other.type}", {**columns, name: other}, common
    for name in common:
        yield f"no common {name}", columns, {each: value for each, value in common.items() if each != name}
        for wrong in json.loads('[null, 5, 18446744073709551616, "x", [], {}, [{"outcome": "EMITTED"}]]'):
            yield f"common {name}: {wrong}", columns, {**common, name: wrong}
    yield "a list in common", columns, [1]


def test_a_damaged_batch_is_read_or_refused() -> None:
    refused = read = 0
    for record in BATCHES:
        for _, columns, common in damaged(record):
            value = batch_bytes(columns, common)
            try:
                expand(value) if record.topic == "ledger" else decode_to_deliver(EMISSION_SLICE, value)
                read += 1
            except MalformedRecordError:
                refused += 1
    assert refused > read > 50


def test_a_slice_that_has_an_outline_is_never_refused() -> None:
    """What is kept for later must not turn out then to be none. Of sound ones each has an outline."""
    choose, sound = random.Random(5), [each.value for each in BATCHES if each.topic == "ledger"]
    values = [
        batch_bytes(columns, common)
        for record in BATCHES if record.topic == "ledger"
        for _, columns, common in damaged(record)
    ]  # fmt: skip
    for _ in range(1_000):
        changed = bytearray(choose.choice(sound))
        changed[choose.randrange(len(changed))] = choose.randrange(256)
        values.append(bytes(changed))
    outlined = [value for value in values if outlines([value])[0] is not None]
    assert len(outlined) > 20
    for value in [*outlined, *sound]:
        [outline] = outlines([value])
        decisions, emissions = expand(value)
        assert outline is not None
        assert outline.rows == len(decisions) + (0 if emissions is None else len(emissions))
        assert {*decisions["event_id"].to_pylist()} == {outline.facts.event_id}
    _, decided, emitted = expand_many(outlined)
    assert sum(decided) + sum(emitted) == sum(each.rows for each in outlines(outlined) if each is not None)


def _read(topic: str, value: bytes) -> list[Any]:
    if topic == "ledger":
        return [*expand(value).decisions.to_pylist()]
    return list(decode_operations(INBOX_SLICE, value) if topic == "inbox" else decode_to_deliver(EMISSION_SLICE, value))


def test_bytes_that_changed_are_read_or_refused() -> None:
    """Never the end of the process, as Arrow has it with offsets that point elsewhere."""
    inbox = [each for each in scenario.decided()[1] if dict(each.headers)["schema"] == INBOX_SLICE.encode()]
    choose, refused, read = random.Random(3), 0, 0
    for _ in range(1_500):
        record = choose.choice([*BATCHES, *inbox])
        value = bytearray(record.value)
        for _ in range(choose.choice([1, 1, 2, 5])):
            value[choose.randrange(len(value))] = choose.randrange(256)
        try:
            _read(record.topic, bytes(value))
            read += 1
        except MalformedRecordError:
            refused += 1
    assert refused > read > 50


@pytest.mark.parametrize("value", [b"", b"nonsense", batch_bytes({"user": same("u", 1)}), batch_bytes({}, {"a": 1})])
def test_what_is_no_slice_is_refused_by_name(value: bytes) -> None:
    headers = (("schema", SCHEMA), ("seq", b"d:7:5:0"))
    table, refused = ledger_table([Record("ledger", 0, 0, 0, b"", value, headers)])
    assert len(table) == 0
    assert [str(each.error).partition(":")[0] for each in refused] == ["slice"]


def _rows(table: pa.Table | None, begin: int = 0, size: int | None = None) -> list[Any]:
    """Alone a slice has no column of what none of its rows has."""
    rows = [] if table is None else table.slice(begin, size).to_pylist()
    return [{name: value for name, value in row.items() if value is not None or name != "until"} for row in rows]


def test_slices_expanded_together_are_those_expanded_alone() -> None:
    """Of different events, with different columns, and some without rows."""
    values: list[bytes] = []
    for record in BATCHES:
        if record.topic == "ledger":
            table = batch_table(record.value, "batch")
            common = json.loads(common_json(table, "batch"))
            for place, rows in ((0, len(table)), (5, len(table) // 2), (6, 0), (7, len(table))):
                columns = {name: table[name].combine_chunks().slice(0, rows) for name in table.column_names}
                values.append(batch_bytes(columns, common | {"place": common["place"] + place}))
            sent = [number for number, ending in enumerate(common["endings"]) if ending.get("emitted")]
            unsent = table.filter(~pc.field("ending").isin(sent)).drop_columns(["tag", "deliveries"])
            columns = {name: unsent[name].combine_chunks() for name in unsent.column_names}
            values.append(batch_bytes(columns, common | {"event_id": "quiet"}))
    for chosen in (random.Random(seed).sample(values, 1 + seed % len(values)) for seed in range(40)):
        (decisions, emissions), decided, emitted = expand_many(chosen)
        assert len(decisions) == decided.sum()
        for number, value in enumerate(chosen):
            alone = expand(value)
            assert _rows(alone.decisions) == _rows(decisions, decided[:number].sum(), decided[number])
            assert _rows(alone.emissions) == _rows(emissions, emitted[:number].sum(), emitted[number])


def test_what_a_slice_lacks_is_not_taken_from_the_one_beside_it() -> None:
    good = next(each for each in BATCHES if each.topic == "ledger" and b'"emitted":true' in each.value)
    table = batch_table(good.value, "batch")
    columns: dict[str, Any] = {name: table[name].combine_chunks() for name in table.column_names}
    refused = []
    for name in columns:
        left = {each: column for each, column in columns.items() if each != name}
        bad = batch_bytes(left, json.loads(common_json(table, "batch")))
        records = [Record("ledger", 0, n, 0, b"", value, good.headers) for n, value in enumerate((good.value, bad))]
        refused += [(each.record.offset, name in str(each.error)) for each in ledger_table(records)[1]]
    assert refused == [(1, True)] * (len(columns) - ("held_ms" in columns))


def test_an_ending_that_is_not_in_the_list_is_refused() -> None:
    record = next(each for each in BATCHES if each.topic == "ledger")
    table = batch_table(record.value, "batch")
    columns: dict[str, Any] = {name: table[name].combine_chunks() for name in table.column_names}
    for beyond in (-1, 200):
        columns["ending"] = pa.array([beyond] * len(table))
        with pytest.raises(MalformedRecordError, match="ending"):
            expand(batch_bytes(columns, json.loads(common_json(table, "batch"))))
