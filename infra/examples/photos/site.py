"""The site as a server on Python's standard library: its pages, who is signed in, and what the pages ask for."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from carillon_client import CarillonError

from infra.examples.photos.photos import Photos
from infra.examples.photos.simulated import Simulated

PAGES = Path(__file__).with_name("pages")
MEDIA = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}
POLICY = "default-src 'none'; script-src 'self' {0}; connect-src 'self' {0}; style-src 'self'; frame-ancestors 'none'"


class Request(BaseHTTPRequestHandler):
    """One request. The attributes are set once, before the server serves."""

    photos: Photos
    world: Simulated
    gateway: str
    people: dict[str, str] = {}  # noqa: RUF012  # shared by all requests on purpose
    """Session to person."""

    def do_GET(self) -> None:
        """A file of the pages; where the gateway is stands in it as $gateway."""
        files = {f"/{file.name}": file for file in PAGES.iterdir()}
        if file := files.get("/index.html" if self.path == "/" else self.path):
            policy = {"content-security-policy": POLICY.format(self.gateway)}
            self._answer(200, MEDIA[file.suffix], file.read_text("utf-8").replace("$gateway", self.gateway), policy)
        else:
            self._answer(404, "text/plain", "nothing here")

    def do_POST(self) -> None:
        """A call of the page. Other sites' pages can make none: browsers do not send the cookie for them."""
        given = json.loads(self.rfile.read(int(self.headers["content-length"])))
        session = SimpleCookie(self.headers["cookie"] or "").get("session")
        try:
            self._call(self.path, self.people.get(session.value) if session else None, given)
        except (CarillonError, OSError) as error:  # also a gateway that is late
            self._answer(502, "text/plain", str(error))

    def _call(self, path: str, me: str | None, given: Any) -> None:
        if path == "/show":
            self._json(self.photos.shown(me))
        elif path == "/sign-in":
            self.photos.sign_in(given, f"http://{self.headers['host']}")
            self.people[session := secrets.token_urlsafe(32)] = given
            self._json(given, {"set-cookie": f"session={session}; HttpOnly; SameSite=Strict; Path=/"})
        elif me and (call := self._calls(me, given).get(path)):
            self._json(call())
        else:
            self._answer(404 if me else 401, "text/plain", "no such call, or nobody is signed in")

    def _calls(self, me: str, given: Any) -> dict[str, Callable[[], Any]]:
        photos, world = self.photos, self.world
        return {
            "/carillon-token": lambda: photos.token(me),
            "/like": lambda: photos.like(me, given),
            "/like-by-friends": lambda: photos.like_by_friends(given),
            "/comment": lambda: photos.comment(me, given["photo"], given["text"]),
            "/why": lambda: photos.why(given["event"], given["user"]),
            "/browser": lambda: photos.add_browser(me, given or world.subscription(me)),
            "/outside": lambda: {**world.pushes(me, given), "mails": world.mails(me)},
        }

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._answer(200, "application/json", json.dumps(value), headers)

    def _answer(self, status: int, media: str, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"content-type": media, "content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # the page was closed meanwhile
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """The terminal shows where things are, not each call."""
