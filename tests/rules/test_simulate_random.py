"""Model and product on seeded random streams, record by record."""

from __future__ import annotations

import pytest
from rules.agreement import disagreement
from rules.random_streams import random_stream

from flows.simulation.run import run_simulation

WAYS = [(1, 1000), (1, 7), (1, 1), (2, 1000), (2, 7), (4, 1000), (4, 7), (4, 1)]


@pytest.mark.parametrize("seed", range(300))
def test_one_worker(seed: int) -> None:
    assert disagreement(run_simulation, random_stream(seed)) == "", f"seed {seed}"


@pytest.mark.parametrize("seed", range(1000, 1048))
def test_workers_and_batches(seed: int) -> None:
    workers, batch = WAYS[seed % len(WAYS)]
    found = disagreement(run_simulation, random_stream(seed), workers=workers, batch=batch)
    assert found == "", f"seed {seed}"
