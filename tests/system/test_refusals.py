"""A start of `carillon up` that is refused: one line says which file, what is wrong and what to do."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.up import carillon, running

ENVIRONMENT = {"CARILLON_CONFIG": os.devnull, "CARILLON_GATEWAY__PORT": "0"}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a system that was started and stopped."""
    directory = tmp_path_factory.mktemp("stopped")
    with running(directory) as up:
        assert up.stop() == 0
    shutil.rmtree(directory / "run")  # has pipes, which cannot be copied
    return directory


def refused(directory: Path) -> str:
    done = carillon("up", "--data", str(directory), environment=ENVIRONMENT)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda place: cut(place / "credentials.json"),
            "carillon: {}/credentials.json does not decode; delete it and new credentials are made",
        ),
        (
            lambda place: (place / "state/decide/0/rocksdb/CURRENT").unlink(),
            "carillon: decide did not start: {}/state/decide/0/rocksdb: the file CURRENT is missing beside",
        ),
        (
            lambda place: cut(place / "sandbox/ca.pem"),
            "carillon: sandbox did not start: {}/sandbox: a key or certificate of the simulated providers is damaged",
        ),
    ],
)
def test_one_line_names_file_fault_and_remedy(
    stopped: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    directory = tmp_path / "data"
    shutil.copytree(stopped, directory)
    damage(directory)
    assert refused(directory).startswith(said.format(directory))
