"""How tests tell a running sandbox to misbehave."""

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from connectors.sandbox.ports import read_ports
from flows.config.credentials import development_credentials

PATH = "/misbehaviours"


@dataclass
class Steering:
    port: int
    key: str

    def put(self, provider: str, name: str, **more: Any) -> list[dict[str, Any]]:
        """Ask for a misbehaviour; gives all that is asked for now."""
        return self._done("PUT", PATH, {"provider": provider, "name": name, **more})

    def lift(self, **which: str) -> list[dict[str, Any]]:
        return self._done("DELETE", f"{PATH}?{urlencode(which)}")

    def asked(self) -> list[dict[str, Any]]:
        return self._done("GET", PATH)

    def call(self, method: str, target: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        """One request; gives status and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            content = body if isinstance(body, str | None) else json.dumps(body)
            connection.request(method, target, content, {"authorization": f"Bearer {self.key if key is None else key}"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _done(self, method: str, target: str, body: Any = None) -> list[dict[str, Any]]:
        status, answer = self.call(method, target, body)
        assert status == 200, answer
        found: list[dict[str, Any]] = answer["misbehaviours"]
        return found


def steering_of(directory: Path) -> Steering:
    """Of the sandbox in a data directory."""
    key = development_credentials(directory).keys["ops"]
    return Steering(read_ports(directory / "sandbox").steering, key)
