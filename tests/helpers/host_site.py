"""A host application's site on loopback: its own pages, tokens for its user, and the gateway behind the same origin."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PASSED_ON = ("/v1/", "/components/")
_NOT_PASSED = {"host", "connection", "transfer-encoding", "keep-alive"}
_MEDIA = {"js": "text/javascript", "html": "text/html; charset=utf-8"}
STRICT = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The policy of a careful site."""


@dataclass
class HostSite:
    """Pages by path; `gateway` is HOST:PORT. While it is cut, nothing comes through, and what was open is closed."""

    gateway: str
    token: Callable[[str], str]
    pages: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of every page, such as a policy."""
    calls: list[str] = field(default_factory=list)
    """Requests to the gateway: method, path and query."""
    url: str = ""
    _cut: threading.Event = field(default_factory=threading.Event)
    _open: set[socket.socket] = field(default_factory=set)
    _silent: set[socket.socket] = field(default_factory=set)

    def cut(self) -> None:
        """The network is gone."""
        self._cut.set()
        for each in list(self._open):
            with suppress(OSError):  # it ended by itself
                each.shutdown(socket.SHUT_RDWR)

    def silence(self) -> None:
        """Nothing comes through what is open now, and nobody is told; what is opened from now on works."""
        self._silent |= self._open

    def mend(self) -> None:
        """The network is back."""
        self._cut.clear()

    def serve(self, request: _Request) -> None:
        """Answer one request."""
        path = request.path.partition("?")[0]
        if path.startswith(_PASSED_ON):
            self.calls.append(f"{request.command} {request.path}")
            self._pass_on(request)
        elif path in ("/token", "/session/carillon-token"):
            request.answer(200, {"content-type": "text/plain"}, self.token(request.path.partition("?")[2]))
        elif path in self.pages:
            media = _MEDIA[path.rpartition(".")[2] if "." in path else "html"]
            request.answer(200, {"content-type": media, **self.headers}, self.pages[path])
        else:
            request.answer(404, {"content-type": "text/plain"}, "nothing here")

    def _pass_on(self, request: _Request) -> None:
        request.close_connection = True
        self._open.add(request.connection)
        with suppress(OSError, http.client.HTTPException):  # one side is gone, and then the other goes, too
            if not self._cut.is_set():
                self._exchange(request)
        self._open.discard(request.connection)

    def _exchange(self, request: _Request) -> None:
        way = http.client.HTTPConnection(self.gateway, timeout=60)
        try:
            body = request.rfile.read(int(request.headers.get("content-length") or 0))
            sent = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_PASSED}
            way.request(request.command, request.path, body, sent)
            answer = way.getresponse()
            request.begin(answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in _NOT_PASSED})
            while part := answer.read1():
                if request.connection not in self._silent:
                    request.wfile.write(part)
        finally:
            way.close()


class _Request(BaseHTTPRequestHandler):
    site: HostSite

    def __getattr__(self, name: str) -> Any:
        """`do_GET` and the like: all methods go one way."""
        if name.startswith("do_"):
            return lambda: self.site.serve(self)
        raise AttributeError(name)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def answer(self, status: int, headers: Mapping[str, str], text: str) -> None:
        self.begin(status, {**headers, "content-length": str(len(text.encode()))})
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """The tests print what matters."""


@contextmanager
def serving(site: HostSite) -> Iterator[HostSite]:
    """The site on a port of its own."""
    handler = type("Handler", (_Request,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        site.cut()
        server.shutdown()
        server.server_close()
        thread.join(10)
