"""A flow under the stock runner, `python -m bytewax.run`, in one process or several."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from helpers.places import ROOT

from infra.services import free_port


def _free_ports(count: int) -> set[int]:
    found = set[int]()
    while len(found) < count:
        found.add(free_port())
    return found


class StockRunner:
    """The processes of one flow over one data directory."""

    def __init__(self, flow: str, directory: Path, environment: dict[str, str] | None = None) -> None:
        self._flow, self._directory = flow, directory
        self._environment = {**os.environ, "CARILLON_DATA_DIR": str(directory), **(environment or {})}
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, processes: int, workers: int = 1) -> None:
        """Start them all; they find each other."""
        addresses = ";".join(f"127.0.0.1:{port}" for port in _free_ports(processes))
        for number in range(processes):
            several = ["-i", str(number), "-a", addresses] if processes > 1 else []
            command = [sys.executable, "-m", "bytewax.run", f"flows.{self._flow}:build()", "-s", "1", *several]
            with (self._directory / f"{self._flow}.out").open("ab") as output:
                self.processes.append(
                    subprocess.Popen(
                        [*command, "-w", str(workers)], cwd=ROOT, env=self._environment, stdout=output, stderr=output
                    )
                )

    def kill_one(self, number: int) -> None:
        """kill -9 one that is alive; the others end with it, as a process manager sees to."""
        assert self.processes[number].poll() is None, self.output()[-3000:]
        self.processes[number].send_signal(signal.SIGKILL)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        self.kill()

    def kill(self) -> list[int]:
        """kill -9 all that are left, as a process manager does when one of them died; their exit codes."""
        for process in self.processes:
            process.kill()
        codes = [process.wait(60) for process in self.processes]
        self.processes.clear()
        return codes

    def drain(self) -> None:
        """SIGTERM to all; each exits 0."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(60) for process in self.processes] == [0] * len(self.processes), self.output()[-3000:]
        self.processes.clear()

    def output(self) -> str:
        """All that they printed."""
        return (self._directory / f"{self._flow}.out").read_text(errors="replace")
