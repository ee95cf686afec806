"""`carillon up`, the whole system: real processes, real HTTP, simulated providers in processes of their own."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.up import Up, alive, carillon, running
from helpers.waiting import wait_for

PEOPLE = {
    "open": {"quiet_hours": {"enabled": False}, "frequency_cap": {"max_per_hour": 5000, "max_per_day": 5000}},
    "off": {"master": False},
    "deaf": {"types": {"mention": {"enabled": False}}},
    "muting": {
        "muted": {"actors": ["bore"], "objects": []},
        "frequency_cap": {"max_per_hour": 5000, "max_per_day": 5000},
    },
    "inbox_only": {"types": {"mention": {"channels": ["in_app"]}}},
    "never": {"frequency_cap": {"max_per_hour": 0, "max_per_day": 0}},
}
ADDRESSES = {
    "push": {"platform": "ios", "address": ""},
    "sms": {"address": ""},
    "email": {"address": ""},
}


def address(channel: str, number: int) -> dict[str, Any]:
    texts = {"push": f"{number:064x}", "sms": f"+1555{2000000 + number}", "email": f"person{number}@example.com"}
    return ADDRESSES[channel] | {"address": texts[channel]}


def settle_in(up: Up) -> None:
    """Preferences and addresses of everybody, by the calls that a host application and a person make."""
    for number, (user, document) in enumerate(PEOPLE.items()):
        token = up.carillon("token", user).stdout.strip()
        status, answer = up.call("PUT", "/v1/preferences", document, bearer=token)
        assert status == 200, answer
        for channel in ADDRESSES:
            status, answer = up.call(
                "PUT", f"/v1/users/{user}/endpoints/{channel}/{channel}1", address(channel, number)
            )
            assert status == 200, answer


def mention(number: int) -> dict[str, Any]:
    users = list(PEOPLE)
    return {
        "event_id": f"mention-{number}",
        "idempotency_key": f"key-{number}",
        "type": "mention",
        "actor": "bore" if number % 3 == 0 else "friend",
        "target": users[number % len(users)],
        "object": f"thread{number}",
    }


def decided(records: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What must not depend on when or how often something died."""
    return {
        (record["event_id"], record["user"]): (
            record["outcome"], record["reason"], record["inbox"], tuple(record["channels"]),
        )
        for record in records
        if record["kind"] == "decision"
    }  # fmt: skip


def simulated(events: list[dict[str, Any]], directory: Path) -> dict[tuple[str, str], tuple[Any, ...]]:
    """The same events by `carillon simulate`: the ledger as it is when nothing dies."""
    records: list[dict[str, Any]] = []
    for number, (user, document) in enumerate(PEOPLE.items()):
        records.append({"kind": "preference", "ts": 1, "user": user, "doc": document})
        records += [
            {"kind": "endpoint", "ts": 1, "user": user, "channel": channel, "id": f"{channel}1", "state": "active"}
            | address(channel, number)
            for channel in ADDRESSES
        ]
    records += [{"kind": "event", "ts": 1000 + number} | event for number, event in enumerate(events)]
    source = directory / "records.ndjson"
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    done = carillon("simulate", str(source))
    assert done.returncode == 0, done.stderr
    return decided([json.loads(line) for line in done.stdout.splitlines()])


def assert_laws_hold(up: Up) -> None:
    """The laws as the command proves them; a moment later if something was still on its way."""
    check = ("ledger", "--check")
    wait_for(lambda: not up.carillon(*check).returncode, what=lambda: up.carillon(*check).stdout, every_s=1)


def assert_a_kill_switch_is_obeyed(up: Up) -> None:
    """Set while it runs, obeyed by every process that sends, on the ledger as the reason, and lifted again; within five
    seconds, one of the two at least on a machine that is busy.
    """
    last_ms: list[int] = []
    for lift, outcome, reason in (((), "SUPPRESSED", "kill_switch"), (("--lift",), "EMITTED", None)):
        done = up.carillon("kill", "--type", "share", "--json", *lift)
        assert done.returncode == 0, done.stdout + done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert {answer["process"] for answer in answers} >= {"deliver", "transactional"}
        last_ms.append(max(answer["after_ms"] for answer in answers))
        event = f"share-{outcome}"
        posted = {"event_id": event, "type": "share", "actor": "friend", "target": "open", "object": event}
        assert up.post(posted) in (200, 202)
        wait_for(lambda event=event: (event, "open") in decided(up.ledger()), what="the decision")
        assert decided(up.ledger())[(event, "open")][:2] == (outcome, reason)
    assert min(last_ms) < 5000


def register_web_addresses(up: Up, user: str) -> None:
    """A webhook and a chat, at the simulated receivers."""
    ports = json.loads((up.directory / "sandbox" / "ports.json").read_text())
    for channel in ("webhook", "chat"):
        whole = {"address": f"https://127.0.0.1:{ports[channel]}/of/{user}"}
        status, answer = up.call("PUT", f"/v1/users/{user}/endpoints/{channel}/{channel}1", whole)
        assert status == 200, answer
        assert "address" not in answer


DEPLOYED = {"CARILLON_TYPES__DEPLOYED__CHANNELS": '["webhook", "chat"]', "CARILLON_TYPES__DEPLOYED__POLICY": "all"}
"""A type of our own."""


