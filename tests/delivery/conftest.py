from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery.feeding import System
from delivery.sandbox_process import Sandbox, running_sandbox


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
