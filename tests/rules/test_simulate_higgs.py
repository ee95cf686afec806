"""Model and product on 100 000 events of the Higgs data set, with different workers and batches; on a made-up sample
where the data is not there.

The model runs once per size. A batch of one record is slow to run whole: it and other awkward pairs take 10 000 events,
once to the end and once cut off in the middle of the burst, where much is held and aggregating.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from reference.model import simulate
from rules.agreement import ndjson
from rules.higgs import DATA, REAL, higgs_stream
from rules.higgs_sample import BURST, SAMPLE, TABLES
from rules.writing import Line, differences

from flows.simulation.run import run_simulation

WHOLE = 100_000
REDUCED = 10_000
SMALL = 2_500
CUT = BURST[len(BURST) // 2] * 1000


@cache
def both(data: Path, events: int, until: int | None = None) -> tuple[list[bytes], list[Line]]:
    """The stream's lines, and what the model makes of them."""
    lines = ndjson([record for record in higgs_stream(data, events) if until is None or record["ts"] <= until])
    return lines, simulate((json.loads(line) for line in lines), inbox=True)


@pytest.mark.parametrize(
    ("data", "events", "until", "workers", "batch"),
    [
        pytest.param(DATA, WHOLE, None, 4, 1000, marks=REAL),
        pytest.param(DATA, REDUCED, None, 1, 1000, marks=REAL),
        pytest.param(DATA, REDUCED, None, 1, 1, marks=REAL),
        pytest.param(DATA, REDUCED, None, 2, 7, marks=REAL),
        pytest.param(DATA, REDUCED, CUT, 4, 1, marks=REAL),
        pytest.param(DATA, REDUCED, CUT, 1, 100_000, marks=REAL),
        (SAMPLE, SMALL, None, 4, 1000),
        (SAMPLE, SMALL, CUT, 2, 7),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else None,
)
def test_product_decides_as_the_model(data: Path, events: int, until: int | None, workers: int, batch: int) -> None:
    lines, expected = both(data, events, until)
    actual = run_simulation(lines, inbox=True, workers=workers, batch=batch)
    assert differences(expected, actual) == ""


@pytest.mark.parametrize(
    ("data", "events", "cut_off"),
    [pytest.param(DATA, WHOLE, REDUCED, marks=REAL), (SAMPLE, SMALL, SMALL)],
    ids=["data", "sample"],
)
def test_the_stream_is_what_it_says(data: Path, events: int, cut_off: int) -> None:
    lines, expected = both(data, events)
    records = [json.loads(line) for line in lines]
    times = [record["ts"] for record in records]
    assert times == sorted(times)
    assert sum(record["kind"] == "event" for record in records) == events
    decisions = sum(line["kind"] == "decision" for line in expected)
    assert events < decisions < 6 * events
    outcomes = {line.get("outcome") for line in both(data, cut_off, CUT)[1]}
    assert {"HELD", "AGGREGATING"} <= outcomes


@pytest.mark.parametrize("name", TABLES)
def test_the_sample_is_what_its_program_writes(name: str) -> None:
    assert pq.read_table(SAMPLE / name).equals(TABLES[name]())
