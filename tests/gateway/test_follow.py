"""The gateway's follower when the log is not the one that it knows."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from connectors.gateway.directory import Directory
from connectors.gateway.follow import Follower
from connectors.log.embedded import EmbeddedLog
from connectors.log.interface import TopicSpec


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path, clock=lambda: time.time_ns() // 1_000_000)
    opened.ensure_topics([TopicSpec("preferences", 1, compacted=True)])
    yield opened
    opened.close()


def read_errors() -> float:
    return REGISTRY.get_sample_value("carillon_gateway_follow_errors_total", {"kind": "read"}) or 0.0


def test_a_log_that_ends_below_what_was_followed_is_an_error_and_no_silence(log: EmbeddedLog, tmp_path: Path) -> None:
    directory = Directory(tmp_path / "directory.sqlite")
    directory.follow([], [(("preferences", 0), 7)])
    follower = Follower(log, directory, ("preferences",), others={})
    before = read_errors()
    follower.start()
    end = time.monotonic() + 5
    while read_errors() == before:
        assert time.monotonic() < end, "nobody noticed"
        time.sleep(0.02)
    assert not follower.caught_up
    follower.close()
    directory.close()
