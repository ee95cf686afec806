"""How each provider is configured. Apart from what sends: every process reads the configuration, few of them send."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from state.model.subscriptions import HOST_PATTERN
from state.model.web_address import PORTS

WEBHOOK_SECRET_MIN = 32
_SUBJECT = re.compile(r"(?:mailto:[^@\s<>]+@[^@\s<>]+|https://[^\s<>]+)")
PUSH_SERVICES = (
    "fcm.googleapis.com", "updates.push.services.mozilla.com", "web.push.apple.com", "*.push.apple.com",
    "*.notify.windows.com",
)  # fmt: skip
_P0_SHARE_MAX = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfAll:
    """What the options of every provider have."""

    backlog_share: float = 0.5
    """The part of `rate_per_s` for what waited while the provider was away; above 0, at most 1. Default: a half."""
    p0_share: float = 0.2
    """The part of `rate_per_s` that P1 and P2 leave to P0; from 0 to 0.9. Default: a fifth."""
    standby: bool = False
    """Of several providers of one channel, go behind those that are not on standby (RULES 4). Default: false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusting(_OfAll):
    """What the options of providers at a fixed address have."""

    ca_file: Path | None = None
    """A file of certificates to trust instead of the machine's. Default: the machine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OverHttp(Trusting):
    connect_timeout: timedelta = timedelta(seconds=5)
    """How long a connection may take to open. Default: five seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApnsOptions(_OverHttp):
    """One APNs credential and how it is used."""

    origin: str = "https://api.push.apple.com"
    """Scheme, host and port. Default: Apple's production environment."""
    team_id: str = ""
    """Ten characters, from the developer account."""
    key_id: str = ""
    """Ten characters, the name of the signing key."""
    signing_key: Path | None = None
    """The .p8 file with the private key."""
    topic: str = ""
    """The application's bundle id."""
    concurrency_max: int = 400
    """Requests in flight at once. Default: 400."""
    timeout: timedelta = timedelta(seconds=10)
    """How long a request may take, from its first byte to the last of the answer. Default: ten seconds."""
    rate_per_s: float = 20_000.0
    """Sends per second; retries, breaker and backlog get shares of it (RULES 4). Default: 20 000."""

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        for name in ("team_id", "key_id", "topic"):
            if not getattr(self, name):
                yield f"providers.apns.{name}: missing; find it in the developer account"
        if self.signing_key is None:
            yield "providers.apns.signing_key: missing; name the .p8 file of the key"
        if not self.origin.startswith("https://"):
            yield "providers.apns.origin: APNs is reached by https:// only"
        yield from rate_faults("apns", self, self.rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class FcmOptions(_OverHttp):
    """One service account of a Firebase project and how it is used."""

    origin: str = "https://fcm.googleapis.com"
    """Scheme, host and port. Default: Google's own."""
    service_account: Path | None = None
    """The JSON file with the account's private key, from the project's settings; it names the project."""
    token_url: str = ""
    """Where access tokens are granted. Default: where the file says."""
    concurrency_max: int = 100
    """Requests in flight at once. Default: 100."""
    timeout: timedelta = timedelta(seconds=10)
    """How long a message may take until its answer, with an access token where one is needed. Default: ten seconds."""
    rate_per_s: float = 10_000.0
    """Sends per second; retries, breaker and backlog get shares of it (RULES 4). Default: 10 000, a project's quota."""

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        if self.service_account is None:
            yield "providers.fcm.service_account: missing; name the JSON file of the account's key"
        if not self.origin.startswith("https://"):
            yield "providers.fcm.origin: FCM is reached by https:// only"
        if not self.token_url.startswith("https://") and self.token_url:
            yield "providers.fcm.token_url: tokens are granted by https:// only"
        yield from rate_faults("fcm", self, self.rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPushOptions(_OfAll):
    """A VAPID key and how it is used. The rules of [egress] hold too."""

    signing_key: Path | None = None
    """The PEM file with the private key, on P-256, whose public half web pages subscribe with (`carillon check`)."""
    earlier_signing_key: Path | None = None
    """The key that was there before: browsers that subscribed with it refuse the other and are sent to with it.
    Default: none."""
    subject: str = ""
    """Whom a push service may tell of trouble: `mailto:` and an address of yours, or an https:// page."""
    hosts: tuple[str, ...] = PUSH_SERVICES
    """Push services that may be called: `HOST`, or `*.DOMAIN` for all below it, with `:PORT` where it is not 443.
    Default: those of common browsers.
    """
    concurrency_max: int = 100
    """Requests in flight at once. Default: 100."""
    timeout: timedelta = timedelta(seconds=10)
    """How long a request may take, from the name's resolution to the last of the answer. Default: ten seconds."""
    rate_per_s: float = 5_000.0
    """Sends per second; retries, breaker and backlog get shares of it (RULES 4). Default: 5 000."""

    @property
    def origin(self) -> str:
        """The first service of the list that has a name."""
        return next((f"https://{host}" for host in self.hosts if "*" not in host), "")

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        if self.signing_key is None:
            yield "providers.webpush.signing_key: missing; name the PEM file of a private key on P-256"
        if not _SUBJECT.fullmatch(self.subject):
            yield "providers.webpush.subject: must be mailto:YOU@YOUR.DOMAIN or https://YOUR.DOMAIN/..."
        for host in self.hosts:
            if not HOST_PATTERN.fullmatch(host):
                yield f"providers.webpush.hosts: {host!r} is no host; write push.example.com or *.push.example.com"
        if not self.origin:
            yield "providers.webpush.hosts: names no host without a star"
        yield from rate_faults("webpush", self, self.rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioOptions(_OverHttp):
    """One Twilio account and how it is used."""

    origin: str = "https://api.twilio.com"
    """Scheme, host and port. Default: Twilio's own."""
    account_sid: str = ""
    """AC and 32 hexadecimal digits."""
    auth_token: str = ""
    """The account's secret."""
    sender: str = ""
    """The number the messages come from, in E.164 form."""
    status_callback: str = ""
    """Where Twilio reports receipts. Default: below gateway.public_url, if that is set."""
    concurrency_max: int = 50
    """Requests in flight at once. Default: 50."""
    timeout: timedelta = timedelta(seconds=15)
    """How long a request may take, from its first byte to the last of the answer. Default: 15 seconds."""
    rate_per_s: float = 100.0
    """Sends per second; retries, breaker and backlog get shares of it (RULES 4). Default: 100."""

    def __repr__(self) -> str:
        return f"TwilioOptions(origin={self.origin!r}, account_sid={self.account_sid!r}, auth_token=***)"

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        for name in ("account_sid", "auth_token", "sender"):
            if not getattr(self, name):
                yield f"providers.twilio.{name}: missing; find it in the account's console"
        if not self.origin.startswith("https://") and not is_loopback(self.origin):
            yield "providers.twilio.origin: Twilio is reached by https:// only, but for a server on this machine"
        yield from rate_faults("twilio", self, self.rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions(_OfAll):
    """How webhooks are signed and sent. Where they may go is in [egress]."""

    secret: str = field(default="", repr=False)
    """At least 32 characters; each endpoint's own secret is made of it (carillon webhook-secret)."""
    secret_before: str = field(default="", repr=False)
    """The one before: messages are signed by both, until every receiver has its new secret. Default: none."""
    concurrency_max: int = 200
    """Requests in flight at once. Default: 200."""
    timeout: timedelta = timedelta(seconds=15)
    """How long a request may take, from the name's resolution to the last of the answer. Default: 15 seconds."""
    rate_per_s: float = 1_000.0
    """Sends per second; retries and backlog get shares of it (RULES 4). Default: 1 000."""

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        if len(self.secret.encode()) < WEBHOOK_SECRET_MIN:
            yield f"providers.webhook.secret: must have at least {WEBHOOK_SECRET_MIN} characters, by chance"
        if self.secret_before and len(self.secret_before.encode()) < WEBHOOK_SECRET_MIN:
            yield f"providers.webhook.secret_before: must have at least {WEBHOOK_SECRET_MIN} characters, or be absent"
        yield from rate_faults("webhook", self, self.rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions(_OfAll):
    """How messages go to chats' incoming webhooks. Where they may go is in [egress]."""

    concurrency_max: int = 50
    """Requests in flight at once. Default: 50."""
    timeout: timedelta = timedelta(seconds=15)
    """How long a request may take, from the name's resolution to the last of the answer. Default: 15 seconds."""
    rate_per_s: float = 200.0
    """Sends per second; retries and backlog get shares of it (RULES 4). Default: 200."""

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        yield from rate_faults("chat", self, self.rate_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressOptions:
    """Where requests to addresses that users gave may go: nowhere but to public servers, unless this says otherwise."""

    ports: tuple[int, ...] = PORTS
    """Ports that may be reached. Default: 443 and 8443."""
    plain_http: bool = False
    """Take http:// as well as https://. For tests on one machine: whoever is between reads all. Default: false."""
    private_networks: tuple[str, ...] = ()
    """Networks that may be reached though they are not public, such as 10.7.0.0/16. Default: none."""
    refused_networks: tuple[str, ...] = ()
    """Networks that may not be reached though they are public: those of your own services. Default: none."""
    ca_file: Path | None = None
    """A file of certificates to trust instead of the machine's. Default: the machine's."""
    connect_timeout: timedelta = timedelta(seconds=5)
    """How long a connection may take to open. Default: five seconds."""

    @property
    def makes_exceptions(self) -> bool:
        """Whether more than public servers at the usual ports can be reached."""
        return self.plain_http or bool(self.private_networks) or not set(self.ports) <= set(PORTS)

    def faults(self) -> Iterator[str]:
        """What is wrong, each with its key and the remedy."""
        if not self.ports or not all(0 < port < 65_536 for port in self.ports):
            yield "egress.ports: name ports from 1 to 65535"
        for name in ("private_networks", "refused_networks"):
            for text in getattr(self, name):
                try:
                    ip_network(text)
                except ValueError:
                    yield f"egress.{name}: {text!r} is no network; write it as 10.7.0.0/16"


def is_loopback(origin: str) -> bool:
    """Whether a server is of this machine, by its address."""
    with suppress(ValueError):
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    return False


def rate_faults(provider: str, given: _OfAll, rate_per_s: float) -> Iterator[str]:
    """What is wrong with the shares and the rate of a provider."""
    if not 0 < rate_per_s < math.inf:
        yield f"providers.{provider}.rate_per_s: a number above 0, the most that the provider gets in a second"
    if not 0 <= given.p0_share <= _P0_SHARE_MAX:
        yield f"providers.{provider}.p0_share: a part of rate_per_s, from 0 to {_P0_SHARE_MAX}"
    if not 0 < given.backlog_share <= 1:
        yield f"providers.{provider}.backlog_share: a part of rate_per_s, above 0, at most 1"
