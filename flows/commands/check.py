"""`carillon check`: the configuration in force, and whether everything it names can be reached."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt

from connectors.admission.options import RedisOptions
from connectors.log.embedded.log import EmbeddedLog
from connectors.providers.email.mail import dkim_signer
from connectors.providers.email.options import MailOptions, SmtpOptions
from connectors.providers.options import WebPushOptions
from connectors.providers.push.apns_token import load_signing_key
from connectors.providers.push.credential import credential
from connectors.providers.push.webpush_token import application_key
from connectors.providers.sms.smpp_options import SmppOptions
from flows.config.access import LINK_KEY_FILE
from flows.config.credentials import FILE_NAME, development_credentials
from flows.config.installed import installed_providers
from flows.config.private_files import exposed_files
from flows.config.providers import PROVIDERS, InForce, providers_in_force
from flows.config.served import simulated
from flows.config.settings import Settings, configuration_file
from flows.process.directories import INBOX
from flows.process.expiry import credential_ends
from flows.process.opening import broker_addresses, open_configured_log, system_topics, unreachable
from flows.process.room import full_disk
from flows.up.ports import any_port
from state.model.addresses import Place
from state.model.errors import CarillonError, ConfigurationError, UnknownTopicError
from state.model.secret import Secret

_DEADLINE = timedelta(seconds=15)
_REDIS_WAIT = timedelta(seconds=2)
_BROKER_WAIT = timedelta(seconds=2)
_EXPIRES_SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    what: str
    ok: bool
    detail: str
    """Safe to print."""


def check(settings: Settings) -> Iterator[Finding]:
    """Try everything configured, one after the other; nothing is sent or written."""
    yield from _check_types(settings)
    yield from _check_credentials(settings)
    yield _check_links(settings)
    yield from _check_files(settings)
    yield _check_host(settings)
    yield _check_directory(settings.data_dir)
    if settings.profile == "kafka":
        yield from _check_brokers(settings)
    yield _check_log(settings)
    yield from _check_redis(settings)
    yield from _check_inbox(settings)
    yield from _check_providers(settings)
    yield from check_ends(settings, datetime.now(UTC))


def _check_types(settings: Settings) -> Iterator[Finding]:
    registry = settings.registry()
    names = registry.names()
    yield Finding("types", True, f"{len(names)} in the registry, {len(settings.types)} of them configured here")
    for name in settings.types:
        profile = registry.profile(name)
        if profile.klass != "P0" and "sms" in profile.channels:
            said = f"warning: of class {profile.klass}, and text messages are for P0 only: it reaches nobody by sms"
            yield Finding(f"type {name}", True, said)
    if not settings.senders:
        yield Finding("senders", True, "none configured: development credentials in the data directory")
    for name, sender in settings.senders.items():
        yield Finding(f"sender {name}", True, f"role {sender.role}, at most {sender.limit_per_s} events a second")


def _check_credentials(settings: Settings) -> Iterator[Finding]:
    """What users' sessions are checked with, and the development credentials where they count."""
    table = settings.gateway
    if (settings.data_dir / FILE_NAME).exists() and not (settings.senders and table.user_secret):
        try:
            development_credentials(settings.data_dir)
            yield Finding("development credentials", True, str(settings.data_dir / FILE_NAME))
        except (ConfigurationError, OSError) as error:
            yield Finding("development credentials", False, str(error))
    given = {"gateway.user_secret": table.user_secret, "gateway.user_secret_before": table.user_secret_before}
    keys = {what: secret for what, secret in given.items() if secret is not None}
    for what, secret in keys.items():
        yield _check_user_key(what, secret, table.user_algorithms, alone=len(keys) == 1)


def _check_user_key(what: str, secret: Secret, algorithms: Sequence[str], *, alone: bool) -> Finding:
    """`alone`: there is no other key, which may be of another kind."""
    fits = [name for name in algorithms if _is_key(secret, name)]
    wrong = [name for name in algorithms if name not in fits]
    if wrong and (alone or not fits):
        return Finding(what, False, f"is no key for {wrong[0]}: a public key in PEM, or a shared secret for HS256")
    return Finding(what, True, f"checks {', '.join(fits)}")


