"""Starts gateway processes and speaks HTTP with them."""

import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from helpers.gateway_process import USER_SECRET
from helpers.places import ROOT
from helpers.waiting import wait_for

from connectors.gateway.auth import user_token
from connectors.gateway.options import UserTokens
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import Record
from connectors.log.topics import topic_specs

PROGRAM = Path(__file__).with_name("gateway_process.py")
IDLE_S = 60
"""Less than the gateway allows a connection that nobody uses."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def token(user: str, **changes: Any) -> str:
    tokens = UserTokens(changes.pop("key", USER_SECRET), audience=changes.pop("audience", "carillon"))
    return user_token(user, tokens, now_ms=now_ms(), lifetime=changes.pop("lifetime", timedelta(minutes=5)))


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def paths(self) -> set[str]:
        return {error["path"] for error in self.json["errors"]}


class Gateway:
    """One process, and a connection per thread of the test."""

    def __init__(self, directory: Path, **config: Any) -> None:
        self.directory, self._config = directory, {"directory": str(directory), **config}
        (directory / "faults").mkdir(exist_ok=True)
        self.log = EmbeddedLog(Path(config.get("log", directory)), clock=now_ms)
        self.log.ensure_topics(topic_specs(4, timedelta(days=1)))
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        self.launch()
        wait_for(lambda: self.get("/readyz").status == 200, what="the gateway is ready", every_s=0.02)

    def launch(self) -> None:
        """Without waiting until it is ready."""
        command = [sys.executable, str(PROGRAM), msgspec.json.encode(self._config).decode()]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(40)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        path = self.directory / "faults" / name
        path.touch()
        try:
            yield
        finally:
            path.unlink()

    def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = "key-shop", headers: Any = None
    ) -> Reply:
        data = body if isinstance(body, bytes | Iterator | None) else msgspec.json.encode(body)
        sent = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        connection = self._connection()
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            received = {k.lower(): v for k, v in response.getheaders()}
            if received.get("content-type") == "text/event-stream":  # it has no end
                connection.close()
                return Reply(response.status, received, b"")
            return Reply(response.status, received, response.read())
        except (OSError, http.client.HTTPException):
            connection.close()
            raise

    def _connection(self) -> http.client.HTTPConnection:
        known: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if known is None or known.port != self.port:
            known = self._local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self._connections.append(known)
        elif time.monotonic() - self._local.used > IDLE_S:
            known.close()  # it connects again by itself
        self._local.used = time.monotonic()
        return known

    def get(self, path: str, **options: Any) -> Reply:
        return self.call("GET", path, **options)

    def post(self, body: Any, **options: Any) -> Reply:
        return self.call("POST", "/v1/notifications", body, **options)

    def records(self, topic: str) -> list[Record]:
        """Everything in a topic, partition by partition."""
        places = {(topic, part): self.log.begin_offset(topic, part) for part in range(self.log.partitions(topic))}
        reader = self.log.reader(places)
        try:
            found: list[Record] = []
            while batch := reader.poll(10_000, timedelta()):
                found += batch
            return found
        finally:
            reader.close()

    def values(self, topic: str) -> list[Any]:
        return [msgspec.json.decode(record.value) for record in self.records(topic)]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        if self.process is not None:
            self.stop()
        self.log.close()


@contextmanager
def running(directory: Path, **config: Any) -> Iterator[Gateway]:
    gateway = Gateway(directory, **config)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.close()
