"""What tests of flows share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.flow_bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    yield opened
    opened.close()
