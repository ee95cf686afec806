"""The sandbox as tests use it: a real process, its files, its journals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from helpers.steering import Steering, steering_of

from connectors.sandbox.options import SandboxOptions, sandbox_options

NAMES = ("apns", "fcm", "webpush", "twilio", "smpp", "smtp", "ses", "webhook", "chat")


@dataclass
class Sandbox:
    directory: Path
    process: subprocess.Popen[str]

    @property
    def options(self) -> SandboxOptions:
        return sandbox_options(self.directory / "sandbox")

    def steering(self) -> Steering:
        """With the development credentials of its directory, which are made if there are none."""
        return steering_of(self.directory)

    seen: dict[str, int] = field(default_factory=dict)
    """Lines of each journal that belong to tests before this one."""

    def begin(self) -> None:
        """From here on only new entries count."""
        self.seen = {name: len(self._lines(name)) for name in NAMES}

    def journal(self, provider: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._lines(provider)[self.seen.get(provider, 0) :]]

    def _lines(self, provider: str) -> list[str]:
        """Without one that is still being written."""
        written = (self.directory / "sandbox" / f"{provider}.ndjson").read_text()
        return written.rpartition("\n")[0].splitlines()

    def to(self, provider: str, address: str) -> list[dict[str, object]]:
        return [entry for entry in self.journal(provider) if entry["to"] == address]


@contextmanager
def running_sandbox(directory: Path) -> Iterator[Sandbox]:
    process = subprocess.Popen(
        [sys.executable, "-m", "connectors.sandbox", "--dir", str(directory)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the sandbox did not start"
        yield Sandbox(directory, process)
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        if process.stdout is not None:
            process.stdout.close()
