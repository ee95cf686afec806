"""How an SMSC that speaks SMPP is configured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from typing import Literal

from connectors.providers.options import Trusting, rate_faults

_SENDER = re.compile(r"\+?[0-9]{3,20}|[A-Za-z0-9 ._&-]{1,11}")
_LATIN = re.compile(r"[!-~]*")
SYSTEM_ID_MAX, PASSWORD_MAX, SYSTEM_TYPE_MAX = 15, 8, 12
_VENDOR_TAGS = range(0x1400, 0x4000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmppOptions(Trusting):
    """One account at an SMSC and how it is used."""

    host: str = ""
    """The SMSC's name."""
    port: int = 2775
    """Default: 2775. With TLS many have another."""
    security: Literal["tls", "none"] = "tls"
    """`none` is for an SMSC or the end of a tunnel on this machine or at a private address. Default: tls."""
    system_id: str = ""
    """The account's name."""
    password: str = field(default="", repr=False)
    """The account's secret; SMPP has room for eight characters."""
    system_type: str = ""
    """What the vendor says. Default: empty."""
    sender: str = ""
    """Where messages come from: a number as +15005550006, a short code, or up to 11 letters and digits."""
    id_tag: int = 0
    """The optional field, from 0x1400 on, in which this vendor takes an id of ours. Default: 0, none."""
    receipts: bool = True
    """Ask for receipts, which say whether a message arrived (topic `outcomes`). Default: true."""
    receipt_ids: Literal["same", "decimal", "hex"] = "same"
    """How receipts name messages: as answers do, or the same number as decimal or hex digits. Default: same."""
    concurrency_max: int = 10
    """Messages without an answer at once: the window that the vendor allows. Default: ten."""
    connect_timeout: timedelta = timedelta(seconds=10)
    """How long a connection may take to open, with TLS and bind. Default: ten seconds."""
    timeout: timedelta = timedelta(seconds=15)
    """For one message, from its turn to the last answer. Default: 15 seconds."""
    enquire_every: timedelta = timedelta(seconds=30)
    """After so long without a word the SMSC is asked whether it is there. Default: 30 seconds."""
    rate_per_s: float = 30.0
    """Sends per second; retries, breaker and backlog get shares of it (RULES 4). Default: 30."""

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        if not self.host:
            yield "providers.smpp.host: missing; name the SMSC"
        if self.security == "none" and not _is_near(self.host):
            yield "providers.smpp.security: none is for this machine or a private address; use tls, or a tunnel"
        for name, most in (("system_id", SYSTEM_ID_MAX), ("password", PASSWORD_MAX), ("system_type", SYSTEM_TYPE_MAX)):
            given = getattr(self, name)
            if len(given) > most or not _LATIN.fullmatch(given) or not (given or name == "system_type"):
                yield f"providers.smpp.{name}: must have 1 to {most} characters of ASCII, as the vendor says"
        if not _SENDER.fullmatch(self.sender):
            yield "providers.smpp.sender: a number as +15005550006, a short code, or up to 11 letters and digits"
        if self.id_tag and self.id_tag not in _VENDOR_TAGS:
            yield "providers.smpp.id_tag: vendors' own fields are 0x1400 to 0x3fff; 0 is none"
        yield from rate_faults("smpp", self, self.rate_per_s)


def _is_near(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost"
