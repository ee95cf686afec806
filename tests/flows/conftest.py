"""What tests of flows share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.feeding import System
from helpers.flow_bench import Bench
from helpers.sandbox_process import Sandbox, running_sandbox


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@pytest.fixture(scope="session")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def sandbox(system: System, shared_sandbox: Sandbox) -> Sandbox:
    (system.directory / "sandbox").symlink_to(shared_sandbox.directory / "sandbox")
    shared_sandbox.begin()
    return shared_sandbox
