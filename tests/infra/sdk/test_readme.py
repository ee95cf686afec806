"""The examples of the SDKs' READMEs run as they are written there, on a whole system."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.places import ROOT
from helpers.up import Up, running

from infra.services import require

SDK = ROOT / "infra/sdk"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("up")) as started:
        yield started


def example(up: Up, package: str, language: str) -> str:
    """The only one, with this system's address and credentials."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", (SDK / package / "README.md").read_text(), re.DOTALL)
    token = up.carillon("token", "ada").stdout.strip()
    for said, here in (
        ("http://127.0.0.1:8700", up.first["url"]),
        ("the key of a producer", up.first["keys"]["producer"]),
        ("a token of ada", token),
    ):
        assert said in text
        text = text.replace(said, here)
    return str(text)


def test_the_example_for_python(up: Up) -> None:
    done = subprocess.run(
        [sys.executable, "-c", example(up, "python", "python")],
        cwd=SDK / "python", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check(done.stdout)


def check(said: str) -> None:
    state, statuses, refused = said.splitlines()
    assert state in ("pending", "accepted", "waiting", "decided", "delivered")
    assert re.fullmatch(r"\[ ?202, 202 ?\]", statuses)
    assert refused == "403 is not registered"


def test_the_example_for_javascript(up: Up, tmp_path: Path) -> None:
    shutil.copytree(SDK / "javascript", tmp_path / "node_modules/carillon-client")
    (tmp_path / "example.mjs").write_text(example(up, "javascript", "js"))
    done = subprocess.run(
        [require("node"), "example.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    check(done.stdout)
