"""Everything that is wrong with the values of a configuration, each with its key and the remedy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from connectors.gateway.options import PEOPLE
from connectors.providers.provider import PLACES
from flows.config.installed import installed_faults
from flows.config.served import kind_faults
from operators.campaigns import SENDER, TEST_SENDER
from operators.expiry import end_of
from operators.payload_schema import check_schemas
from state.model.channels import channel_faults
from state.model.errors import ConfigurationError
from state.model.registry import Registry, load_registry
from state.model.secret import Secret
from state.model.unsubscribe import KEY_BYTES_MIN

if TYPE_CHECKING:
    from flows.config.settings import GatewayTable, LogOptions, ProviderOptions, SenderOptions, Settings, SmsOptions
    from flows.recovery.options import ExportOptions

_DECIDE_MAX = 60
"""Four key groups each."""
_PORT_MAX = 65_535
_PREFIX = re.compile(r"\+[1-9][0-9]{0,10}")
_LAG_MIN, _TOKEN_AGE_MIN = timedelta(seconds=10), timedelta(days=30)
_SITE = re.compile(r"https?://[a-z0-9.:\[\]-]+")
_LINK_BASE = re.compile(r"https://(?:(?![<>,?#])[!-~])+")
"""What the connector of mails puts into a header; anything else would make a dead letter of every mail with a link."""


def settings_faults(settings: Settings, *, reader: bool = False) -> Iterator[str]:
    """Each begins with its key; `reader` as in `load_settings`."""
    yield from _log_faults(settings.log)
    if not 1 <= settings.processes.decide <= _DECIDE_MAX:
        yield f"processes.decide: must be from 1 to {_DECIDE_MAX}"
    if settings.limits.gone_per_h < 0 or not 0 <= settings.limits.gone_share <= 1:
        yield "limits.gone_per_h: must be 0 or more; limits.gone_share: from 0 to 1"
    if settings.limits.fan_outs_per_h < 0:
        yield "limits.fan_outs_per_h: must be 0 or more"
    if settings.limits.user_writes_per_s < 1:
        yield "limits.user_writes_per_s: must be 1 or more"
    if timedelta() < settings.limits.lag_max < _LAG_MIN:
        yield "limits.lag_max: must be 0 or at least 10 s: P0 may have a tenth of it, and an epoch lasts some of that"
    if settings.limits.token_age_max and settings.limits.token_age_max < _TOKEN_AGE_MIN:
        yield "limits.token_age_max: must be 0 or at least 30 days: apps that are in use may register that rarely"
    for name, given in settings.expires.items():
        if given[:4].isdigit() and end_of(given) is None:
            yield f"expires.{name}: {given!r} is no day; write it as 2027-03-01, or name a file with its folder"
    yield from _type_faults(settings, reader=reader)
    yield from _export_faults(settings.exports, settings.log.retention)
    yield from _sender_faults(settings.senders)
    for name in PLACES:
        if (options := getattr(settings.providers, name)) is not None:
            yield from options.faults()
    yield from [*channel_faults()] or [*installed_faults(settings)] or kind_faults(settings)
    yield from settings.egress.faults()
    yield from settings.mail.faults()
    yield from _sms_faults(settings.sms)
    yield from _address_faults(settings)
    yield from _link_faults(settings.gateway)
    yield from _openid_faults(settings)


def _sms_faults(table: SmsOptions) -> Iterator[str]:
    for prefix, each in table.destinations.items():
        if not _PREFIX.fullmatch(prefix):
            yield f"sms.destinations: {prefix!r} begins no number; write it as +49 or +1242"
        if each.price < 0 or each.per_h < 0:
            yield f"sms.destinations.{prefix}: price and per_h must be 0 or more"
    for name in ("others_price", "others_per_h", "block_per_h", "sender_per_h"):
        if getattr(table, name) < 0:
            yield f"sms.{name}: must be 0 or more"


def _address_faults(settings: Settings) -> Iterator[str]:
    table, given = settings.gateway, settings.providers
    if not is_host(table.host):
        yield f"gateway.host: {table.host!r} is no address; 127.0.0.1 is this machine, 0.0.0.0 every network"
    for name, port in (("port", table.port), ("p0_port", table.p0_port)):
        if not 0 <= port <= _PORT_MAX:
            yield f"gateway.{name}: {port} is no port; choose one from 1 to {_PORT_MAX}, or 0 for any"
    yield from _monitor_faults(table)
    if table.port and table.port == table.p0_port:
        yield f"gateway.p0_port: {table.port} is that of the ordinary gateway; choose another or 0 for any"
    yield from _place_faults(given)
    if settings.redis is not None and not is_origin(settings.redis.url):
        yield "redis.url: is no address; write redis://HOST:PORT/0"
    in_redis = settings.inbox.redis
    if settings.inbox.store == "redis" and in_redis is None:
        yield "inbox.redis.url: is not set, and inbox.store is redis; write redis://HOST:PORT/0"
    if in_redis is not None and not is_origin(in_redis.url):
        yield "inbox.redis.url: is no address; write redis://HOST:PORT/0"
    for broker in settings.kafka.bootstrap.split(","):
        if not is_origin(f"kafka://{broker.strip()}") or ":" not in broker:
            yield f"kafka.bootstrap: {broker.strip()!r} is no address; write HOST:PORT, several separated by commas"


def _monitor_faults(table: GatewayTable) -> Iterator[str]:
    ports = [port for port in (table.port, table.p0_port) if port]
    if not is_host(table.monitor_host):
        yield f"gateway.monitor_host: {table.monitor_host!r} is no address; 127.0.0.1 is this machine"
    for name, port in (("monitor_port", table.monitor_port), ("p0_monitor_port", table.p0_monitor_port)):
        if not 0 <= port <= _PORT_MAX or port in ports:
            yield f"gateway.{name}: {port} is no port, or one that another listens on; 0 is none"
        ports += [port] if port else []
    for given in table.proxies:
        try:
            ipaddress.ip_network(given)
        except ValueError:
            yield f"gateway.proxies: {given!r} is no address and no network; write 10.0.0.7 or 10.0.0.0/24"
    if table.address_calls_per_s < 1:
        yield "gateway.address_calls_per_s: must be 1 or more"


def _place_faults(given: ProviderOptions) -> Iterator[str]:
    for name, server in (("smtp", given.smtp), ("smpp", given.smpp)):
        if server is not None and not 1 <= server.port <= _PORT_MAX:
            yield f"providers.{name}.port: {server.port} is no port; choose one from 1 to {_PORT_MAX}"
    for name, options in (("apns", given.apns), ("fcm", given.fcm), ("twilio", given.twilio)):
        if options is not None and not is_origin(options.origin):
            yield f"providers.{name}.origin: is no address; write https://HOST or https://HOST:PORT"
    if given.ses is not None and given.ses.endpoint and not is_origin(given.ses.endpoint):
        yield "providers.ses.endpoint: is no address; write https://HOST or https://HOST:PORT"


def _openid_faults(settings: Settings) -> Iterator[str]:
    given = settings.openid
    if given is None:
        return
    parts = urlsplit(given.issuer)
    near = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not is_origin(given.issuer) or not (parts.scheme == "https" or near):
        yield f"openid.issuer: {given.issuer!r} is no address of https; write the provider's issuer, https://HOST/..."
    for value, role in given.roles.items():
        if role not in PEOPLE:
            yield f"openid.roles.{value}: {role!r} is no role of people; write {', '.join(PEOPLE)}"
    if not settings.gateway.public_url and not near:
        yield "gateway.public_url: is not set, so the provider cannot send people back; write https://HOST"


def _link_faults(table: GatewayTable) -> Iterator[str]:
    if table.public_url and not (is_origin(table.public_url) and _LINK_BASE.fullmatch(table.public_url)):
        yield f"gateway.public_url: {table.public_url!r} is no address of https; write https://HOST"
    for origin in table.allowed_origins:
        if not (is_origin(origin) and _SITE.fullmatch(origin)):
            yield f"gateway.allowed_origins: {origin!r} is no origin; write https://host, or https://host:PORT"
    for name in ("unsubscribe_secret", "unsubscribe_secret_before"):
        secret: Secret | None = getattr(table, name)
        if secret is not None and len(secret.reveal().encode()) < KEY_BYTES_MIN:
            yield f"gateway.{name}: must have at least {KEY_BYTES_MIN} characters"


def is_host(name: str) -> bool:
    """Whether it can be a name or an address; nobody is asked whether there is such a host."""
    if re.fullmatch(r"[0-9.]+|\[?[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]?", name):
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True
    return re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?", name) is not None


def is_origin(url: str) -> bool:
    """Whether it names a host and, if it does, a port that there can be."""
    try:
        parts = urlsplit(url)
        return parts.hostname is not None and is_host(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _log_faults(options: LogOptions) -> Iterator[str]:
    if options.partitions < 1 or 240 % options.partitions:
        yield "log.partitions: 240 key groups must spread evenly; use 1, 2, 3, 4, 5, 6, 8, 10, 12 ..."
    if options.retention <= timedelta(hours=25):
        yield "log.retention: must be longer than 25h, since caps and repeats look back one day"


def _type_faults(settings: Settings, *, reader: bool) -> Iterator[str]:
    tables: dict[str, Mapping[str, Any]] = {}
    for name, table in settings.types.items():
        try:
            check_schemas(load_registry({name: table}, reader=reader))
            tables[name] = table
        except ConfigurationError as error:
            yield str(error)
    yield from _window_faults(settings.log.retention, load_registry(tables, reader=reader))


def _window_faults(retention: timedelta, registry: Registry) -> Iterator[str]:
    """What is open may have to be read again from the log, and lost repeats are recognised by it."""
    for name, profile in registry.exact.items():
        longest = timedelta(milliseconds=max(profile.ttl_ms, profile.window_ms, profile.repeat_window_ms))
        if retention < longest:
            yield f"log.retention: must not be shorter than ttl and windows of type {name}, {longest}"


def _export_faults(options: ExportOptions, retention: timedelta) -> Iterator[str]:
    if not timedelta(seconds=1) <= options.every < retention / 4:
        yield "exports.every: must be at least 1s, and less than a quarter of log.retention"
    if options.keep < 1:
        yield "exports.keep: must be at least 1"
    if options.archive_spacing < options.spacing:
        yield "exports.archive_spacing: must not be shorter than exports.spacing"
    if not options.every <= options.spacing < retention:
        yield "exports.spacing: must be at least exports.every, and less than log.retention"


def _sender_faults(senders: Mapping[str, SenderOptions]) -> Iterator[str]:
    seen: dict[Secret, str] = {}
    for name, sender in senders.items():
        if name in (SENDER, TEST_SENDER):
            yield f"senders.{name}: is the name under which campaigns are sent; give this sender another"
        for option in ("key", "key_before"):
            yield from _key_faults(f"senders.{name}.{option}", getattr(sender, option), seen)
        unknown = [klass for klass in sender.classes if klass not in ("P0", "P1", "P2")]
        if unknown:
            yield f"senders.{name}.classes: {unknown} are none of P0, P1, P2"
        if sender.limit_per_s <= 0:
            yield f"senders.{name}.limit_per_s: must be more than 0"


def _key_faults(option: str, key: Secret | None, seen: dict[Secret, str]) -> Iterator[str]:
    if key is None:
        return
    if len(key.reveal()) < 16:
        yield f"{option}: must have at least 16 characters"
    if "." in key.reveal():
        yield f"{option}: must have no dot, which would make it look like a JWT"
    if key in seen:
        yield f"{option}: is also {seen[key]}; every key is another"
    seen[key] = option
