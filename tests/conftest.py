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
_FIRST: tuple[str | tuple[str, ...], ...] = (
    _BUSY,
    "tests/system/test_passed_over.py",
    "tests/mutation/",
    "tests/rules/test_simulate_higgs.py",
    "tests/connectors/archive/test_newest.py",
    "tests/system/test_mail_html_in_a_browser.py",
)
"""Files that take minutes are begun first, the longest before the others: one that comes last leaves the other
processes with nothing to do. All others stay in their order.
"""
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """By the names of files alone: all processes must find the same order."""

    def turn(item: pytest.Item) -> int:
        found = (number for number, files in enumerate(_FIRST) if item.nodeid.startswith(files))
        return next(found, len(_FIRST))

    items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Scheduling:
    """Who runs what under `-n`."""
    return _Scheduling(config, log)
