"""How a browser is addressed: a push subscription (W3C Push API), and the one form in which it is stored and compared.

That form is its JSON without white space: `{"endpoint":URL,"keys":{"auth":A,"p256dh":P}}`, the URL in its one spelling
(`state/model/web_address.py`), the keys in base64url without padding. Users hand the endpoint in, and we then call it:
so its host must be one of a list.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
import orjson

from state.model.documents import Complaint, Subscription
from state.model.errors import UNDECODABLE
from state.model.web_address import WebAddress, parse_url

KEY_BYTES = 65
"""An uncompressed point on P-256."""
SECRET_BYTES = 16
HOST_PATTERN = re.compile(r"(?:\*\.)?(?:[a-z0-9-]{1,63}\.)+[a-z0-9-]{1,63}(?::(?:\*|[0-9]{1,5}))?")
"""One entry of a list of hosts: `HOST`, `*.DOMAIN` for all below a domain; `:PORT` where it is not 443, or `:*`."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
"""P-256 is y² = x³ - 3x + b modulo that prime."""
_AS_GIVEN = "send what subscription.toJSON() gave in the browser"


class PushAddress(NamedTuple):
    """A subscription that was checked."""

    url: WebAddress
    """The endpoint."""
    key: bytes
    """The browser's public key, an uncompressed point on P-256 (`p256dh`)."""
    secret: bytes
    """16 bytes that the browser shares with us alone (`auth`)."""

    @property
    def origin(self) -> str:
        """The push service: `https://HOST`, with the port where it is not 443."""
        return f"https://{self.url.authority}"

    def text(self) -> str:
        """The one form."""
        keys = {"auth": unpadded(self.secret), "p256dh": unpadded(self.key)}
        return orjson.dumps({"endpoint": self.url.url, "keys": keys}).decode()


class SubscriptionFault(NamedTuple):
    """What is wrong, and with which member: `endpoint`, `keys.auth`, `keys.p256dh`; empty: with the whole."""

    member: str
    complaint: Complaint


def address_text(address: str | dict[str, Any]) -> str:
    """An address as text, the form of all but subscriptions that a caller gave as an object."""
    if isinstance(address, str):
        return address
    return orjson.dumps({name: value for name, value in address.items() if name != "expirationTime"}).decode()


def read_subscription(text: str, hosts: Sequence[str]) -> PushAddress | SubscriptionFault:
    """The subscription in a text, if it is one at these hosts."""
    try:
        given = msgspec.json.decode(text, type=Subscription)
    except (*UNDECODABLE, UnicodeEncodeError):
        return SubscriptionFault("", ("is no push subscription", _AS_GIVEN))
    url = parse_url(given.endpoint)
    if url is None or url.scheme != "https":
        return SubscriptionFault("endpoint", ("is no https:// URL as push services have it", _AS_GIVEN))
    if not any(_fits(url, pattern) for pattern in hosts):
        return SubscriptionFault("endpoint", _elsewhere(hosts))
    key, secret = _bytes(given.keys.p256dh), _bytes(given.keys.auth)
    if not _is_point(key):
        return SubscriptionFault("keys.p256dh", ("is no point on P-256, 65 bytes in base64url", _AS_GIVEN))
    if len(secret) != SECRET_BYTES:
        return SubscriptionFault("keys.auth", ("is not 16 bytes in base64url", _AS_GIVEN))
    return PushAddress(url, key, secret)


def service_of_subscription(text: str) -> str:
    """The push service, as host and, where it is not 443, port; empty where the text is no subscription."""
    try:
        url = parse_url(msgspec.json.decode(text, type=Subscription).endpoint)
    except (*UNDECODABLE, UnicodeEncodeError):
        return ""
    return "" if url is None else url.authority


def _elsewhere(hosts: Sequence[str]) -> Complaint:
    return "is at no push service that is allowed here", f"allowed are {', '.join(hosts)} (providers.webpush.hosts)"


def _fits(url: WebAddress, pattern: str) -> bool:
    name, _, port = pattern.partition(":")
    if port != "*" and url.port != int(port or 443):
        return False
    return url.host.endswith(name[1:]) and len(url.host) >= len(name) if name.startswith("*.") else url.host == name


def _bytes(text: str) -> bytes:
    """Empty if it is no base64url."""
    if not _BASE64URL.fullmatch(text) or len(bare := text.rstrip("=")) % 4 == 1:
        return b""
    return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def unpadded(value: bytes) -> str:
    """Base64url as the Web Push RFCs write it."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _is_point(key: bytes) -> bool:
    """On the curve: with a point that is not, a sender's key could be worked out (RFC 8291 7)."""
    if len(key) != KEY_BYTES or key[0] != 4:
        return False
    x, y = int.from_bytes(key[1:33], "big"), int.from_bytes(key[33:], "big")
    return x < _PRIME and y < _PRIME and (y * y - x * x * x + 3 * x - _B) % _PRIME == 0


@cache
def hosts_of(kind: str) -> tuple[str, ...]:
    """The hosts that a kind of address names behind its first word."""
    return tuple(kind.split(" ")[1:])


def subscription_kind(hosts: Sequence[str]) -> str:
    """The kind of address of subscriptions at these hosts."""
    return " ".join(["webpush", *hosts])
