"""How the providers of mail are configured."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Literal

from connectors.providers.options import Trusting, rate_faults
from state.model.addresses import mailbox
from state.model.bounce_address import LOCAL_MAX
from state.model.content import Content, EmailContent

_DNS_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
DOMAINS_MAX = 32
_DAY_S = 86_400
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]{1,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailOptions(Trusting):
    """What mails say of their sender and who signs them, whoever carries them."""

    table: ClassVar[str]
    """The name of the table in `[providers]`."""
    sender: str = ""
    """The address in From. A relay without `bounce_address` has it in MAIL FROM, too."""
    transactional_sender: str = ""
    """The address in From of mails that nobody can leave: those of mandatory types, and those to an address that an
    event names. So who blocks or filters your newsletters still gets codes. Default: `sender` with the label +account,
    which the same mailbox takes."""
    sender_name: str = "Carillon"
    """The name shown with it."""
    dkim_key: Path | None = None
    """The PEM file with the private key that signs mails: RSA of 2048 bits or more, or Ed25519. Default: unsigned."""
    dkim_selector: str = ""
    """The name of that key in DNS: its public half is the TXT record at SELECTOR._domainkey.DOMAIN."""
    dkim_domain: str = ""
    """The domain that vouches for mails. Default: that of `sender`; DMARC wants both senders in it or below it."""
    domain_rates: Mapping[str, float] = field(default_factory=dict)
    """Mails per second to mailboxes of one domain, such as "example.com" = 20; at most 32 domains. Each has a queue and
    a breaker of its own, beside those of `rate_per_s`. Default: none."""
    warm_up_from: str = ""
    """The first day of a new sender, as 2026-11-29 (UTC): on it `warm_up_per_day` mails of P1 and P2 go to each domain
    in `domain_rates`, as many to all others together, and each day twice as many as before. Default: no bound."""
    warm_up_per_day: int = 1_000
    """How many at most, evenly over the day, `p0_share` of it left to P0. Default: 1 000."""

    @property
    def domain(self) -> str:
        """The right side of Message-IDs."""
        return self.sender.rpartition("@")[2]

    def domain_of(self, address: str) -> str:
        """The domain that has a rate of its own; empty: none."""
        domain = address.rpartition("@")[2]
        return domain if domain in self.domain_rates else ""

    def warmed_per_s(self, now: int) -> float:
        """The most that a sender's age allows; `now` in milliseconds."""
        if not self.warm_up_from:
            return math.inf
        today = datetime.fromtimestamp(now / 1000, UTC).date()
        days = min(60, max(0, (today - date.fromisoformat(self.warm_up_from)).days))
        return self.warm_up_per_day * 2.0**days / _DAY_S

    def sender_of(self, content: Content) -> str:
        """The address in From of a mail."""
        transactional = isinstance(content, EmailContent) and content.transactional
        return self._transactional() if transactional else self.sender

    def _transactional(self) -> str:
        local, _, domain = self.sender.rpartition("@")
        return self.transactional_sender or f"{local}+account@{domain}"

    @property
    def signing_domain(self) -> str:
        """Who vouches for mails."""
        return self.dkim_domain or self.domain

    def mail_faults(self) -> Iterator[str]:
        """What is wrong with the sender and the signature."""
        here = f"providers.{self.table}"
        if mailbox(self.sender) is None:
            yield f"{here}.sender: not a plain mail address"
        elif mailbox(self._transactional()) is None:
            yield f"{here}.transactional_sender: not a plain mail address; name one"
        yield from self._rate_faults(here)
        if self.dkim_key is None:
            if self.dkim_selector or self.dkim_domain:
                yield f"{here}.dkim_key: missing; name the file of the private key, or no selector and domain"
            return
        if not _DNS_NAME.fullmatch(self.dkim_selector):
            yield f"{here}.dkim_selector: no name for DNS; choose one such as mail1"
        if not _DNS_NAME.fullmatch(self.signing_domain):
            yield f"{here}.dkim_domain: no domain; write it in ASCII, such as example.com"
        own = self._transactional().rpartition("@")[2]
        if own != self.domain and not _aligned(own, self.signing_domain):
            yield f"{here}.transactional_sender: not of {self.signing_domain}, which signs; use an address that is"

    def _rate_faults(self, here: str) -> Iterator[str]:
        for domain, rate in self.domain_rates.items():
            if mailbox(f"a@{domain}") != f"a@{domain}" or not 0 < rate < math.inf:
                yield f"{here}.domain_rates.{domain}: a domain in lower case, in ASCII, with a number above 0"
        if len(self.domain_rates) > DOMAINS_MAX:
            yield f"{here}.domain_rates: more than {DOMAINS_MAX}; name those that get most"
        try:
            date.fromisoformat(self.warm_up_from or "2000-01-01")
        except ValueError:
            yield f"{here}.warm_up_from: no day; write it as 2026-11-29"
        if self.warm_up_per_day < 1:
            yield f"{here}.warm_up_per_day: at least 1"


