"""What the gateway must know. Secrets are shown by no `repr`; keys are known by their hash only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal

from connectors.admission.options import RedisOptions
from connectors.providers.options import EgressOptions
from state.model.admission import Sender
from state.model.secret import Secret

Role = Literal["producer", "p0", "ops", "marketing", "support", "admin"]
GatewayKind = Literal["ordinary", "p0"]
PEOPLE: tuple[Role, ...] = ("admin", "ops", "support", "marketing")
"""The roles of people, who sign in at the console; whoever has several has the first of them."""


def hash_key(key: str) -> str:
    """How a service key is stored: SHA-256 in hex. Keys are long and random, so that no slow hash is needed."""
    return sha256(key.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """One credential of a service. Several may name one sender, so that keys can be exchanged without a gap."""

    key_sha256: str
    """`hash_key` of the key."""
    role: Role
    """What its holder may call."""
    sender_id: str
    """Whom its events are from, and who is limited."""
    classes: tuple[str, ...] = ("P1", "P2")
    """Types of these classes may be sent, unless the type names its owners. Default: all but P0."""
    types: tuple[str, ...] = ("*",)
    """Of these, the types that may be sent: names, or prefixes that end in a star. Default: all."""
    limit_per_s: int = 100
    """Events in any second. Default: 100, as RULES 1 has it for new senders."""

    def sender(self) -> Sender:
        """The same for the admission rules."""
        return Sender(self.sender_id, frozenset(self.classes), self.types)

    def tag(self) -> str:
        """Names the key, and does not tell it."""
        return self.key_sha256[:16]

    def sends_p0(self) -> bool:
        """Whether its events may be of class P0."""
        return self.role == "p0" or "P0" in self.classes


@dataclass(frozen=True, slots=True)
class UserTokens:
    """How the host application signs its users' JWTs. `none` is never accepted, whatever is configured."""

    key: str = field(repr=False)
    """The shared secret (HS256 ...) or the public key in PEM (RS256, ES256, EdDSA ...)."""
    key_before: str = field(default="", repr=False)
    """The one before, whose tokens are taken as well. Default: none."""
    algorithms: tuple[str, ...] = ("HS256",)
    """Accepted algorithms. Default: HS256."""
    audience: str = "carillon"
    """The `aud` that a token may carry; another one is refused. Default: carillon."""
    expiry_required: bool = True
    """Whether a token without `exp`, which is a session for ever, is refused. Default: yes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where a gateway listens, and how much it holds."""

    host: str = "127.0.0.1"
    """Address to listen on. Default: this machine only."""
    connections_max: int = 4096
    """Connections and requests in flight; then 503. Default: 4096."""
    pending_max: int = 20_000
    """Events waiting for the log; then 503. Default: 20 000."""
    drain_deadline: timedelta = timedelta(seconds=15)
    """How long requests in flight are waited for at the end. Default: 15 s."""
    monitor_host: str = "127.0.0.1"
    """Address to listen on at monitor_port and p0_monitor_port. Default: this machine only."""
    monitor_port: int = 0
    """Port of the ordinary gateway for /metrics, /docs and /openapi.json, which `port` has no more. Default 0: none."""
    p0_monitor_port: int = 0
    """The same of the P0 gateway. Default 0: none."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks of your proxies, which alone are believed in X-Forwarded-For. Default: none."""
    address_calls_per_s: int = 200
    """Sign-ins and calls by signed links from one address in any second, each; where proxies are named, also calls by
    which users change something. More get 429. Default: 200.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIdOptions:
    """Who says who somebody is. With this, people do not sign in by keys."""

    issuer: str
    """The provider's issuer, https://HOST/... (http only on this machine); it tells the rest by itself."""
    client_id: str
    """What the provider calls this system."""
    client_secret: Secret
    """What proves it."""
    role_claim: str = "roles"
    """The claim of the ID token that lists roles. Default: roles."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """A value of that claim to ops, support, marketing or admin. Default: a role's own name."""
    name_claim: str = "email"
    """The claim that names people, in the audit for instance. Default: email; where it is absent, sub."""


