"""Kill switches out of band, on a real embedded log."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from helpers.logs import captured_logs
from helpers.waiting import wait_for

from connectors.control import ControlWatcher, Scope, kill_record, read_obeyed
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, TopicSpec
from state.model.errors import UnknownTopicError
from state.model.settings import Kill


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path, clock=lambda: time.time_ns() // 1_000_000)
    log.ensure_topics([TopicSpec("control", 1, compacted=True)])
    yield log
    log.close()


@pytest.fixture
def watcher(log: EmbeddedLog, tmp_path: Path) -> Iterator[ControlWatcher]:
    watcher = ControlWatcher(log, process="deliver", run_dir=tmp_path / "run")
    yield watcher
    watcher.close()


def test_switches_set_before_the_start_are_known_at_once(log: EmbeddedLog, watcher: ControlWatcher) -> None:
    log.append([kill_record(Kill("type", "like")), kill_record(Kill("channel", "sms"))])
    log.append([kill_record(Kill("type", "like", on=False))])
    watcher.start()
    assert watcher.switches == {("channel", "sms")}
    assert watcher.stopped(Scope(sender="s", type_name="like", channel="sms")) == ("channel", "sms")
    assert watcher.stopped(Scope(sender="s", type_name="like", channel="push")) is None


def test_a_switch_is_obeyed_and_reported(log: EmbeddedLog, watcher: ControlWatcher, tmp_path: Path) -> None:
    watcher.start()
    assert watcher.stopped(Scope(sender="shop")) is None
    (offset,) = log.append([kill_record(Kill("all"))])
    wait_for(lambda: watcher.stopped(Scope(sender="shop")) == ("all", ""))
    wait_for(lambda: [report.offset for report in read_obeyed(tmp_path / "run")] == [offset + 1])
    log.append([kill_record(Kill("all", on=False))])
    wait_for(lambda: watcher.stopped(Scope(sender="shop")) is None)


def test_a_report_says_since_when_each_switch_is_obeyed(
    log: EmbeddedLog, watcher: ControlWatcher, tmp_path: Path
) -> None:
    log.append([kill_record(Kill("type", "like"))])
    before = time.time_ns() // 1_000_000
    watcher.start()
    (first,) = read_obeyed(tmp_path / "run")
    assert list(first.switches) == ["type/like"]
    assert before <= first.switches["type/like"] <= first.at
    for kill, names in (
        (Kill("all"), ["type/like", "all/"]), (Kill("type", "like"), ["type/like", "all/"]),
        (Kill("all", on=False), ["type/like"]),
    ):  # fmt: skip
        (offset,) = log.append([kill_record(kill)])
        wait_for(lambda offset=offset: read_obeyed(tmp_path / "run")[0].offset == offset + 1)
        (report,) = read_obeyed(tmp_path / "run")
        assert sorted(report.switches) == sorted(names)
        assert report.switches["type/like"] == first.switches["type/like"]
        assert [report.since(switch) for switch in watcher.on] == [report.switches[name] for name in names]


def test_a_drain_names_a_class_or_a_provider_and_stops_no_send(
    log: EmbeddedLog, watcher: ControlWatcher, tmp_path: Path
) -> None:
    log.append([kill_record(Kill("drain", "P2")), kill_record(Kill("drain", "apns"))])
    watcher.start()
    assert (watcher.drained("fcm"), watcher.drained("apns")) == (
        frozenset({"P2"}), frozenset({"P0", "P1", "P2"}),
    )  # fmt: skip
    assert watcher.switches == frozenset()
    assert sorted(read_obeyed(tmp_path / "run")[0].switches) == ["drain/P2", "drain/apns"]
    log.append([kill_record(Kill("drain", "apns", on=False)), kill_record(Kill("drain", "P2", on=False))])
    wait_for(lambda: watcher.drained("apns") == frozenset())


@pytest.mark.parametrize(
    ("kill", "scope"),
    [
        (Kill("sender", "shop"), Scope(sender="shop")),
        (Kill("type", "like"), Scope(type_name="like")),
        (Kill("channel", "push"), Scope(channel="push")),
        (Kill("campaign", "spring"), Scope(campaign="spring")),
        (Kill("all", "ignored"), Scope()),
    ],
)
def test_every_scope_stops_what_it_names_and_nothing_else(
    log: EmbeddedLog, watcher: ControlWatcher, kill: Kill, scope: Scope
) -> None:
    log.append([kill_record(kill)])
    watcher.start()
    assert watcher.stopped(scope) is not None
    other = Scope(sender="other", type_name="other", channel="other", campaign="other")
    assert (watcher.stopped(other) is not None) == (kill.scope == "all")


def test_a_malformed_record_changes_nothing_and_the_next_one_counts(log: EmbeddedLog, watcher: ControlWatcher) -> None:
    watcher.start()
    log.append([NewRecord("control", 0, b"all\0", b'{"scope": 5}', (("schema", b"kill/1+json"),))])
    log.append([NewRecord("control", 0, b"x", b"{}", (("schema", b"breaker/1+json"),))])
    for poison in (b'{"scope":null,"x":"\xff"}', b'{"scope":null,"x":' + b"[" * 60_000):
        log.append([NewRecord("control", 0, b"all\0", poison, (("schema", b"kill/1+json"),))])
    log.append([kill_record(Kill("channel", "email"))])
    wait_for(lambda: watcher.switches == {("channel", "email")})


def test_without_the_topic_it_refuses_to_start(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path, clock=lambda: 0)
    watcher = ControlWatcher(log, process="deliver", run_dir=None)
    with pytest.raises(UnknownTopicError):
        watcher.start()
    watcher.close()
    log.close()


def test_damage_ends_nothing_and_once_it_is_repaired_the_switch_is_obeyed(
    log: EmbeddedLog, watcher: ControlWatcher, tmp_path: Path
) -> None:
    log.append([kill_record(Kill("sender", "one"))])
    watcher.start()
    (path,) = tmp_path.glob("log/control/*.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as other, captured_logs() as logged:
        other.execute(
            "CREATE TRIGGER damage AFTER INSERT ON frames BEGIN"
            " UPDATE frames SET checksum = checksum + 1 WHERE last_offset = NEW.last_offset; END"
        )
        log.append([kill_record(Kill("sender", "two")), kill_record(Kill("sender", "one", on=False))])
        wait_for(lambda: sum(entry["event"] == "log_not_followed" for entry in logged) > 2)
        assert watcher.switches == {("sender", "one")}
        other.execute("DROP TRIGGER damage")
        other.execute("UPDATE frames SET checksum = checksum - 1 WHERE last_offset = 2")
    wait_for(lambda: watcher.switches == {("sender", "two")})
    assert watcher.offset == 3


def test_a_report_of_a_dead_process_does_not_count(log: EmbeddedLog, watcher: ControlWatcher, tmp_path: Path) -> None:
    watcher.start()
    dead = tmp_path / "run" / "obeyed" / "decide.json"
    dead.write_text('{"process":"decide","pid":4194303,"offset":9,"at":0}')
    assert [report.process for report in read_obeyed(tmp_path / "run")] == ["deliver"]
    watcher.close()
    assert read_obeyed(tmp_path / "run") == []
