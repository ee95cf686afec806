"""Flows as processes that a test kills and starts again, as the supervisor runs them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from helpers.waiting import wait_for

from flows.process.run_files import ready_file


class FlowProcesses:
    """Named processes over one data directory; each runs the flows of its name."""

    def __init__(self, directory: Path, environment: dict[str, str] | None = None) -> None:
        self._directory = directory
        self._environment = {
            **os.environ,
            "CARILLON_DATA_DIR": str(directory),
            "CARILLON_LANES__EPOCH": "100ms",
            **(environment or {}),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start the process that runs the flow `name`."""
        if (before := self._processes.get(name)) is not None and before.stdin is not None:
            before.stdin.close()
        ready_file(self._directory, name).unlink(missing_ok=True)
        with (self._directory / f"{name}.out").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "flows.up.launch", name, "flows", name],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )

    def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone."""
        process = self._processes[name]
        assert process.poll() is None, f"{name} was not alive: {self.output(name)}"
        process.kill()
        process.wait(60)

    def drain(self) -> list[int]:
        """SIGTERM to all; their exit codes."""
        for name in self._processes:
            self._terminate(name)
        return [process.wait(90) for process in self._processes.values()]

    def stop(self, name: str) -> int:
        """SIGTERM to one; its exit code."""
        self._terminate(name)
        return self._processes[name].wait(90)

    def _terminate(self, name: str) -> None:
        """Once it runs: before that it has nothing to drain, and at first it dies of the signal."""
        process, ready = self._processes[name], ready_file(self._directory, name)
        wait_for(lambda: ready.exists() or process.poll() is not None, what=f"{name} runs")
        process.send_signal(signal.SIGTERM)

    def ended(self, name: str, within_s: float) -> int:
        """Wait until it ends by itself; its exit code."""
        return self._processes[name].wait(within_s)

    def end(self) -> None:
        """Leave nothing behind."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait(60)
            if process.stdin is not None:
                process.stdin.close()

    def output(self, name: str) -> str:
        """The end of what it printed, for a failure."""
        return (self._directory / f"{name}.out").read_text(errors="replace")[-3000:]

    def is_alive(self, name: str) -> bool:
        return self._processes[name].poll() is None