def _aligned(one: str, other: str) -> bool:
    """DMARC's relaxed way: one is the other, or below it."""
    first, second = f".{one}".lower(), f".{other}".lower()
    return first.endswith(second) or second.endswith(first)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpOptions(MailOptions):
    """One relay and how it is used."""

    table: ClassVar[str] = "smtp"
    """See `MailOptions`."""
    host: str = ""
    """The relay's name."""
    port: int = 587
    """Default: 587, submission."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls` refuses a relay that does not offer it; `none` is for a relay on this machine. Default: starttls."""
    username: str = ""
    """Empty: no authentication."""
    password: str = ""
    """The account's secret."""
    bounce_address: str = ""
    """Where bounces go, as bounce@example.com: each mail gets bounce+TOKEN@example.com as MAIL FROM, which says to what
    it was sent, so that mailbox must take all of these (`carillon mail intake`). Default: `sender`, no token."""
    concurrency_max: int = 10
    """Connections kept open, each with one message at a time. Default: ten."""
    connect_timeout: timedelta = timedelta(seconds=10)
    """How long a connection may take to open, with greeting, TLS and authentication. Default: ten seconds."""
    timeout: timedelta = timedelta(seconds=30)
    """For one message from MAIL FROM to the last answer. Default: 30 seconds."""
    idle_max: timedelta = timedelta(seconds=60)
    """A connection unused for longer is replaced. Default: one minute."""
    rate_per_s: float = 5_000.0
    """Sends per second; retries, breaker and backlog get shares of it (RULES 4). Default: 5 000."""

    def __repr__(self) -> str:
        return f"SmtpOptions(host={self.host!r}, port={self.port}, security={self.security!r}, password=***)"

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        if not self.host:
            yield "providers.smtp.host: missing; name the relay"
        if self.bounce_address and (mailbox(self.bounce_address) is None or self.bounce_address.index("@") > LOCAL_MAX):
            yield f"providers.smtp.bounce_address: a plain mail address of at most {LOCAL_MAX} characters before the @"
        if self.security == "none" and self.host not in ("localhost", "127.0.0.1", "::1"):
            yield "providers.smtp.security: none is for a relay on this machine; use starttls or tls"
        yield from self.mail_faults()
        yield from rate_faults("smtp", self, self.rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SesOptions(MailOptions):
    """One account of Amazon SES in one region and how it is used."""

    table: ClassVar[str] = "ses"
    """See `MailOptions`."""
    region: str = ""
    """Where the sender's domain is verified, such as eu-west-1."""
    endpoint: str = ""
    """Scheme, host and port. Default: Amazon's own of that region."""
    access_key_id: str = ""
    """The name of a key that may ses:SendRawEmail and ses:SendEmail, and ses:GetAccount for `carillon check`."""
    secret_access_key: str = field(default="", repr=False)
    """Its secret."""
    session_token: str = field(default="", repr=False)
    """Of a temporary key, which is not renewed: restart with the next before it ends. Default: the key is lasting."""
    configuration_set: str = ""
    """What SES shall apply to the mails. Default: what the account says."""
    events_topic: str = ""
    """The ARN of the topic of Amazon SNS to which SES tells what became of mails. Default: nobody's word is taken."""
    concurrency_max: int = 50
    """Requests in flight at once. Default: 50."""
    connect_timeout: timedelta = timedelta(seconds=5)
    """How long a connection may take to open. Default: five seconds."""
    timeout: timedelta = timedelta(seconds=15)
    """How long a request may take, from its first byte to the last of the answer. Default: 15 seconds."""
    rate_per_s: float = 14.0
    """Sends per second, with shares (RULES 4): what the account's quota allows. Default: 14, as new accounts have."""

    @property
    def origin(self) -> str:
        """Where requests go."""
        return self.endpoint or f"https://email.{self.region}.amazonaws.com"

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        if not _REGION.fullmatch(self.region):
            yield "providers.ses.region: no region; write it as eu-west-1"
        for name in ("access_key_id", "secret_access_key"):
            if not getattr(self, name):
                yield f"providers.ses.{name}: missing; make an access key in the account's console"
        if not self.origin.startswith("https://"):
            yield "providers.ses.endpoint: SES is reached by https:// only"
        yield from self.mail_faults()
        yield from rate_faults("ses", self, self.rate_per_s)
