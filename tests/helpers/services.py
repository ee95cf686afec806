"""Real services for tests, one of each per session. A service that cannot be had is a failure, never a skip.

CARILLON_KAFKA (bootstrap address) and CARILLON_REDIS (URL) name running ones to use instead.
"""

import os
from collections.abc import Iterator

import pytest

from infra.services import start_kafka, start_redis


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The address of a Kafka broker."""
    given = os.environ.get("CARILLON_KAFKA")
    if given:
        yield given
        return
    cluster = start_kafka()
    try:
        yield cluster.bootstrap
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a Redis server; tests keep apart by key prefixes."""
    given = os.environ.get("CARILLON_REDIS")
    if given:
        yield given
        return
    server = start_redis()
    try:
        yield server.url
    finally:
        server.stop()