@dataclass(frozen=True, slots=True)
class CallbackOptions:
    """Whose word on sent messages is taken, and what proves that it is theirs."""

    twilio_auth_token: str = field(default="", repr=False)
    """The account's secret."""
    twilio_url: str = ""
    """Where Twilio was told to report. Default: nothing is taken of it."""
    ses_topic: str = ""
    """The topic of Amazon SNS to which SES tells its events. Default: nothing is taken of it."""
    egress: EgressOptions = field(default_factory=EgressOptions)
    """How Amazon is asked for its certificates."""
    gone_per_h: int = 50
    """Addresses that are retired in an hour at most. Default: 50."""


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """One gateway process. The P0 gateway is the same program, of kind `p0`, with its own log handle and stores."""

    directory: Path
    """DIR: stores go to DIR/state/gateway, the P0 gateway's to DIR/state/gateway-p0."""
    keys: tuple[ServiceKey, ...]
    """All credentials of services."""
    users: UserTokens
    """How users' tokens are checked."""
    kind: GatewayKind = "ordinary"
    """`p0` takes events of class P0 only, and no other calls than those of producers. Default: ordinary."""
    port: int = 0
    """Port to listen on. Default: any free one."""
    redis: RedisOptions | None = None
    """Where admission dedup and sender limits are shared. Default: embedded, for one process."""
    fallback_limit_per_s: int = 50
    """Events of one sender in any second while the limit store is down, if its own limit is not lower. Default: 50."""
    append_deadline: timedelta = timedelta(seconds=10)
    """Longest wait for the log's acknowledgement; then 503. Default: 10 s."""
    cancel_deadline: timedelta = timedelta(seconds=5)
    """Longest wait for the answer of the schedule's owner to a DELETE; then 503. Default: 5 s."""
    body_deadline: timedelta = timedelta(seconds=20)
    """Longest time for a request's body to arrive; then 408. Default: 20 s."""
    head_deadline: timedelta = timedelta(seconds=10)
    """Longest time for a request's headers to arrive, and the rest of a body that was answered; then the connection is
    closed. Default: 10 s.
    """
    serving: ServeOptions = field(default_factory=ServeOptions)
    """Where it listens and how much it holds."""
    devices_max: int = 10
    """Devices of one user; the oldest goes (RULES 4). Default: 10."""
    token_age_max: timedelta = timedelta(days=90)
    """How long a push token lives without being registered again (RULES 4); 0: for ever. Default: 90 days."""
    link_keys: tuple[bytes, ...] = field(default=(), repr=False)
    """What signs links to pages for people, the present key first. Default: none, so no link is good."""
    secret_of_all: bytes = field(default=b"", repr=False)
    """What cursors, tickets and sessions are signed by, at every gateway. Default: a secret of this directory."""
    secret_of_all_before: bytes = field(default=b"", repr=False)
    """The one before, by which cursors are taken as well. Default: none."""
    public_url: str = ""
    """Where people reach this gateway, https://HOST. Default: not known; links are given as paths."""
    allowed_origins: tuple[str, ...] = ()
    """Sites whose pages may make the calls of users. Default: none."""
    openid: OpenIdOptions | None = None
    """Who says who a person is. Default: nobody, so people sign in by keys."""
    callbacks: CallbackOptions = field(default_factory=CallbackOptions)
    """What providers may say of sent messages. Default: nothing."""
    user_writes_per_s: int = 20
    """Calls of one user that change something, in any second; more get 429. Default: 20."""
    fan_outs_per_h: int = 1000
    """Fan-outs of one actor in any hour; more get 429. 0: no limit. Default: 1 000."""

    def monitor_port(self) -> int:
        """The port for those who operate the system; 0: there is none of its own."""
        return self.serving.p0_monitor_port if self.kind == "p0" else self.serving.monitor_port

    def process(self) -> str:
        """The name under which this process reports what it obeys."""
        return "p0-gateway" if self.kind == "p0" else "gateway"

    def store_directory(self) -> Path:
        """Where this process keeps its stores."""
        return self.directory / "state" / ("gateway-p0" if self.kind == "p0" else "gateway")
