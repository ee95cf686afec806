"""Processes that benches start and look at (Linux tells what they take), and how they talk to a system that runs."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.figures import ROOT


@contextmanager
def started(
    command: list[str], *, core: int | None = None, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process with a pipe at both ends, perhaps on one core; SIGTERM ends it with the block."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    if core is not None and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(process.pid, {core})
    try:
        yield process
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=90)


@contextmanager
def system_up(
    directory: Path, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`carillon up --json`, and what it says when it serves. What it says later is for the caller to read."""
    command = [sys.executable, "-m", "flows.cli", "up", "--json", "--data", str(directory)]
    with started(command, environment=environment) as process:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())


def ignore_output(process: subprocess.Popen[str]) -> None:
    """Read what it says from now on, so that its pipe does not fill."""
    assert process.stdout is not None
    threading.Thread(target=process.stdout.read, daemon=True).start()


def call(url: str, path: str, key: str, method: str, body: object) -> None:
    """A call of the HTTP API that must succeed."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status in (200, 201, 202, 204), response.status


def journal(directory: Path, provider: str) -> list[dict[str, Any]]:
    """What a simulated provider noted; a line that it is writing is none yet."""
    text = (directory / "sandbox" / f"{provider}.ndjson").read_text()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def cpu_seconds(pid: int) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_rss_mb(pid: int) -> float:
    """The most resident memory, since its begin or since `forget_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak(pid: int) -> None:
    """From now on the most memory counts that is held from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def resident_bytes(pid: int) -> int:
    """Resident memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
