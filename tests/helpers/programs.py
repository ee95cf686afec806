"""Programs that a test starts, kills and waits for; whatever goes wrong, none outlives the test."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from helpers.places import ROOT


@contextmanager
def running(program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python program that prints `ready`; it is killed at the end if it still runs."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n", "the program failed before it was ready"
        yield process
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()


def drain(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and the clean end that must follow."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 0
