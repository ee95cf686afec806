"""Model and product on Hypothesis streams, record by record, on any number of workers and any batch size."""

from __future__ import annotations

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from reference.model import simulate
from rules.agreement import ndjson
from rules.streams import streams
from rules.writing import Line, differences

from flows.simulation.run import run_simulation

slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def agree(records: list[Line], workers: int, batch: int) -> None:
    actual = run_simulation(ndjson(records), inbox=True, workers=workers, batch=batch)
    found = differences(simulate(records, inbox=True), actual)
    if found:
        note("\n".join(line.decode().rstrip() for line in ndjson(records)))
    assert found == "", f"{workers} workers, batch {batch}\n{found}"


@given(streams())
@settings(slow, max_examples=250)
def test_one_worker(records: list[Line]) -> None:
    agree(records, 1, 1000)


@given(streams(), st.sampled_from([1, 2, 4]), st.sampled_from([1, 7, 1000]))
@settings(slow, max_examples=60)
def test_workers_and_batches(records: list[Line], workers: int, batch: int) -> None:
    agree(records, workers, batch)
