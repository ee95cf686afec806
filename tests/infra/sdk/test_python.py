"""The package for Python, beside what every client holds."""

import ast
import asyncio
import gc
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from carillon_client import AsyncClient, Client
from carillon_client.types import NewEvent
from helpers.gateway import Gateway
from helpers.places import ROOT

PACKAGE = ROOT / "infra/sdk/python"
MODULE = PACKAGE / "carillon_client/__init__.py"
LIKE: NewEvent = {"type": "like", "actor": "ada", "target": "grace", "object": "photo1"}
USER = """
from carillon_client import AsyncClient, CarillonError, Client, keyed
from carillon_client.types import NewEvent

event: NewEvent = keyed({"type": "like", "target": "grace"})
other: NewEvent = {"typ": "like"}  # wrong
with Client("http://127.0.0.1:8700/v1", "key") as client:
    state: str = client.progress(client.send(event)["event_id"])["state"]
    number: int = client.send(event)["event_id"]  # wrong
    client.send({"type": 1})  # wrong
    client.inbox(20)  # wrong
    client.turn_rollout("e", {"verb": "stop"})  # wrong
    client.sent(event)  # wrong


async def main() -> None:
    async with AsyncClient("http://127.0.0.1:8700/v1", "key", budget_s=5) as client:
        try:
            state: str = (await client.progress("e"))["state"]
            client.progress("e")["state"]  # wrong
        except CarillonError as refused:
            print(refused.problem["status"], state)
"""


def test_the_clients_are_closed_by_their_blocks(gateway: Gateway) -> None:
    url = f"http://127.0.0.1:{gateway.port}/v1"

    async def send() -> int:
        async with AsyncClient(url, "key-shop") as client:
            return (await client.send(LIKE))["status"]

    with Client(url, "key-shop") as client:
        assert client.send(LIKE)["status"] == asyncio.run(send()) == 202


def test_cancelled_calls_free_their_turns_and_leave_nothing_unawaited(gateway: Gateway) -> None:
    """A coroutine that nobody awaits is a warning, which is an error here."""

    async def send() -> int:
        async with AsyncClient(f"http://127.0.0.1:{gateway.port}/v1", "key-shop") as client:
            for pause_s in (0, 0.001):
                calls = [asyncio.ensure_future(client.send(LIKE)) for _ in range(60)]
                await asyncio.sleep(pause_s)
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
            return (await client.send(LIKE))["status"]

    assert asyncio.run(send()) == 202
    gc.collect()


def test_a_thousand_calls_at_once_are_answered(gateway: Gateway) -> None:
    async def send() -> set[int]:
        async with AsyncClient(f"http://127.0.0.1:{gateway.port}/v1", "key-shop") as client:
            return {answer["status"] for answer in await asyncio.gather(*(client.send(LIKE) for _ in range(1_000)))}

    assert asyncio.run(send()) <= {202, 200}, "200: the answer was late, so it was sent again"


def test_it_is_a_package_of_its_own(tmp_path: Path) -> None:
    place = shutil.copytree(PACKAGE, tmp_path / "python")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=place, check=True, timeout=60)
    (wheel,) = (place / "dist").iterdir()
    held = {Path(name).name for name in ZipFile(wheel).namelist() if name.startswith("carillon_client/")}
    assert held == {"__init__.py", "__init__.pyi", "types.py", "py.typed"}


def test_all_code_is_in_one_short_file_and_the_others_are_declarations() -> None:
    assert len(MODULE.read_text(encoding="utf-8").splitlines()) < 200
    declared = ast.parse((PACKAGE / "carillon_client/types.py").read_text(encoding="utf-8"))
    assert not [one for one in ast.walk(declared) if isinstance(one, ast.FunctionDef | ast.Lambda | ast.Call)]


def test_the_one_file_runs_alone(tmp_path: Path) -> None:
    shutil.copy(MODULE, tmp_path / "carillon.py")
    program = "import carillon; carillon.Client('http://127.0.0.1/v1', 'key').send"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)


def checked(directory: Path, module: str, *arguments: str) -> str:
    """What a checker of types says to a user, who has the package and no settings of ours."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=directory, env={**os.environ, "MYPYPATH": str(PACKAGE), "PYTHONPATH": str(PACKAGE)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_what_is_declared_is_there(tmp_path: Path) -> None:
    assert "Success" in checked(tmp_path, "mypy.stubtest", "carillon_client")


def test_a_program_is_checked_against_the_declarations(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(USER)
    said = checked(tmp_path, "mypy", "--strict", "program.py")
    wrong = [number for number, line in enumerate(USER.splitlines(), 1) if line.endswith("# wrong")]
    assert sorted({int(line) for line in re.findall(r"^program.py:(\d+): error", said, re.MULTILINE)}) == wrong, said


def test_a_wrong_argument_is_an_error_that_names_it() -> None:
    client: Any = Client("http://127.0.0.1/v1", "key")
    with pytest.raises(TypeError, match=r"progress\(\) missing 1 required positional argument: 'event_id'"):
        client.progress()
    with pytest.raises(TypeError, match=r"put_user\(\) got an unexpected keyword argument 'documnt'"):
        client.put_user("ada", documnt={})
