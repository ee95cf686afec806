"""A full disk: nothing is acknowledged that was not stored, everything says what is wrong, and once there is room again
nothing is missing.
"""

import asyncio
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from damage.stores import STORES, claim
from helpers.places import TESTS
from helpers.up import Up, running
from helpers.waiting import wait_for

from connectors.admission.interface import ReserveOutcome
from connectors.admission.rocksdb import RocksAdmissionStore
from flows.commands.check import check
from flows.config.settings import Settings
from state.model.errors import LogError, StateDamagedError, StateError, StoreUnavailableError

_LIBC = ctypes.CDLL(None, use_errno=True)
FILL = """
import sys
from pathlib import Path
from damage.stores import STORES
acknowledged = 0
def commits():
    global acknowledged
    while acknowledged < 100_000:
        yield acknowledged + 1
        acknowledged += 1
try:
    STORES[sys.argv[1]].write(Path(sys.argv[2]), commits())
except BaseException as error:
    print(f"{acknowledged} {type(error).__module__}.{type(error).__name__}: {error}", flush=True)
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    """A file system of its own; needs root, as the fault tests do."""
    directory.mkdir()
    failed = _LIBC.mount(b"tmpfs", str(directory).encode(), b"tmpfs", 0, f"size={size}".encode())
    if failed and os.geteuid() != 0:
        pytest.fail("only root can make a small file system; run the fault tests as root")
    assert not failed, os.strerror(ctypes.get_errno())
    try:
        yield directory
    finally:
        assert not _LIBC.umount2(str(directory).encode(), 2)


@pytest.mark.parametrize("name", ["sequence", "decide", "admission", "deliver", "transactional", "log"])
def test_a_store_on_a_full_disk_keeps_what_it_acknowledged(name: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1_800_000))
        done = subprocess.run(
            [sys.executable, "-c", FILL, name, str(disk / "store")],
            cwd=TESTS, env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        acknowledged, _, told = done.stdout.partition(" ")
        assert "No space left" in told or "disk is full" in told or "disk I/O error" in told, (told, done.stderr)
        ballast.unlink()
        number, found = STORES[name].read(disk / "store")
        assert number > 20
        assert number in (int(acknowledged), int(acknowledged) + 1), "the last one may be there though it was refused"
        assert found == STORES[name].expected(number)


def test_the_admission_store_goes_on_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1_500_000))
        store = RocksAdmissionStore(disk / "store")

        async def reserve(number: int) -> ReserveOutcome:
            return (await store.reserve([claim(number)], 1))[0].outcome

        async def scenario() -> None:
            last, told = 0, ""
            try:
                while await reserve(last + 1) is ReserveOutcome.NEW:
                    last += 1
            except StoreUnavailableError as error:
                told = str(error)
            assert "No space left" in told
            with pytest.raises(StoreUnavailableError):
                await reserve(last + 2)
            ballast.unlink()
            assert await reserve(last + 3) is ReserveOutcome.NEW
            assert await reserve(1) is await reserve(last) is ReserveOutcome.REPEAT
            await store.close()

        asyncio.run(scenario())


@pytest.mark.parametrize("name", [name for name in STORES if name != "transactional"])  # it reads, and stores at once
def test_a_disk_that_went_read_only_is_named(name: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "16m") as disk:
        subprocess.run(
            [sys.executable, "-m", "damage.stores", name, str(disk / "store"), "5"],
            cwd=TESTS, env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}, timeout=60, check=False,
        )  # fmt: skip
        remount_read_only, read_only = 32 | 1, str(disk).encode()
        assert not _LIBC.mount(b"tmpfs", read_only, b"tmpfs", remount_read_only, None), os.strerror(ctypes.get_errno())
        with pytest.raises((StateError, LogError, StoreUnavailableError)) as refused:
            STORES[name].read(disk / "store")
        assert not isinstance(refused.value, StateDamagedError), "nothing is damaged"
        assert any(word in str(refused.value) for word in ("writable", "readonly", "Read-only")), str(refused.value)


def test_check_names_a_disk_without_room(tmp_path: Path) -> None:
    """Events were refused by 503, and every line said ok."""
    with small_disk(tmp_path / "disk", "16m") as disk:
        (disk / "ballast").write_bytes(bytes(11 << 20))
        [finding] = [each for each in check(Settings(data_dir=disk / "data")) if each.what == "data_dir"]
        assert not finding.ok
        assert finding.detail.endswith("5 MB of 16 are free on its disk: make room, or shorten log.retention")


def post(up: Up, number: int) -> int:
    event = {"type": "mention", "actor": "ada", "target": f"user{number % 7}", "object": f"o{number}",
             "event_id": f"full-{number:05}"}  # fmt: skip
    status, _ = up.call("POST", "/v1/notifications", event)
    return status


def fill(disk: Path) -> Path:
    """Leave no block."""
    path = disk / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return path


def test_a_system_on_a_full_disk_refuses_and_then_misses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "160m") as disk, running(disk / "data") as up:
        accepted = [number for number in range(30) if post(up, number) == 202]
        assert len(accepted) == 30
        ballast = fill(disk)
        answers = []
        for number in range(30, 330):
            answers.append(post(up, number))
            if answers[-1] == 202:
                accepted.append(number)
            ballast = fill(disk) if number % 10 == 0 else ballast
            if answers.count(503) >= 20:
                break
        assert answers.count(503) >= 20, f"the full disk was not felt: {answers}"
        # A 202 in between found room in a file that had it already; like every other it must not be missing below.
        ballast.unlink()
        wait_for(lambda: post(up, 1000) in (200, 202), what="the return of the gateway")
        accepted.append(1000)
        wait_for(lambda: post(up, 1000) == 200, what="the admission store, which knows repeats again")

        def decided() -> set[str]:
            return {value["event_id"] for value in up.ledger() if value["kind"] == "decision"}

        wanted = {f"full-{number:05}" for number in accepted}
        wait_for(lambda: wanted <= decided(), 90, "all decisions")
        assert up.stop() == 0
        assert up.carillon("ledger", "--check").returncode == 0
