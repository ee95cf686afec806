"""The law of the two ways, on every field: recipients decided in columns leave the same records as those decided one by
one, as Arrow batches instead of JSON.
"""

from __future__ import annotations

from collections import defaultdict

import orjson
import pytest
from helpers.deciding import NEVER, placed_by_group
from helpers.rows import rows_of
from rules.random_streams import random_stream

from flows.steps.decide.outputs import OutputWriter
from operators.decide import apply
from state.decide.group import GroupState
from state.model.registry import load_registry
from state.model.work import Work

REGISTRY = load_registry()
Rows = dict[tuple[str, str], list[str]]


def _written(records: list[tuple[int, Work]], bulk_from: int) -> tuple[Rows, tuple[int, ...], bool]:
    """(rows by topic and kind, sorted; the terms of the laws; whether there was any batch)."""
    state, writer = GroupState(REGISTRY), OutputWriter(0, 4)
    state.bulk_from = bulk_from
    rows: Rows = defaultdict(list)
    batches = False
    for place, work in records:
        for record in writer.encode(state, apply(state, work, place), place):
            schema = dict(record.headers)["schema"].decode()
            batches |= schema.endswith("+arrow")
            for row in rows_of(record):
                full = {name: value for name, value in row.items() if value is not None}
                full["windowed"] = bool(row.get("windowed"))  # left out of the JSON where false
                full |= {"partition": record.partition, "from": place}
                kind = row.get("kind", "") if record.topic == "ledger" else record.topic
                rows[record.topic, kind].append(orjson.dumps(full, option=orjson.OPT_SORT_KEYS).decode())
    return {key: sorted(each) for key, each in rows.items()}, state.count_terms(), batches


@pytest.mark.parametrize("seed", range(40))
def test_batches_hold_what_single_records_would(seed: int) -> None:
    batches = False
    for records in placed_by_group(random_stream(seed), REGISTRY).values():
        in_columns, terms, some = _written(records, 1)
        alone, terms_alone, none = _written(records, NEVER)
        batches |= some
        assert not none
        assert terms == terms_alone
        for key in in_columns.keys() | alone.keys():
            assert in_columns.get(key) == alone.get(key), key
    assert batches
