"""What the supervisor and commands open: the log of the profile in force, and the topics that it should hold."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from connectors.log.interface import Log, TopicSpec
from connectors.log.topics import topic_specs
from flows.config.settings import Settings
from flows.process.open import log_opener
from state.model.errors import LogUnavailableError

_WAIT = timedelta(seconds=2)
_ANSWERS_WITHIN = timedelta(seconds=5)
"""Once it has taken the connection: a broker may be busy."""
_PAUSE_S = 0.1
_ASKS_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 0, -1)
"""Kafka's first question, ApiVersions 0 without a client's name: all brokers answer it, also before a login."""


def open_configured_log(settings: Settings) -> Log:
    """A log of this process's own; the caller closes it.

    :raises LogUnavailableError: no broker can be reached; the client would ask in vain until its deadline.
    """
    brokers = broker_addresses(settings.kafka.bootstrap) if settings.profile == "kafka" else []
    failures = [f"{broker}: {failure}" for broker, failure in _unreachable(brokers)]
    if brokers and len(failures) == len(brokers):
        raise LogUnavailableError(
            f"no Kafka broker can be reached ({'; '.join(failures)}); start one, or name yours: "
            "kafka.bootstrap in carillon.toml, or CARILLON_KAFKA__BOOTSTRAP=HOST:PORT"
        )
    return log_opener(settings, patient=False)()


def broker_addresses(bootstrap: str) -> list[str]:
    """Each `host:port` of a list."""
    return [broker.strip() for broker in bootstrap.split(",") if broker.strip()]


def _unreachable(brokers: list[str]) -> Iterator[tuple[str, str]]:
    """Those that do not answer, with the reason, as long as none did: one is enough."""
    for broker in brokers:
        failure = unreachable(broker, within=_WAIT / len(brokers))
        if failure is None:
            return
        yield broker, failure


def unreachable(broker: str, *, within: timedelta) -> str | None:
    """Why nobody answers at an address; None: somebody does. One that refuses may be starting.

    Somebody who hangs up answers too: what is wrong there (TLS, a login) the client's own words tell.
    """
    address, give_up = urlsplit(f"kafka://{broker}"), time.monotonic() + within.total_seconds()
    while True:
        try:
            with socket.create_connection((address.hostname, address.port), within.total_seconds()) as line:
                return None if _says_something(line) else "takes connections and does not answer"
        except OSError as error:
            if time.monotonic() >= give_up or isinstance(error, socket.gaierror):
                return error.strerror or "no answer"
            time.sleep(_PAUSE_S)


def _says_something(line: socket.socket) -> bool:
    line.settimeout(_ANSWERS_WITHIN.total_seconds())
    try:
        line.sendall(_ASKS_VERSIONS)
        line.recv(1)
    except TimeoutError:
        return False
    return True


def system_topics(settings: Settings) -> list[TopicSpec]:
    """Every topic, with the partitions and the retention that the settings want."""
    return topic_specs(settings.log.partitions, settings.log.retention)
