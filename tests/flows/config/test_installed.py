"""A provider of another installed package: one file, one table of the configuration, and its messages go there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.feeding import System
from helpers.sandbox_process import running_sandbox
from helpers.up import carillon
from helpers.waiting import wait_for

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "pigeon-post"
version = "1.0"

[project.entry-points."carillon.providers"]
pigeon = "pigeon_post:PROVIDER"
lame = "pigeon_post:nothing"
"""
MODULE = """
import json
from dataclasses import dataclass
from pathlib import Path

from connectors.providers.channel import CheckResult, Rejected, Sent
from connectors.providers.provider import Provider


@dataclass(frozen=True, kw_only=True)
class PigeonOptions:
    loft: Path
    secret: str = ""
    concurrency_max: int = 2
    rate_per_s: float = 10.0
    backlog_share: float = 0.5
    p0_share: float = 0.2
    standby: bool = False

    def faults(self):
        if not self.loft.parent.exists():
            yield "providers.installed.pigeon.loft: there is no such place"


class PigeonChannel:
    name = "pigeon"

    def __init__(self, options, egress):
        self.options = options

    def provider_id(self, key):
        return f"ring-{len(key)}"

    async def connect(self):
        self.options.loft.touch()

    async def check(self):
        return CheckResult(True, "coos")

    async def send(self, delivery):
        if delivery.address == "cat":
            return Rejected("eaten", token_gone=delivery.registered_at)
        with self.options.loft.open("a") as loft:
            loft.write(json.dumps({"to": delivery.address, "text": delivery.content.text}) + "\\n")
        return Sent(delivery.provider_id)

    async def close(self):
        pass


PROVIDER = Provider(("chat", "*"), "chat by pigeon", PigeonOptions, PigeonChannel, "text")
"""
CANARY = "canary-0123456789abcdef"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package was installed, as a user would."""
    source, target = tmp_path_factory.mktemp("pigeon"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "pigeon_post.py").write_text(MODULE)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, timeout=120)
    return target


@contextmanager
def configured(directory: Path, *lines: str) -> Iterator[Path]:
    directory.mkdir(exist_ok=True)
    (directory / "carillon.toml").write_text("\n".join(lines) + "\n")
    yield directory / "carillon.toml"


def checked(tmp_path: Path, site: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    with configured(tmp_path, *lines) as file:
        environment = {"PYTHONPATH": str(site), "CARILLON_CONFIG": str(file)}
        return carillon("check", "--json", "--data", str(tmp_path / "data"), environment=environment)


def test_it_takes_the_messages_of_its_channel(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(site))
    loft = tmp_path / "loft"
    with configured(tmp_path, "[providers.installed.pigeon]", f'loft = "{loft}"'), running_sandbox(tmp_path):
        system = System(tmp_path)
        system.feed([system.emission("u1", "chat", [("c1", "loft 7"), ("c2", "cat")])])
        with system.flow("deliver"):
            wait_for(lambda: len(system.deliveries()) == 2)
            wait_for(lambda: system.read("endpoints"))
        found = {r["device"]: (r["provider"], r["outcome"], r["reason"]) for r in system.deliveries().values()}
    assert found == {"c1": ("pigeon", "DELIVERED", None), "c2": ("pigeon", "DEAD_LETTER", "eaten")}
    assert [json.loads(line) for line in loft.read_text().splitlines()] == [
        {"to": "loft 7", "text": "ann liked your photo"}
    ]
    (verdict,) = system.values("endpoints")
    assert (verdict["id"], verdict["state"]) == ("c2", "invalid")


def test_check_tries_it_in_place_of_the_simulator_and_shows_no_secret(tmp_path: Path, site: Path) -> None:
    done = checked(
        tmp_path, site, "[providers.installed.pigeon]", f'loft = "{tmp_path / "loft"}"', f'secret = "{CANARY}"'
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"provider chat by pigeon (pigeon)"' in done.stdout
    assert "coos" in done.stdout
    assert "sandbox webhook" in done.stdout
    assert "sandbox chat" not in done.stdout
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (("[providers.installed.raven]",), "providers.installed.raven: no installed package has such a provider"),
        (("[providers.installed.lame]",), "providers.installed.lame: pigeon_post:nothing cannot be loaded"),
        (("[providers.installed.pigeon]",), "providers.installed.pigeon.loft: missing"),
        (("[providers.installed.pigeon]", "wings = 2"), "providers.installed.pigeon.wings: unknown key"),
        (("[providers.installed.pigeon]", 'loft = "no/where/x"'), "providers.installed.pigeon.loft: there is no such"),
        (
            ("[providers.chat]", "[providers.installed.pigeon]", 'loft = "loft"'),
            "providers.installed.pigeon: serves chat by pigeon with other addresses than providers.chat",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, site: Path, lines: tuple[str, ...], named: str) -> None:
    done = checked(tmp_path, site, *lines)
    assert done.returncode == 1
    assert named in done.stderr


def test_who_only_reads_needs_no_provider(tmp_path: Path) -> None:
    """The ledger of a system may be read on another machine, where its package is not."""
    data = str(tmp_path / "data")
    with configured(tmp_path, "[providers.installed.pigeon]", 'loft = "loft"') as file:
        environment = {"CARILLON_CONFIG": str(file)}
        assert carillon("topics", "create", "--data", data).returncode == 0
        for command in (("ledger",), ("ledger", "--check"), ("audit", "verify")):
            done = carillon(*command, "--data", data, environment=environment)
            assert done.returncode == 0, done.stderr
        assert "no installed package" in carillon("check", "--data", data, environment=environment).stderr
