"""Model and product on 100 000 events of the Higgs data set, with different workers and batches.

The model runs once per size. A batch of one record is slow to run whole: it and other awkward pairs take 10 000 events,
once to the end and once cut off in the middle of the burst, where much is held and aggregating.
"""

from __future__ import annotations

import json
from functools import cache

import pytest
from reference.model import simulate
from rules.agreement import ndjson
from rules.higgs import BURST, DATA, higgs_stream
from rules.writing import Line, differences

from flows.simulation.run import run_simulation

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not beside the repository")

WHOLE = 100_000
REDUCED = 10_000
CUT = BURST[len(BURST) // 2] * 1000


@cache
def both(events: int, until: int | None = None) -> tuple[list[bytes], list[Line]]:
    """The stream's lines, and what the model makes of them."""
    lines = ndjson([record for record in higgs_stream(events) if until is None or record["ts"] <= until])
    return lines, simulate((json.loads(line) for line in lines), inbox=True)


@pytest.mark.parametrize(
    ("events", "until", "workers", "batch"),
    [
        (WHOLE, None, 1, 1000),
        (WHOLE, None, 4, 1000),
        (REDUCED, None, 1, 1),
        (REDUCED, None, 2, 7),
        (REDUCED, CUT, 4, 1),
        (REDUCED, CUT, 1, 100_000),
    ],
)
def test_product_decides_as_the_model(events: int, until: int | None, workers: int, batch: int) -> None:
    lines, expected = both(events, until)
    actual = run_simulation(lines, inbox=True, workers=workers, batch=batch)
    assert differences(expected, actual) == ""


def test_the_stream_is_what_it_says() -> None:
    lines, expected = both(WHOLE)
    records = [json.loads(line) for line in lines]
    times = [record["ts"] for record in records]
    assert times == sorted(times)
    assert sum(record["kind"] == "event" for record in records) == WHOLE
    decisions = sum(line["kind"] == "decision" for line in expected)
    assert WHOLE < decisions < 600_000
    outcomes = {line.get("outcome") for line in both(REDUCED, CUT)[1]}
    assert {"HELD", "AGGREGATING"} <= outcomes
