"""`carillon check`: the configuration in force, and whether everything it names can be reached."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from connectors.log.embedded.log import EmbeddedLog
from flows.config.providers import ProvidersInForce, needs_sandbox, providers_in_force
from flows.config.settings import Settings
from flows.process.opening import open_configured_log, system_topics
from state.model.errors import CarillonError, UnknownTopicError

_DEADLINE = timedelta(seconds=15)
_REDIS_WAIT = timedelta(seconds=2)
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
    yield _check_directory(settings.data_dir)
    yield _check_log(settings)
    yield from _check_redis(settings)
    yield from _check_providers(settings)


def _check_types(settings: Settings) -> Iterator[Finding]:
    names = settings.registry().names()
    yield Finding("types", True, f"{len(names)} in the registry, {len(settings.types)} of them configured here")
    who = ", ".join(sorted(settings.senders)) or "none configured: development credentials in the data directory"
    yield Finding("senders", True, who)


def _check_directory(directory: Path) -> Finding:
    place = directory
    while not place.exists():
        place = place.absolute().parent
    writable = os.access(place, os.W_OK | os.X_OK)
    detail = "exists" if place == directory else "will be made at the first start"
    return Finding("data_dir", writable, f"{directory}: {detail if writable else 'may not be written'}")


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
        yield Finding("redis", True, "not configured: repeats and sender limits are kept embedded")
        return
    import redis

    wait_s = _REDIS_WAIT.total_seconds()
    client = redis.Redis.from_url(settings.redis.url, socket_timeout=wait_s, socket_connect_timeout=wait_s, retry=None)
    try:
        client.ping()
        yield Finding("redis", True, "answers")
    except redis.RedisError as error:
        yield Finding("redis", False, type(error).__name__)
    finally:
        client.close()


def _check_providers(settings: Settings) -> Iterator[Finding]:
    if needs_sandbox(settings) and not _sandbox_runs(settings):
        given = settings.providers
        for channel, options in (("push", given.apns), ("sms", given.twilio), ("email", given.smtp)):
            if options is None:
                yield Finding(
                    f"provider {channel}", True, "no credential: the sandbox serves it while carillon up runs"
                )
        return
    try:
        providers = providers_in_force(settings)
        yield from asyncio.run(_try_providers(providers))
    except CarillonError as error:
        yield Finding("providers", False, str(error))
        return
    for name, file in (
        ("apns", providers.apns.ca_file),
        ("twilio", providers.twilio.ca_file),
        ("smtp", providers.smtp.ca_file),
    ):
        if file is not None:
            yield check_certificates(f"certificates {name}", file, datetime.now(UTC))


def _sandbox_runs(settings: Settings) -> bool:
    from connectors.control import lives
    from flows.process.run_files import read_processes

    return any(name == "sandbox" and lives(pid) for name, pid in read_processes(settings.data_dir).items())


async def _try_providers(providers: ProvidersInForce) -> list[Finding]:
    findings = []
    for channel, connector in providers.channels().items():
        name = f"provider {channel} ({connector.name})"
        try:
            await connector.connect()
            result = await asyncio.wait_for(connector.check(), _DEADLINE.total_seconds())
            findings.append(Finding(name, result.ok, result.detail))
        except CarillonError as error:
            findings.append(Finding(name, False, str(error)))
        except TimeoutError:
            findings.append(Finding(name, False, f"no answer within {_DEADLINE.total_seconds():.0f} s"))
        finally:
            await connector.close()
    return findings


def check_certificates(what: str, file: Path, now: datetime) -> Finding:
    """When the first certificate of a file ends; within two weeks it is a finding."""
    try:
        ends = min(certificate.not_valid_after_utc for certificate in load_pem_x509_certificates(file.read_bytes()))
    except (OSError, ValueError):
        return Finding(what, False, "cannot be read")
    return Finding(what, ends - now > _EXPIRES_SOON, f"valid until {ends:%Y-%m-%d}")
