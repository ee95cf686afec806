"""The whole configuration, in one place: `carillon.toml`, environment variables with the prefix `CARILLON_`, defaults.

Order: the environment wins over the file, the file over the defaults. A variable names a key in upper case with `__`
between the levels: `CARILLON_PROVIDERS__APNS__TEAM_ID`. `CARILLON_CONFIG` names another file (default: `carillon.toml`
of the working directory, if there is one). This is the only module that reads the environment. Unknown keys and bad
values refuse to start and name the key; `carillon check` prints what is in force, secrets masked;
`carillon.example.toml` documents every key.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from connectors.admission.options import RedisOptions
from connectors.gateway.options import OpenIdOptions, Role, ServeOptions
from connectors.inbox.options import InboxRedisOptions
from connectors.log.embedded.log import EmbeddedOptions
from connectors.log.kafka.options import KafkaOptions
from connectors.providers.email.feedback_loop import FeedbackOptions
from connectors.providers.email.options import SesOptions, SmtpOptions
from connectors.providers.options import (
    ApnsOptions,
    ChatOptions,
    EgressOptions,
    FcmOptions,
    TwilioOptions,
    WebhookOptions,
    WebPushOptions,
)
from connectors.providers.sms.smpp_options import SmppOptions
from flows.config.options import EnvironmentText, configuration_error, load_all
from flows.config.validation import settings_faults
from flows.recovery.options import ExportOptions
from operators.brake import BrakeConfig
from operators.sms_limits import Destination, SmsRules
from state.model.errors import ConfigurationError
from state.model.registry import Registry, registry_of
from state.model.secret import Secret

PREFIX = "CARILLON_"
_DOTTED = ["kafka", "client_settings"]
_NOT_SETTINGS = ("CARILLON_CONFIG", "CARILLON_KAFKA", "CARILLON_REDIS")
"""Names with the prefix that mean something else: the file to read, and the services that the test suite uses."""
CONFIG_VARIABLE = "CARILLON_CONFIG"
FILE_NAME = "carillon.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOptions:
    """One holder of a service key; its name in the configuration is its sender_id."""

    key: Secret
    """The service key, sent as `Authorization: Bearer KEY`. At least 16 characters, no dot."""
    key_before: Secret | None = None
    """The key before, which is taken as well while its holders change to the new one. Default: none."""
    role: Role = "producer"
    """producer (sends; calls for the application), p0 (sends P0), ops, marketing, support, admin. Default: producer."""
    classes: tuple[str, ...] = ()
    """Classes of the types it may send. Default: P0 for role p0, otherwise P1 and P2."""
    types: tuple[str, ...] = ("*",)
    """Of these, the types that may be sent: names, or prefixes that end in a star. Default: all."""
    limit_per_s: int = 100
    """Events accepted in any second; more get 429. Default: 100, until raised (RULES 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTable(ServeOptions):
    """The HTTP API. The P0 gateway is a process of its own with a port of its own."""

    port: int = 0
    """Port of the ordinary gateway. Default 0: 8700 if it is free, any free one otherwise."""
    p0_port: int = 0
    """Port of the P0 gateway. Default 0: 8701 if it is free, any free one otherwise."""
    public_url: str = ""
    """Where people reach the ordinary gateway, https://HOST: links lie below it. Default: mails bear no links."""
    allowed_origins: tuple[str, ...] = ()
    """Sites whose pages may make the calls of users from a browser, https://HOST each. Default: none."""
    unsubscribe_secret: Secret | None = None
    """Signs these links, for all gateways sessions too; at least 32 characters. Default: kept as unsubscribe.key."""
    unsubscribe_secret_before: Secret | None = None
    """The one before: links that it signed stay good. Default: none."""
    user_secret: Secret | None = None
    """Checks users' JWTs: a shared secret, or a public key in PEM. Default: a secret kept in the data directory."""
    user_secret_before: Secret | None = None
    """The one before: JWTs that it signed are taken as well. Default: none."""
    user_algorithms: tuple[str, ...] = ("HS256",)
    """Accepted signatures of users' JWTs. Default: HS256."""
    user_audience: str = "carillon"
    """`aud` of users' JWTs; one that carries another is refused. Default: carillon."""
    user_expiry_required: bool = True
    """Refuse users' JWTs without `exp`: such a one is a session for ever. Default: true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxOptions:
    """Where inboxes are kept."""

    store: Literal["rocksdb", "redis"] = "rocksdb"
    """rocksdb: files beside the flow; redis: where gateways on other machines read them, too. Default: rocksdb."""
    redis: InboxRedisOptions | None = None
    """The Redis of store = redis. It must keep what it is given, and may be the one of [redis]. Default: none."""

    def in_redis(self) -> InboxRedisOptions | None:
        """Where they are, if in Redis."""
        return self.redis if self.store == "redis" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """Size and life of the log's topics, on both profiles."""

    partitions: int = 4
    """Partitions of the topics by key group; 240 must be a multiple of it. Fixed once the topics exist. Default: 4."""
    retention: timedelta = timedelta(days=7)
    """How long topics that are not compacted keep records. Default: seven days."""
    rest_max: timedelta = timedelta(days=366)
    """How much later than the newest decision the machine's clock may be at a start. Beyond it nothing starts: by a
    clock that is years ahead everything that waits would be over, and the log too old to keep. Default: 366 days."""
    prefix: str = ""
    """A prefix of every topic's name, for several systems on the same brokers. Default: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTable:
    """How long the archive (`DIR/archive`, Parquet by hour) keeps what the log has dropped."""

    ledger_retention: timedelta = timedelta(days=365)
    """Decisions, deliveries and what was heard of them: no address, no content. Default: a year."""
    work_retention: timedelta = timedelta(days=90)
    """The decision log, with payloads and addresses: what can be replayed. Default: 90 days."""
    dead_letters_retention: timedelta = timedelta(days=90)
    """Records of what could not be handled. Default: 90 days."""
    wait_max: timedelta = timedelta(days=7)
    """How much longer than log.retention the embedded log keeps what is not archived yet. Default: seven days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions(KafkaOptions):
    """The brokers of the profile `kafka`."""

    bootstrap: str = "127.0.0.1:9092"
    """Brokers to ask first, host:port separated by commas. Default: one on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """What protects the system from its senders."""

    fallback_per_s: int = 50
    """Limit of every sender while the limit store is down, if its own is not lower. Default: 50."""
    devices_max: int = 10
    """Devices of one user; the oldest goes (RULES 4). Default: 10."""
    token_age_max: timedelta = timedelta(days=90)
    """How long a push token lives that no app registers again (RULES 4). 0: for ever. Default: 90 days."""
    fan_outs_per_h: int = 1000
    """Fan-outs of one actor in any hour, of a sender where none is named; more get 429. 0: no limit. Default: 1 000."""
    user_writes_per_s: int = 20
    """Calls of one user that change something, in any second; more get 429. Default: 20."""
    keep_max: timedelta = timedelta(days=366)
    """How far ahead the `deliver_at` of an event may lie; beyond it is 400. Default: 366 days."""
    gone_per_h: int = 50
    """Addresses that the word of one provider ("gone") may retire in an hour, whatever their share. Default: 50."""
    gone_share: float = 0.1
    """Beyond that, only while such answers are no more than this part of the hour's. 1: always. Default: 0.1."""
    lag_max: timedelta = timedelta(seconds=30)
    """How far a flow may fall behind until P2, then P1 give way (RULES 1). P0: a tenth. 0: never. Default: 30 s."""

    def brake(self) -> BrakeConfig:
        """How far a provider's verdicts on addresses are believed."""
        return BrakeConfig(always=self.gone_per_h, share=self.gone_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsOptions:
    """Where text messages may go, how many, and what they cost (RULES 4). Each process that sends counts for itself."""

    destinations: Mapping[str, Destination] = field(default_factory=dict)
    """By what numbers begin with, such as [sms.destinations."+49"]; the longest that fits counts."""
    others_allowed: bool = True
    """Whether text messages go to numbers that no destination fits. Default: true."""
    others_price: float = 0.0
    """Of one part to such a number. Default: 0."""
    others_per_h: int = 0
    """The most messages in an hour to all such numbers together. Default: 0, no limit."""
    block_per_h: int = 0
    """The most in an hour to numbers that differ in their last three digits only. Default: 0, no limit."""
    sender_per_h: int = 0
    """The most in an hour of one type from one sender. Default: 0, no limit."""

    def rules(self) -> SmsRules:
        """As the sending side goes by them."""
        others = Destination(price=self.others_price, per_h=self.others_per_h, allowed=self.others_allowed)
        return SmsRules(
            destinations=self.destinations, others=others, block_per_h=self.block_per_h, sender_per_h=self.sender_per_h
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOptions:
    """How much of each lane enters an epoch: what keeps P1 ahead of P2 and fan-outs."""

    p1_per_epoch: int = 20_000
    """P1 events that `sequence` takes per epoch and partition. Default: 20 000."""
    p2_per_epoch: int = 2_000
    """P2 events and slices of fan-outs per epoch; of follows, segments and profiles half as many. Default: 2 000."""
    epoch: timedelta = timedelta(milliseconds=200)
    """How often the flows commit. Default: 200 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """How many processes of a kind `carillon up` starts."""

    decide: int = 1
    """Processes that decide; one saturates a core. Those above the first come on top of the eight. Default: 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderOptions:
    """The providers with credentials; the sandbox of `carillon up` stands in for every other channel."""

    apns: ApnsOptions | None = None
    """Push to Apple devices."""
    fcm: FcmOptions | None = None
    """Push to Android devices."""
    webpush: WebPushOptions | None = None
    """Push to web browsers."""
    twilio: TwilioOptions | None = None
    """Text messages."""
    smpp: SmppOptions | None = None
    """Text messages through an SMSC, by SMPP."""
    smtp: SmtpOptions | None = None
    """Mail through a relay."""
    ses: SesOptions | None = None
    """Mail through Amazon SES."""
    webhook: WebhookOptions | None = None
    """Signed webhooks to the addresses of users."""
    chat: ChatOptions | None = None
    """Messages to users' chats: incoming webhooks as Slack has them."""
    installed: Mapping[str, Mapping[str, object]] = field(default_factory=dict, repr=False)
    """Providers that other installed packages bring, by name; each has the keys that its package says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured."""

    data_dir: Path = Path("carillon-data")
    """Directory of log, state, exports, archive, sandbox files and development credentials. Default: carillon-data."""
    profile: Literal["embedded", "kafka"] = "embedded"
    """Where the log lives: embedded (files of this machine) or kafka. Default: embedded."""
    gateway: GatewayTable = field(default_factory=GatewayTable)
    """The HTTP API."""
    log: LogOptions = field(default_factory=LogOptions)
    """How many partitions the topics have, and how long they keep records."""
    archive: ArchiveTable = field(default_factory=ArchiveTable)
    """How long the archive keeps what the log has dropped."""
    exports: ExportOptions = field(default_factory=ExportOptions)
    """Copies of the state of decide, sequence and inbox (DIR/exports), from which lost state is restored."""
    embedded: EmbeddedOptions = field(default_factory=EmbeddedOptions)
    """The log as files (profile embedded)."""
    kafka: BrokerOptions = field(default_factory=BrokerOptions)
    """The brokers of the profile kafka."""
    openid: OpenIdOptions | None = None
    """Who says who a person at the console is. Default: none; people sign in by keys of [senders]."""
    redis: RedisOptions | None = None
    """Repeats and sender limits of gateways, and the rates of providers, for several processes. Default: none."""
    inbox: InboxOptions = field(default_factory=InboxOptions)
    """Where inboxes are kept."""
    limits: LimitOptions = field(default_factory=LimitOptions)
    """What protects the system from its senders."""
    lanes: LaneOptions = field(default_factory=LaneOptions)
    """How much of each lane enters an epoch."""
    processes: ProcessOptions = field(default_factory=ProcessOptions)
    """How many processes of a kind `carillon up` starts."""
    providers: ProviderOptions = field(default_factory=ProviderOptions)
    """Providers with credentials; the sandbox stands in for every other one."""
    mail: FeedbackOptions = field(default_factory=FeedbackOptions)
    """What comes back of mails, besides bounces."""
    sms: SmsOptions = field(default_factory=SmsOptions)
    """Where text messages may go, how many, and what they cost."""
    egress: EgressOptions = field(default_factory=EgressOptions)
    """Where requests to addresses that users gave may go: the public Internet, by https."""
    senders: Mapping[str, SenderOptions] = field(default_factory=dict)
    """Who may call, by sender_id. None at all: development credentials, kept in the data directory."""
    expires: Mapping[str, str] = field(default_factory=dict)
    """When what you rely on ends, by a name of yours: a day ("2027-03-01") or a PEM file of certificates. You hear of
    it 60, 30, 14 and 7 days before. The files of ca_file are watched without this. Default: nothing."""
    types: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Types of your own, and changes to the default ones: klass, category, fan_out, ttl_ms, window_ms, policy, ..."""

    def validate(self) -> None:
        """:raises ConfigurationError: naming every key that is wrong, and the remedy."""
        faults = list(settings_faults(self))
        if faults:
            raise configuration_error(faults)

    def registry(self) -> Registry:
        """The type registry of the file; what is published stands before it (`connectors.types`).

        :raises ConfigurationError: naming the type's key.
        """
        return registry_of(self.types)


def load_settings(
    *,
    data_dir: Path | None = None,
    profile: Literal["embedded", "kafka"] | None = None,
    reader: bool = False,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """The configuration in force; what the command line gave (`data_dir`, `profile`) wins over everything.

    `reader`: for who sends nothing. What other packages add may not be on this machine: their providers are left out,
    and a type may offer a channel of theirs.
    `environment` is the process's own unless given.

    :raises ConfigurationError: naming every key that is wrong, and the remedy.
    """
    variables = os.environ if environment is None else environment
    table = _merged(_file_table(file, variables), _environment_table(variables))
    faults: list[str] = []
    settings = load_all(Settings, table, where="", faults=faults)
    if settings is None:
        raise configuration_error(faults)
    if reader:
        settings = replace(settings, providers=replace(settings.providers, installed={}))
    settings = replace(settings, data_dir=data_dir or settings.data_dir, profile=profile or settings.profile)
    named = {fault.partition(":")[0] for fault in faults}
    faults += [fault for fault in settings_faults(settings, reader=reader) if fault.partition(":")[0] not in named]
    if faults:
        raise configuration_error(faults)
    return settings


def child_environment(settings: Settings) -> dict[str, str]:
    """What a child gets so that it loads the same settings: this environment and what the command line gave."""
    given = {
        PREFIX + "DATA_DIR": str(settings.data_dir.absolute()),
        PREFIX + "PROFILE": settings.profile,
        PREFIX + "GATEWAY__PORT": str(settings.gateway.port),
        PREFIX + "GATEWAY__P0_PORT": str(settings.gateway.p0_port),
    }
    return {**os.environ, **given}


def cluster_variables() -> dict[str, str]:
    """What Bytewax's runner reads of the environment (`flows.process.cluster`)."""
    return {name: value for name, value in os.environ.items() if name.startswith("BYTEWAX_")}


def configuration_file() -> Path:
    """The file that counts, which need not exist."""
    return Path(os.environ.get(CONFIG_VARIABLE, FILE_NAME))


def _file_table(file: Path | None, variables: Mapping[str, str]) -> dict[str, Any]:
    named = file or (Path(variables[CONFIG_VARIABLE]) if CONFIG_VARIABLE in variables else None)
    path = named or Path(FILE_NAME)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        if named is None and isinstance(error, FileNotFoundError) and not path.is_symlink():
            return {}
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is no TOML: {error}") from error


def _environment_table(variables: Mapping[str, str]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name in sorted(variables):
        if not name.startswith(PREFIX) or name in _NOT_SETTINGS:
            continue
        *above, last = name.removeprefix(PREFIX).lower().split("__")
        if above == _DOTTED:  # a shell passes on no name with a dot
            last = last.replace("_", ".")
        inner = table
        for part in above:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigurationError(f"{name}: the key above it has a value already")
        inner[last] = EnvironmentText(variables[name])
    return table


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged
