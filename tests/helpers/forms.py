"""Reads the form of a page as a browser does, and sends it."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urlencode

from helpers.gateway import Gateway, Reply

URLENCODED = {"content-type": "application/x-www-form-urlencoded"}


class Page(HTMLParser):
    """A page's texts, and its form as it would be sent untouched."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply
        self._select, self._pending = "", dict[str, str]()
        self.fields: dict[str, list[str]] = {}
        self.boxes: set[tuple[str, str]] = set()
        self.texts: list[str] = []
        self.wrong: set[str] = set()
        self.feed(reply.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attrs}
        if "aria-invalid" in of:
            self.wrong.add(of["name"])
        if tag == "select":
            self._select = of["name"]
            self.fields[self._select] = []
        elif tag == "option" and self._select:
            self._option(of)
        elif tag == "input" and of.get("type") == "checkbox":
            self.boxes.add((of["name"], of["value"]))
            self.fields.setdefault(of["name"], [])
            self.fields[of["name"]] += [of["value"]] if "checked" in of else []
        elif tag == "input":
            self.fields.setdefault(of["name"], []).append(of["value"])

    def _option(self, of: dict[str, str]) -> None:
        self._pending = of
        chosen = self.fields[self._select]
        if of.get("value") == "" and not chosen:
            self.fields[self._select] = [""]

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())
        if self._select and "selected" in self._pending:
            self.fields[self._select] = [data.strip()]
            self._pending = {}

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    def tick(self, name: str, value: str = "1") -> Page:
        assert (name, value) in self.boxes, (name, value, sorted(self.boxes))
        self.fields[name] = [*self.fields[name], value]
        return self

    def untick(self, name: str, value: str = "1") -> Page:
        self.fields[name] = [each for each in self.fields[name] if each != value]
        return self

    def put(self, name: str, value: str) -> Page:
        assert name in self.fields
        self.fields[name] = [value]
        return self


def opened(gateway: Gateway, path: str, **headers: str) -> Page:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Page(gateway.call("GET", path, key=None, headers=sent))


def sent(gateway: Gateway, path: str, page: Page) -> Page:
    body = urlencode(page.fields, doseq=True).encode()
    return Page(gateway.call("POST", path, body, key=None, headers=URLENCODED))