def test_events_become_notifications_on_every_channel_and_a_second_start_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, environment=DEPLOYED) as up:
        assert set(up.first) >= {"url", "p0_url", "console", "keys", "user_secret", "processes"}
        assert set(up.first["keys"]) == {"producer", "p0_producer", "ops", "marketing", "support"}
        assert len(up.first["processes"]) <= 8
        settle_in(up)
        assert up.post(mention(0)) in (200, 202)
        assert up.post(mention(0)) == 200
        reset = {"event_id": "reset-1", "type": "password_reset", "target": "open", "payload": {"code": "123456"}}
        assert up.post(reset, p0=True) in (200, 202)
        register_web_addresses(up, "open")
        deployed = {"event_id": "deployed-1", "type": "deployed", "target": "open", "payload": {"title": "Version 2"}}
        assert up.post(deployed) in (200, 202)
        channels = ("apns", "twilio", "smtp", "webhook", "chat")
        wait_for(lambda: all(up.provider(name) for name in channels), what="a send on every channel")
        due = int(time.time() * 1000) + 20_000
        later = {"event_id": "later-1", "type": "reminder", "target": "open", "deliver_at": due}
        assert up.post(later) in (200, 202)
        assert_a_kill_switch_is_obeyed(up)
        assert_laws_hold(up)
        pids = up.pids()
        assert up.stop() == 0
        assert not any(alive(pid) for pid in pids.values())
        assert ("later-1", "open") not in decided(up.ledger()) or time.time() * 1000 > due
    with running(tmp_path) as again:
        wait_for(lambda: ("later-1", "open") in decided(again.ledger()), what="the kept event's release", every_s=1)
        found = decided(again.ledger())
        assert found[("mention-0", "open")][0] == "EMITTED"
        assert found[("later-1", "open")][0] == "EMITTED"
        assert found[("deployed-1", "open")][3] == ("webhook", "chat")
        assert_laws_hold(again)
        assert again.stop() == 0
    assert "123456" not in "".join(path.read_text() for path in (tmp_path / "run" / "logs").glob("*.log"))


def test_kill_9_of_every_process_during_a_feed_leaves_the_same_ledger(tmp_path: Path) -> None:
    events = [mention(number) for number in range(240)]
    expected = simulated(events, tmp_path)
    with running(tmp_path / "data") as up:
        settle_in(up)
        victims = [name for name in up.pids() if name != "sandbox"]
        for number, event in enumerate(events):
            assert up.post(event) in (200, 202)
            if number % 30 == 29 and victims:
                up.kill(victims.pop())
        assert not victims
        wait_for(lambda: set(decided(up.ledger())) >= set(expected), 90, "every accepted event on the ledger")
        assert decided(up.ledger()) == expected
        assert_laws_hold(up)
        pushes = [entry["id"] for entry in up.provider("apns") if entry["status"] == 200]
        assert len(pushes) == len(set(pushes)), "a push was sent twice"
        assert up.stop() == 0


def test_kill_9_of_the_supervisor_leaves_no_orphan_and_loses_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as up:
        settle_in(up)
        assert up.post(mention(0)) in (200, 202)
        pids = up.pids()
        os.kill(pids["decide"], signal.SIGSTOP)  # a stopped process must not stay behind either
        up.process.kill()
        up.process.wait(10)
        wait_for(lambda: not any(alive(pid) for pid in pids.values()), what="the end of every child")
    with running(tmp_path) as again:
        wait_for(lambda: ("mention-0", "open") in decided(again.ledger()), what="the decision")
        assert again.stop() == 0


def test_a_lost_state_directory_is_rebuilt_from_the_log_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    with running(tmp_path) as up:
        settle_in(up)
        for number in range(24):
            assert up.post(mention(number)) in (200, 202)
        wait_for(lambda: len(decided(up.ledger())) == 24, what="every decision")
        before = decided(up.ledger())
        assert up.stop() == 0
    shutil.rmtree(tmp_path / "state")
    with running(tmp_path) as again:
        wait_for(lambda: any(line.get("event") == "rebuild" for line in again.lines), what="the word of it")
        for number in range(18, 30):
            assert again.post(mention(number)) in (200, 202)
        wait_for(lambda: len(decided(again.ledger())) == 30, what="every decision, the old ones too")
        after = decided(again.ledger())
        assert {pair: after[pair] for pair in before} == before
        assert_laws_hold(again)
        pushes = [entry["id"] for entry in again.provider("apns") if entry["status"] == 200]
        assert len(pushes) == len(set(pushes)), "a push was sent twice"
        assert again.stop() == 0


def test_a_second_supervisor_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as up:
        done = up.carillon("up", "--json")
        assert done.returncode == 1
        assert "owned by process" in done.stderr
        assert up.stop() == 0


@pytest.mark.parametrize("arguments", [["kill"], ["kill", "--all", "--type", "x"], ["graph", "nothing"], ["nothing"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert carillon(*arguments).returncode == 2


def test_a_wrong_key_in_the_configuration_is_named(tmp_path: Path) -> None:
    done = carillon("ledger", "--data", str(tmp_path / "nothing-here"))
    assert done.returncode == 1
    assert done.stderr.startswith("carillon: ")
