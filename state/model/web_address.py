"""Web addresses that strangers give us: one spelling of each, and which places on the network are public.

A host that is a number in any spelling (decimal, octal, hexadecimal, short, with digits or dots of other scripts) is
the IPv4 address that it stands for, as browsers read it (WHATWG URL, "ends in a number"). A host of other scripts is in
IDNA's ASCII form, without a dot at its end. What no address of ours needs and what parsers read in different ways is
none: a name and password, a fragment, a backslash, spaces and controls, a zone of IPv6.

A name may be any host's, so what a name stands for is asked when a connection is made (connectors.providers.egress).
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

import idna

URL_MAX = 2048
PORTS = (443, 8443)
"""Where servers for the public are; other ports are of other protocols."""
_DEFAULT_PORT = {"https": 443, "http": 80}
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[^\s/?#\\@:\[\]%]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?](?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?",
    re.IGNORECASE | re.ASCII,  # else a long s of another script is an s
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

IpAddress = IPv4Address | IPv6Address
_NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",  # IANA's registry of special purposes, and multicast
            "168.63.129.16/32",  # Azure's metadata, the only ones of a cloud that are not in a range above
        ),
    )
)  # fmt: skip
_UNICAST_6 = IPv6Network("2000::/3")
"""Outside of it are loopback, mapped and compatible IPv4, NAT64, unique local, link and site local, multicast."""
_NOT_PUBLIC_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""Of unicast: Teredo and other protocols, documentation, 6to4, documentation."""


class WebAddress(NamedTuple):
    """The parts of a URL, each in its one spelling."""

    scheme: str
    """`https` or `http`."""
    host: str
    """A name, or an IP address without brackets."""
    port: int
    target: str
    """Path and query; begins with a slash."""

    @property
    def authority(self) -> str:
        """Host and port as the Host header names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORT[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole, in canonical form."""
        return f"{self.scheme}://{self.authority}{self.target}"


@lru_cache(maxsize=4096)
def parse_url(text: str) -> WebAddress | None:
    """The parts of an `https` or `http` URL; None: it is none, or has something that no address of ours needs.

    >>> parse_url("HTTPS://Bücher.Example.:8443?a=1").url
    'https://xn--bcher-kva.example:8443/?a=1'
    >>> parse_url("https://0x7f.1/").host
    '127.0.0.1'
    >>> parse_url("https://example.com@127.0.0.1/") is None
    True
    """
    found = _URL.fullmatch(text) if len(text) <= URL_MAX else None
    host = _host(found["host"]) if found else None
    if found is None or host is None:
        return None
    scheme, target = found["scheme"].lower(), found["target"] or "/"
    port = int(found["port"] or _DEFAULT_PORT[scheme])
    if not 0 < port < 65_536:
        return None
    return WebAddress(scheme, host, port, target if target.startswith("/") else f"/{target}")


def _host(text: str) -> str | None:
    if text.startswith("["):
        with suppress(ValueError):
            return str(IPv6Address(text[1:-1]))
        return None
    try:
        name = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode()
    except idna.IDNAError:
        name = _mapped(text)
    labels = name.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _dotted(labels)
    plain = len(name) <= 253 and all(map(_LABEL.fullmatch, labels))
    return ".".join(labels) if plain else None


def _mapped(text: str) -> str:
    """A host of digits and dots of other scripts, which IDNA takes for no name; empty: it is none either."""
    with suppress(idna.IDNAError):
        mapped = idna.uts46_remap(text)
        return mapped if mapped.isascii() else ""
    return ""


def _dotted(parts: list[str]) -> str | None:
    """The IPv4 address that numbers joined by dots stand for; the last one fills what the others leave."""
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return None
    try:
        *leading, last = map(_number, parts)
    except ValueError:
        return None
    if any(number > 255 for number in leading) or last >= 256 ** (5 - len(parts)):
        return None
    return str(IPv4Address(sum(number << 8 * (3 - place) for place, number in enumerate(leading)) + last))


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if len(text) > 1 and text.startswith("0") else 10)


def literal(host: str) -> IpAddress | None:
    """The IP address that a host of `parse_url` is; None: it is a name."""
    with suppress(ValueError):
        return ip_address(host)
    return None


def is_public(address: IpAddress) -> bool:
    """Whether it is one of a public server: not ours, not of a cloud's metadata, not an IPv4 address in disguise."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


def public_url(text: str) -> str | None:
    """The canonical form of a URL by `https`, at a port for it, of a name or a public address; None: it is none."""
    found = parse_url(text)
    if found is None or found.scheme != "https" or found.port not in PORTS:
        return None
    address = literal(found.host)
    return found.url if (is_public(address) if address else "." in found.host) else None


def any_url(text: str) -> str | None:
    """The canonical form of a URL; None: it is none. For where the configuration makes exceptions."""
    found = parse_url(text)
    return found.url if found else None