def _is_key(secret: Secret, algorithm: str) -> bool:
    try:
        jwt.get_algorithm_by_name(algorithm).prepare_key(secret.reveal())
    except (NotImplementedError, ValueError, jwt.PyJWTError):
        return False
    return True


def _check_files(settings: Settings) -> Iterator[Finding]:
    """A warning, since a machine may have no other account."""
    for fault in exposed_files(settings, configuration_file()):
        yield Finding("files with secrets", True, f"warning: {fault}")


def _check_host(settings: Settings) -> Finding:
    host = settings.gateway.host
    try:
        any_port(host)
    except OSError as error:
        said = error.strerror or "cannot be listened on"
        return Finding("gateway.host", False, f"{host}: {said}; name an address of this machine")
    return Finding("gateway.host", True, f"{host} is this machine's")


def _check_links(settings: Settings) -> Finding:
    """Whether people can leave what they get by mail."""
    what, table = "links to unsubscribe", settings.gateway
    if not table.public_url:
        if settings.providers.smtp is not None:
            text = "gateway.public_url is not set: mails bear none; set it before you send newsletters"
            return Finding(what, True, text)
        return Finding(what, True, "gateway.public_url is not set: mails, which the sandbox takes, bear none")
    key = f"a key that is kept as {settings.data_dir / LINK_KEY_FILE}, for all machines the same"
    signed = key if table.unsubscribe_secret is None else "gateway.unsubscribe_secret"
    return Finding(what, True, f"below {table.public_url.rstrip('/')}/v1/unsubscribe/, signed by {signed}")


def _check_brokers(settings: Settings) -> Iterator[Finding]:
    for broker in broker_addresses(settings.kafka.bootstrap):
        failure = unreachable(broker, within=_BROKER_WAIT)
        yield Finding(f"broker {broker}", failure is None, failure or "answers")


def _check_directory(directory: Path) -> Finding:
    place = directory
    while not place.exists():
        place = place.absolute().parent
    problem = full_disk(place) if os.access(place, os.W_OK | os.X_OK) else "may not be written"
    detail = "exists" if place == directory else "will be made at the first start"
    return Finding("data_dir", problem is None, f"{directory}: {problem or detail}")


def _check_log(settings: Settings) -> Finding:
    if settings.profile == "embedded" and not (settings.data_dir / "log").exists():
        return Finding("log", True, "embedded: will be made at the first start")
    missing = []
    try:
        log = open_configured_log(settings)
        try:
            for spec in system_topics(settings):
                try:
                    log.partitions(spec.name)
                except UnknownTopicError:
                    missing.append(spec.name)
        finally:
            log.close()
    except CarillonError as error:
        return Finding("log", False, f"{settings.profile}: {error}")
    if missing and not isinstance(log, EmbeddedLog):
        return Finding("log", False, f"{settings.profile}: {len(missing)} topics missing; type: carillon topics create")
    return Finding("log", True, f"{settings.profile}: reached, {len(system_topics(settings)) - len(missing)} topics")


def _check_redis(settings: Settings) -> Iterator[Finding]:
    if settings.redis is None:
        yield Finding("redis", True, "not configured: each process keeps repeats, sender limits and rates by itself")
        return
    yield _ask_redis("redis", settings.redis, "answers")


def _check_inbox(settings: Settings) -> Iterator[Finding]:
    given = settings.inbox.in_redis()
    if given is None:
        yield Finding("inbox", True, f"kept in {settings.data_dir / INBOX}")
    else:
        yield _ask_redis("inbox", given, "kept in Redis, which answers")


def _ask_redis(what: str, options: RedisOptions, fine: str) -> Finding:
    """Whether it answers, takes what it is given, and keeps it."""
    from redis import RedisError

    from connectors.redis_client import blocking_redis, eviction, no_room

    client = blocking_redis(options, _REDIS_WAIT)
    try:
        memory: Any = client.info("memory")
        fault = eviction(memory) or no_room(memory)
        if fault is None:
            client.set(f"{options.prefix}:check", 1, px=1_000)  # a replica answers, too, and one that cannot save
        return Finding(what, fault is None, fault or fine)
    except (RedisError, OSError) as error:
        return Finding(what, False, f"{type(error).__name__}: {error}")
    finally:
        client.close()


