"""A sandbox that the tests of a module share."""

from collections.abc import Iterator

import pytest
from helpers.sandbox_process import Sandbox, running_sandbox


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running
