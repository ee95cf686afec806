"""One gateway, with one inbox that holds rows, and a front before it that misbehaves."""

from collections.abc import Iterator

import pytest
from helpers.callers import ANNE, fill_inbox
from helpers.front import Front, front
from helpers.gateway import Gateway, running


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    fill_inbox(directory, ANNE)
    with running(directory) as started:
        yield started


@pytest.fixture
def before(gateway: Gateway) -> Iterator[Front]:
    with front(gateway.port) as started:
        yield started