def _check_providers(settings: Settings) -> Iterator[Finding]:
    stand_ins, reached = simulated(settings), _places(settings)
    for name, provider in PROVIDERS.items():
        what, options = provider.what, getattr(settings.providers, name)
        if options is None and name not in stand_ins:
            if provider.place not in reached:
                yield Finding(f"provider {what}", True, "none: the gateway refuses its addresses")
            continue
        if options is None:
            yield from _check_sandbox(settings, name)
            continue
        yield asyncio.run(_try_provider(f"provider {what}", InForce(provider, options, settings.egress)))
        if isinstance(options, MailOptions):
            yield _check_signature(options, f"signature {what}")
        if isinstance(options, WebPushOptions):
            yield _check_application_key(options)
    for provider, options in installed_providers(settings).values():
        yield asyncio.run(_try_provider(f"provider {provider.what}", InForce(provider, options, settings.egress)))


def _places(settings: Settings) -> set[Place]:
    """What some provider serves, or a simulator."""
    stand_ins = simulated(settings)
    own = {
        provider.place
        for name, provider in PROVIDERS.items()
        if name in stand_ins or getattr(settings.providers, name) is not None
    }
    return own | {provider.place for provider, _ in installed_providers(settings).values()}


def _check_signature(options: MailOptions, what: str) -> Finding:
    """With which key mails are signed, and what DNS must say of it; nobody is asked whether it does."""
    try:
        signer = dkim_signer(options)
    except ConfigurationError as error:
        return Finding(what, False, str(error))
    if signer is None:
        return Finding(
            what, True, f"mails are not signed unless {options.table} does it; see providers.{options.table}.dkim_key"
        )
    name, text = signer.dns_record()
    return Finding(what, True, f"DNS must have at {name} the TXT record {text}")


def _check_application_key(options: WebPushOptions) -> Finding:
    """The public half of the key, which web pages must subscribe with."""
    what = "key push to browsers"
    try:
        key = load_signing_key(credential(options, "signing_key"), key="providers.webpush.signing_key")
    except ConfigurationError as error:
        return Finding(what, False, str(error))
    return Finding(what, True, f"web pages must subscribe with the applicationServerKey {application_key(key)}")


def _check_sandbox(settings: Settings, name: str) -> Iterator[Finding]:
    """What has no credentials; the sandbox that serves it is there while the system runs."""
    what = f"sandbox {PROVIDERS[name].what}"
    if not _sandbox_runs(settings):
        yield Finding(what, True, "no credential: the sandbox serves it while carillon up runs")
        return
    try:
        found = asyncio.run(_try_provider(what, providers_in_force(settings)[name]))
        yield replace(found, detail="no credential: a simulator answers, and nobody is reached") if found.ok else found
    except CarillonError as error:
        yield Finding(what, False, str(error))


def _sandbox_runs(settings: Settings) -> bool:
    from connectors.log.owners import lives
    from flows.process.run_files import read_processes

    return any(name == "sandbox" and lives(pid) for name, pid in read_processes(settings.data_dir).items())


async def _try_provider(what: str, found: InForce) -> Finding:
    connector, options = found.channel(), found.options
    name = f"{what} ({connector.name})"
    address = str(getattr(options, "origin", ""))
    if isinstance(options, SmtpOptions | SmppOptions):
        address = f"{options.host}:{options.port}"
    try:
        await connector.connect()
        result = await asyncio.wait_for(connector.check(), _DEADLINE.total_seconds())
        return Finding(name, result.ok, result.detail if result.ok else f"{address}: {result.detail}")
    except CarillonError as error:
        return Finding(name, False, str(error))
    except TimeoutError:
        return Finding(name, False, f"{address}: no answer within {_DEADLINE.total_seconds():.0f} s")
    finally:
        await connector.close()


def check_ends(settings: Settings, now: datetime) -> Iterator[Finding]:
    """When credentials end, as far as it is known; within two weeks it is a finding."""
    for name, end in credential_ends(settings).items():
        if end is None:
            yield Finding(f"end of {name}", False, "cannot be read; name a PEM file of certificates")
        else:
            yield Finding(f"end of {name}", end - now > _EXPIRES_SOON, f"valid until {end:%Y-%m-%d}")
