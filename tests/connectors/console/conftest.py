from collections.abc import Iterator

import pytest
from helpers.gateway import Gateway, running


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of the module's own, and nothing was sent to it yet."""
    with running(tmp_path_factory.mktemp("console")) as gateway:
        yield gateway
