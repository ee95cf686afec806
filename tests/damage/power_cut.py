"""The power goes: what was not flushed is gone. On a file system of its own, shut down as it stands.

`make power-cut`, as root; not among all tests, since it needs a loop device.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.up import Up, running
from helpers.waiting import wait_for

_SHUT_DOWN = 0x8004587D
_WITHOUT_FLUSH = (2).to_bytes(4, "little")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and os.geteuid() != 0:
        pytest.fail("only root can mount a file system; run the fault tests as root")
    assert not done.returncode, done.stderr


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    _run("mount", "-o", "loop", str(image), str(at))
    try:
        yield at
    finally:
        wait_for(lambda: not subprocess.run(("umount", str(at)), check=False).returncode, 60, "the end of all users")


def cut_power(disk: Path) -> None:
    """Nothing that is in memory alone reaches the disk any more."""
    descriptor = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUT_DOWN, _WITHOUT_FLUSH)
    finally:
        os.close(descriptor)


def post(up: Up, number: int) -> None:
    event = {"type": "mention", "actor": "ada", "target": f"user{number % 7}", "object": f"o{number}",
             "event_id": f"cut-{number:05}"}  # fmt: skip
    status, _ = up.call("POST", "/v1/notifications", event)
    assert status == 202


def test_with_sync_full_a_power_cut_loses_nothing_and_the_next_start_goes_on(tmp_path: Path) -> None:
    image, at = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(600 << 20)
    _run("mkfs.ext4", "-q", "-F", str(image))
    at.mkdir()
    environment = {"CARILLON_EMBEDDED__SYNC_FULL": "true"}
    with mounted(image, at) as disk, running(disk / "data", environment=environment) as up:
        for number in range(40):
            post(up, number)
        cut_power(disk)
    with mounted(image, at) as disk, running(disk / "data", environment=environment) as up:
        post(up, 1000)
        wanted = {f"cut-{number:05}" for number in (*range(40), 1000)}

        def decided() -> set[str]:
            return {value["event_id"] for value in up.ledger() if value["kind"] == "decision"}

        wait_for(lambda: wanted <= decided(), 90, "all decisions")
        assert up.stop() == 0
        assert up.carillon("ledger", "--check").returncode == 0
