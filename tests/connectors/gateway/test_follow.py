"""The gateway's follower when the log is not the one that it knows, or nothing works."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from helpers.waiting import wait_for
from prometheus_client import REGISTRY

from connectors.gateway.directory import Directory
from connectors.gateway.follow import Follower
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, Record, TopicSpec
from state.model.errors import StoreUnavailableError


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog(tmp_path, clock=lambda: time.time_ns() // 1_000_000)
    opened.ensure_topics([TopicSpec(topic, 1, compacted=True) for topic in ("preferences", "endpoints")])
    yield opened
    opened.close()


def as_it_is(_channel: str, _platform: str | None, address: str | None) -> str | None:
    return address


def read_errors() -> float:
    return REGISTRY.get_sample_value("carillon_gateway_follow_errors_total", {"kind": "read"}) or 0.0


def preference(user: str) -> NewRecord:
    return NewRecord("preferences", 0, user.encode(), b'{"user":"%s","doc":{"master":false}}' % user.encode(), ())


def test_a_log_that_ends_below_what_was_followed_is_an_error_and_no_silence(log: EmbeddedLog, tmp_path: Path) -> None:
    directory = Directory(tmp_path / "directory.sqlite", as_it_is)
    directory.follow([], [(("preferences", 0), 7)])
    follower = Follower(log, directory, ("preferences",), others={})
    before = read_errors()
    follower.start()
    wait_for(lambda: read_errors() > before)
    assert not follower.caught_up
    follower.close()
    directory.close()


def test_an_error_that_is_not_the_logs_ends_nothing_and_is_not_ready(log: EmbeddedLog, tmp_path: Path) -> None:
    directory = Directory(tmp_path / "directory.sqlite", as_it_is)
    follower = Follower(log, directory, ("preferences",), others={})
    follower.start()
    wait_for(lambda: follower.caught_up)
    with closing(sqlite3.connect(tmp_path / "directory.sqlite", isolation_level=None)) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON preference BEGIN SELECT RAISE(FAIL, 'disk full'); END")
        log.append([preference("ada")])
        wait_for(lambda: not follower.caught_up)
        other.execute("DROP TRIGGER full")
    wait_for(lambda: follower.caught_up and directory.preference("ada").place == 0)
    log.append([preference("grace")])
    wait_for(lambda: directory.preference("grace").place == 1)
    follower.close()
    directory.close()


def test_a_tombstone_whose_key_names_no_endpoint_is_passed_over(log: EmbeddedLog, tmp_path: Path) -> None:
    log.append([NewRecord("endpoints", 0, key, b"", ()) for key in (b"", b"ada", b"ada\0push", b"ada\0push\0phone")])
    log.append([preference("ada")])
    directory = Directory(tmp_path / "directory.sqlite", as_it_is)
    follower = Follower(log, directory, ("endpoints", "preferences"), others={})
    follower.start()
    wait_for(lambda: follower.caught_up)
    assert directory.preference("ada").place == 0
    assert directory.position("endpoints", 0) == 4
    follower.close()
    assert directory.follow([Record("endpoints", 0, 9, 0, b"ada", b"", ())], ()) == 1
    directory.close()


@pytest.mark.parametrize("damage", ["cut", "garbage", "pages"])
def test_a_damaged_directory_is_read_again_from_the_log(log: EmbeddedLog, tmp_path: Path, damage: str) -> None:
    """No gateway started on it, for ever; and one that found the damage later answered by 503 until somebody came."""
    users, path = [f"user{number:04}" for number in range(2_000)], tmp_path / "directory.sqlite"
    log.append([preference(user) for user in users])

    def started() -> tuple[Directory, Follower]:
        directory = Directory(path, as_it_is)
        follower = Follower(log, directory, ("preferences",), others={})
        follower.start()
        return directory, follower

    directory, follower = started()
    wait_for(lambda: follower.caught_up)
    follower.close()
    directory.close()
    content = path.read_bytes()
    written = {"cut": content[: len(content) // 2 + 7], "garbage": b"garbage" * 100}.get(damage)
    path.write_bytes(written or content[:8192] + bytes(reversed(content[8192:])))
    directory, follower = started()

    def stored(user: str) -> int:
        try:
            return directory.preference(user).place
        except StoreUnavailableError:
            return -1

    wait_for(lambda: [user for user in users if stored(user) < 0] == [])
    wait_for(lambda: follower.caught_up)
    follower.close()
    directory.close()


def test_what_was_handed_on_is_not_again_when_a_directory_is_begun_again(log: EmbeddedLog, tmp_path: Path) -> None:
    """An event that was cancelled and posted again would be free a second time, and its next repeat be accepted."""
    seen = list[bytes]()
    log.ensure_topics([TopicSpec("schedule", 1)])
    log.append([preference("ada"), NewRecord("schedule", 0, b"", b"1")])
    with closing(Directory(tmp_path / "directory.sqlite", as_it_is)) as directory:
        others = {"schedule": (lambda record: seen.append(record.value), None)}
        follower = Follower(log, directory, ("preferences",), others=others)
        follower.start()
        wait_for(lambda: follower.caught_up)
        directory.damaged = True
        log.append([NewRecord("schedule", 0, b"", b"2")])
        wait_for(lambda: b"2" in seen and not directory.damaged and follower.caught_up)
        assert directory.preference("ada").document == {"master": False}
        assert seen == [b"1", b"2"]
        follower.close()


def test_while_it_is_read_again_a_directory_says_nothing(log: EmbeddedLog, tmp_path: Path) -> None:
    """Who sent a patch of his preferences just then would have had all else that he said replaced by it."""
    log.append([preference("ada")])
    with closing(Directory(tmp_path / "directory.sqlite", as_it_is)) as directory:
        follower = Follower(log, directory, ("preferences",), others={})
        directory.begin_again()
        with pytest.raises(StoreUnavailableError):
            directory.preference("ada")
        follower.start()
        wait_for(lambda: follower.caught_up)
        assert directory.preference("ada").document == {"master": False}
        follower.close()


def test_who_does_not_follow_the_log_leaves_a_damaged_directory_as_it_is(tmp_path: Path) -> None:
    """A command beside a running gateway took its file away, and knew nobody then."""
    path = tmp_path / "directory.sqlite"
    path.write_bytes(b"garbage" * 100)
    with closing(Directory(path, as_it_is)) as directory, pytest.raises(StoreUnavailableError):
        directory.preference("ada")
    assert path.read_bytes() == b"garbage" * 100
