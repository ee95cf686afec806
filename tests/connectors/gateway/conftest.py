"""One gateway for the tests of calls, with one inbox that holds rows."""

from collections.abc import Iterator

import pytest
from helpers.callers import ANNE, fill_inbox
from helpers.gateway import Gateway, running


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    fill_inbox(directory, ANNE)
    with running(directory) as started:
        yield started
