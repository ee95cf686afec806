from collections.abc import Iterator

import pytest
from helpers.fence_child import close_opened
from helpers.log_harness import end_children


@pytest.fixture(autouse=True)
def _nothing_outlives_its_test() -> Iterator[None]:
    yield
    end_children()
    close_opened()
