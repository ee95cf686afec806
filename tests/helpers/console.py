"""A person's browser, as far as the console needs one: cookies, forms, redirects."""

import http.client
import re
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode

from helpers.gateway import Gateway


@dataclass(frozen=True)
class Seen:
    """A page that was answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def words(self) -> str:
        """What a person reads."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.text)).split())


@dataclass
class Browser:
    """One person's, signed in by a key."""

    gateway: Gateway
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def sign_in(self, key: str, onward: str = "/console") -> Seen:
        return self.send("/console/sign-in", {"key": key, "next": onward})

    def get(self, path: str) -> Seen:
        return self._call("GET", path, None)

    def send(self, path: str, form: dict[str, str]) -> Seen:
        """A form, as it is."""
        return self.post(path, urlencode(form).encode(), "application/x-www-form-urlencoded")

    def post(self, path: str, body: bytes, media_type: str) -> Seen:
        """A form as its bytes."""
        return self._call("POST", path, body, media_type)

    def submit(self, page: str, path: str, form: dict[str, str]) -> Seen:
        """A form of a page, with what the page put into it."""
        found = re.search(r'name="token" value="([0-9a-f]+)"', self.get(page).text)
        assert found is not None, "the page has no form"
        return self.send(path, {"token": found[1], **form})

    def _call(self, method: str, path: str, body: bytes | None, media_type: str = "") -> Seen:
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=30)
        sent = {"cookie": self.cookie, **self.headers}
        if body is not None:
            sent = {"content-type": media_type, "sec-fetch-site": "same-origin"} | sent
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                self._keep(*value.partition(";")[0].partition("=")[::2])
        seen = Seen(answer.status, headers, answer.read().decode())
        connection.close()
        return seen

    def _keep(self, name: str, value: str) -> None:
        kept = dict(each.partition("=")[::2] for each in self.cookie.split("; ") if each)
        kept[name] = value
        self.cookie = "; ".join(f"{name}={value}" for name, value in kept.items() if value)


def signed_in(gateway: Gateway, role: str) -> Browser:
    """Of a person who has this role's key."""
    browser = Browser(gateway)
    assert browser.sign_in(f"key-{role}").status == 303
    return browser
