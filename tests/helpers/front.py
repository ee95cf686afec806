"""A proxy before a gateway, for tests of clients: it notes what passes, and misbehaves on order."""

from __future__ import annotations

import http.client
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["lose", "bad gateway", "busy", "page", "half", "list"]
"""lose: the gateway has answered, and nobody hears of it. bad gateway: 502, as a proxy says it, without asking the
gateway. busy: 503 with Retry-After and no problem document. page: 200 and a page, as of a proxy that asks to sign in.
half: a problem document that is cut off. list: one that is none, and may be sent again.
"""
BUSY_S = 1
_PASSED_ON = {"authorization", "content-type", "if-match"}


@dataclass(frozen=True)
class Passed:
    """A request that came."""

    method: str
    path: str
    body: bytes


class Front(ThreadingHTTPServer):
    """Passes requests on to a gateway on a loopback port."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self.faults: deque[Fault] = deque()
        """What the next requests meet, one each."""
        self.passed: list[Passed] = []
        self.times: list[float] = []
        """When each came, in seconds of a clock that only rises."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.passed.append(Passed(self.command, self.path, body))
        self.server.times.append(time.monotonic())
        fault = self.server.faults.popleft() if self.server.faults else None
        if fault == "bad gateway":
            return self._answer(502, {"content-type": "text/html"}, b"<h1>502</h1>")
        if fault == "busy":
            return self._answer(503, {"retry-after": str(BUSY_S)}, b"")
        if fault == "page":
            return self._answer(200, {"content-type": "text/html"}, b"<h1>Sign in</h1>")
        if fault == "half":
            return self._answer(400, {"content-type": "application/problem+json"}, b'{"status": 400, "ti')
        if fault == "list":
            return self._answer(503, {"content-type": "application/problem+json"}, b"[1]")
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=30)
        named = {name: value for name, value in self.headers.items() if name.lower() in _PASSED_ON}
        connection.request(self.command, self.path, body or None, named)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault == "lose":
            self.close_connection = True
            return None
        kept = {name: value for name, value in answer.getheaders() if name in ("content-type", "retry-after")}
        return self._answer(answer.status, kept, content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815 - the server looks for these names

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


@contextmanager
def front(port: int) -> Iterator[Front]:
    server = Front(port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
