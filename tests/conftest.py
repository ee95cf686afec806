"""Fixtures that every test may ask for, and those that every test has."""

import threading
from collections.abc import Iterator

import pytest

pytest_plugins = ["helpers.services"]
_PRODUCERS: dict[threading.Thread, str] = {}
"""The thread of each producer of a Kafka log, to the test that first wrote with it."""


@pytest.fixture(scope="session", autouse=True)
def _kafka_logs_are_closed() -> Iterator[None]:
    """Tests close what they opened: a producer that is left goes on to talk of a broker that is gone."""
    yield
    for thread in _PRODUCERS:
        thread.join(5)
    assert [test for thread, test in _PRODUCERS.items() if thread.is_alive()] == [], "a Kafka log is still open"


@pytest.fixture(autouse=True)
def _producers_are_noticed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "kafka-reports":
            _PRODUCERS.setdefault(thread, request.node.nodeid)
