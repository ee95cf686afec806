"""The whole system as the crash harness runs it: `carillon up` again and again on one directory, sandbox outside.

The sandbox is started by the harness, and is named in the configuration as providers with credentials: so it survives
the supervisor, and its journals tell what arrived.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from crash.people import TYPE_TABLES
from helpers.places import ROOT
from helpers.sandbox_process import running_sandbox
from helpers.up import Up, alive
from helpers.waiting import wait_for

from connectors.sandbox.options import SandboxOptions
from flows.config.credentials import development_credentials

_TIMEOUT_S = 8
SHORT_WINDOWS = {f"types.{name}": table for name, table in TYPE_TABLES.items()}


class System:
    """One directory and whatever `up` runs on it at present. Calls may be made by any thread."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory, self.environment = directory, dict(environment)
        self._connections = threading.local()
        self._tokens: dict[str, str] = {}
        self.ups: list[Up] = []
        """All that were started; the last one runs."""
        self.start()

    def start(self) -> None:
        """`carillon up`; returns when it serves."""
        self.ups.append(Up(self.directory, environment=self.environment))

    @property
    def up(self) -> Up:
        return self.ups[-1]

    @property
    def has_embedded_log(self) -> bool:
        return self.environment["CARILLON_PROFILE"] == "embedded"

    def kill_supervisor(self) -> None:
        """kill -9 of `up`; waits until everything that it started is gone."""
        up = self.up
        assert up.process.poll() is None, "the supervisor was not alive"
        pids = up.pids()
        up.process.kill()
        up.process.wait(60)
        wait_for(lambda: not any(alive(pid) for pid in pids.values()), 90, "the end of the supervisor's processes")

    def kill_at_start(self, after_s: float) -> None:
        """Start `up` and kill it before it serves."""
        starting = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up", "--json", "--data", str(self.directory)],
            cwd=ROOT,
            env={**os.environ, "CARILLON_GATEWAY__PORT": "0", **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(after_s)
        assert starting.poll() is None, f"`up` ended by itself with {starting.returncode}"
        starting.kill()
        starting.wait(60)

    def call(
        self, method: str, path: str, body: Any = None, *, role: str = "producer", user: str | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """One request; status 0 when no answer came."""
        url = str(self.up.first["p0_url" if role == "p0_producer" else "url"])
        bearer = self._token(user) if user is not None else development_credentials(self.directory).keys[role]
        headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
        content = None if body is None else json.dumps(body)
        connection = self._connection(url)
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return 0, None, {}
        named = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(text) if text else None, named

    def _connection(self, url: str) -> http.client.HTTPConnection:
        """This thread's connection; it connects again by itself after it was closed."""
        known = self._connections.__dict__
        if url not in known:
            known[url] = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_TIMEOUT_S)
        connection: http.client.HTTPConnection = known[url]
        return connection

    def _token(self, user: str) -> str:
        if user not in self._tokens:
            claims = {"sub": user, "exp": datetime.now(UTC) + timedelta(hours=12)}
            self._tokens[user] = jwt.encode(claims, self.up.first["user_secret"], algorithm="HS256")
        return self._tokens[user]

    def stop(self) -> int:
        """Drain; the exit code."""
        return self.up.stop()

    def end(self) -> None:
        """Leave no process behind."""
        for up in self.ups:
            if up.process.poll() is None:
                up.process.send_signal(signal.SIGKILL)
                up.process.wait(60)
            for stream in (up.process.stdout, up.process.stderr):
                if stream is not None:
                    stream.close()
        wait_for(lambda: not any(alive(pid) for pid in self.up.pids().values()), 90, "the end of all processes")


Tables = Mapping[str, Mapping[str, object]]
"""Of `carillon.toml`, by name."""


def configuration(directory: Path, options: SandboxOptions, more: Tables) -> Path:
    """`carillon.toml`: the sandbox as providers, nothing compacted (the judge reads everything), and `more`."""
    apns, twilio, smtp = options.apns, options.twilio, options.smtp
    tables: dict[str, Mapping[str, object]] = {
        "embedded.compaction": {"lag": "1h"},
        "providers.apns": {
            "origin": apns.origin, "team_id": apns.team_id, "key_id": apns.key_id, "topic": apns.topic,
            "signing_key": str(apns.signing_key), "ca_file": str(apns.ca_file),
        },
        "providers.twilio": {
            "origin": twilio.origin, "account_sid": twilio.account_sid, "auth_token": twilio.auth_token,
            "sender": twilio.sender, "status_callback": twilio.status_callback,
        },
        "providers.smtp": {"host": smtp.host, "port": smtp.port, "security": smtp.security, "sender": smtp.sender},
    }  # fmt: skip
    tables |= {name: {**tables.get(name, {}), **table} for name, table in more.items()}
    lines = [
        line
        for name, table in tables.items()
        for line in (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items()), "")
    ]
    path = directory / "carillon.toml"
    path.write_text("\n".join(lines))
    return path


@contextmanager
def running_system(directory: Path, environment: Mapping[str, str], tables: Tables = SHORT_WINDOWS) -> Iterator[System]:
    """A system with its sandbox, and these tables in its configuration; both are gone afterwards."""
    with running_sandbox(directory) as sandbox:
        file = configuration(directory, sandbox.options, tables)
        system = System(directory, {**environment, "CARILLON_CONFIG": str(file)})
        try:
            yield system
        finally:
            system.end()
