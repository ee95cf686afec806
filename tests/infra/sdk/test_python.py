"""The package for Python, beside what every client holds."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from carillon_client import AsyncClient, Client
from carillon_client.types import NewEvent
from helpers.gateway import Gateway
from helpers.places import ROOT

PACKAGE = ROOT / "infra/sdk/python"
LIKE: NewEvent = {"type": "like", "actor": "ada", "target": "grace", "object": "photo1"}


def test_the_clients_are_closed_by_their_blocks(gateway: Gateway) -> None:
    url = f"http://127.0.0.1:{gateway.port}/v1"

    async def send() -> int:
        async with AsyncClient(url, "key-shop") as client:
            return (await client.send(LIKE))["status"]

    with Client(url, "key-shop") as client:
        assert client.send(LIKE)["status"] == asyncio.run(send()) == 202


def test_a_thousand_calls_at_once_are_answered(gateway: Gateway) -> None:
    async def send() -> set[int]:
        async with AsyncClient(f"http://127.0.0.1:{gateway.port}/v1", "key-shop") as client:
            return {answer["status"] for answer in await asyncio.gather(*(client.send(LIKE) for _ in range(1_000)))}

    assert asyncio.run(send()) == {202}


def test_it_is_a_package_of_its_own(tmp_path: Path) -> None:
    place = shutil.copytree(PACKAGE, tmp_path / "python")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=place, check=True, timeout=60)
    (wheel,) = (place / "dist").iterdir()
    held = {Path(name).name for name in ZipFile(wheel).namelist() if name.startswith("carillon_client/")}
    assert held == {"__init__.py", "clients.py", "core.py", "types.py", "py.typed"}


def test_what_is_written_by_hand_is_short() -> None:
    assert len((PACKAGE / "carillon_client/core.py").read_text().splitlines()) < 200
