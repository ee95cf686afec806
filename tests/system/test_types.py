"""A type that is published while the whole system runs: every process obeys, and goes on obeying after kill -9."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers.up import Up, running
from helpers.waiting import wait_for

ADDRESS = "b" * 64


def send(up: Up, name: str) -> dict[str, Any]:
    """The decision of a new mention."""
    event = {"event_id": name, "type": "mention", "actor": "max", "target": "zoe", "object": name}
    assert up.post(event) == 202
    found: list[dict[str, Any]] = []

    def is_decided() -> bool:
        lines = up.carillon("ledger", "--json", "--event", name, "--user", "zoe").stdout.splitlines()
        found[:] = [each for each in map(json.loads, lines) if each["kind"] == "decision"]
        return bool(found)

    wait_for(is_decided, what=f"{name} is decided")
    return found[0]


def publish(up: Up, name: str, table: Any) -> None:
    status, answer = up.call("PUT", f"/v1/types/{name}", {"table": table, "reason": "a try"}, key="ops")
    assert status == 200, answer


def test_every_process_obeys_a_publication_also_after_kill_9(tmp_path: Path) -> None:
    with running(tmp_path) as up:
        phone = {"platform": "ios", "address": ADDRESS}
        assert up.call("PUT", "/v1/users/zoe/endpoints/push/p", phone)[0] == 200
        before = send(up, "m1")
        publish(up, "mention", {"channels": ["in_app"]})
        silent = send(up, "m2")
        assert [(each["outcome"], each["channels"]) for each in (before, silent)] == [
            ("EMITTED", ["push"]),
            ("INBOX", []),
        ]
        assert before["registry_version"] != silent["registry_version"]
        up.kill("sequence")
        up.kill("decide")
        assert send(up, "m3")["outcome"] == "INBOX"
        publish(up, "mention", {"channels": ["push"]})
        for name in ("sequence", "decide", "gateway", "deliver"):
            up.kill(name)
        assert send(up, "m4")["channels"] == ["push"]
        assert up.stop() == 0
        assert up.carillon("ledger", "--check").returncode == 0
        replayed = up.carillon("replay", str(up.directory), "--from", "0", "--to", "9999999999999", "--json").stdout
        again = {
            each["event_id"]: each["outcome"] for each in map(json.loads, replayed.splitlines()) if "outcome" in each
        }
        assert again == {"m1": "EMITTED", "m2": "INBOX", "m3": "INBOX", "m4": "EMITTED"}
