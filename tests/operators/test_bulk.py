"""The law of the two ways: recipients decided in columns end as those decided one by one."""

import orjson
import pytest
from rules.random_streams import random_stream

from flows.simulation.run import run_simulation

NEVER = 1 << 30


@pytest.mark.parametrize("seed", range(40))
def test_columns_and_single_decisions_agree(seed: int) -> None:
    lines = [orjson.dumps(record) for record in random_stream(seed)]
    in_columns = run_simulation(lines, inbox=True, bulk_from=1)
    assert in_columns == run_simulation(lines, inbox=True, bulk_from=NEVER)
