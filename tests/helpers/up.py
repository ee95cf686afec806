"""A whole system under `carillon up --json` in a directory of its own, for tests."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jwt
from helpers.places import ROOT
from helpers.waiting import wait_for

START_S = 120
STOP_S = 90


def state_of(pid: int) -> str:
    """As Linux has it: `S` sleeps, `T` is stopped, `Z` has ended; empty: it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[0]


def alive(pid: int) -> bool:
    return state_of(pid) not in ("Z", "")


class Up:
    """One `carillon up`; every line it printed is in `lines`."""

    def __init__(self, directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.environment = dict(environment or {})
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up", "--json", "--data", str(directory), *arguments],
            cwd=ROOT,
            env={**os.environ, "CARILLON_GATEWAY__PORT": "0", "CARILLON_CONFIG": os.devnull, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        while not self.lines and self.process.poll() is None:
            wait_for(self._gets_on(), START_S, "the first line")
        wait_for(lambda: bool(self.lines) or not self._reader.is_alive())
        assert self.lines, self.errors()
        self.first = self.lines[0]

    def _gets_on(self) -> Callable[[], bool]:
        """Whether its start is over, or one process more is ready than now: on a busy machine it takes minutes."""

        def ready() -> set[tuple[str, int]]:
            folder = self.directory / "run" / "ready"
            with suppress(FileNotFoundError):  # a second start removes what the first one left
                return {(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(folder)}
            return set()

        before = ready()
        return lambda: bool(self.lines) or self.process.poll() is not None or bool(ready() - before)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def errors(self) -> str:
        """What it said on standard error; after its end."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def session(self, user: str) -> str:
        """A user's token, as the host application makes it."""
        return jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, self.first["user_secret"], "HS256")

    def pids(self) -> dict[str, int]:
        """The processes as the printed lines have them now."""
        found = {entry["name"]: entry["pid"] for entry in self.first["processes"]}
        for line in list(self.lines[1:]):
            if line.get("event") in ("start", "restart"):
                found[line["name"]] = line["pid"]
        return found

    def kill(self, name: str) -> None:
        """Kill -9 one process and wait until the supervisor has started it again."""
        before = self.pids()[name]
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: self.pids()[name] != before, what=f"the restart of {name}")

    def stop(self) -> int:
        """SIGTERM; gives the exit code when everything has drained."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_S)
        self._reader.join(40)
        return code

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str = "producer",
        p0: bool = False,
        bearer: str | None = None,
    ) -> tuple[int, Any]:
        """One request; gives status and JSON."""
        host = self.first["p0_url" if p0 else "url"].removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=60)
        headers = {
            "authorization": f"Bearer {bearer or self.first['keys'][key]}",
            "content-type": "application/json",
        }
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None
        finally:
            connection.close()

    def post(self, event: dict[str, Any], *, p0: bool = False) -> int:
        """Post until it is accepted, as a producer would: the same event_id each time."""
        end = time.monotonic() + 150
        while True:
            try:
                status, answer = self.call(
                    "POST", "/v1/notifications", event, key="p0_producer" if p0 else "producer", p0=p0
                )
            except (OSError, http.client.HTTPException):
                status, answer = 0, None
            if status in (200, 202):
                return status
            assert status in (0, 429, 500, 503), (status, answer)
            assert time.monotonic() < end, "the gateway did not come back"
            time.sleep(0.1)

    def carillon(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same directory."""
        return carillon(*arguments, "--data", str(self.directory), environment=self.environment)

    def ledger(self) -> list[dict[str, Any]]:
        """All records of the ledger."""
        done = self.carillon("ledger", "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def provider(self, name: str) -> list[dict[str, Any]]:
        """What a sandbox provider saw."""
        path = self.directory / "sandbox" / f"{name}.ndjson"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def carillon(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def running(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Up]:
    """A system that is gone afterwards, whatever happens; its processes too."""
    up = Up(directory, *arguments, environment=environment)
    try:
        yield up
    finally:
        if up.process.poll() is None:
            up.process.kill()
            up.process.wait(60)
        wait_for(lambda: not any(alive(pid) for pid in up.pids().values()), what="the end of all processes")
        for stream in (up.process.stdout, up.process.stderr):
            if stream is not None:
                stream.close()
