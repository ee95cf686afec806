"""Fixtures that every test may ask for, and those that every test has."""

import threading
from collections.abc import Iterator

import pytest
from xdist.scheduler import LoadFileScheduling

pytest_plugins = ["helpers.services"]
_BUSY = (
    "tests/brokers/",
    "tests/connectors/log/kafka/test_log_brokers.py",
    "tests/crash/test_harness.py",
    "tests/drills/test_incidents.py",
    "tests/system/test_higgs_gateway.py",
    "tests/system/test_unit.py",
    "tests/system/test_up.py",
)
"""Files whose tests need the machine: one of them at a time."""
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


class _Scheduling(LoadFileScheduling):  # type: ignore[misc]  # the library has no types
    """A file's tests in one process, and those of all busy files in the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return "busy" if nodeid.startswith(_BUSY) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Scheduling:
    """Who runs what under `-n`."""
    return _Scheduling(config, log)
