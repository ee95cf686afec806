"""`carillon up` with two processes of decide: killed, stopped, and taken over."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpers.places import ROOT
from helpers.up import Up, running
from helpers.waiting import wait_for

TWO = {"CARILLON_PROCESSES__DECIDE": "2"}


def decided(up: Up, number: int) -> bool:
    return len({(v["event_id"], v["user"]) for v in up.ledger() if v["kind"] == "decision"}) == number


def test_two_deciders_live_and_die_as_one(tmp_path: Path) -> None:
    with running(tmp_path / "data", environment=TWO) as up:
        pids = up.pids()
        assert {"decide", "decide-1"} <= pids.keys()
        users = [f"user{number}" for number in range(40)]
        for user in users[:20]:
            up.post({"type": "mention", "actor": "ada", "target": user, "object": user})
        os.kill(pids["decide-1"], signal.SIGKILL)
        both = ("decide", "decide-1")
        wait_for(lambda: all(up.pids()[name] != pids[name] for name in both), what="the restart of both")
        for user in users[20:]:
            up.post({"type": "mention", "actor": "ada", "target": user, "object": user})
        wait_for(lambda: decided(up, 40), what="40 decisions", every_s=1)
        before = up.pids()
        os.kill(before["deliver"], signal.SIGSTOP)
        wait_for(lambda: up.pids()["deliver"] != before["deliver"], what="the restart of what hangs")
        events = [(line["event"], line["name"]) for line in up.lines[1:] if line.get("name") == "deliver"]
        assert events[-3:] == [("hung", "deliver"), ("exit", "deliver"), ("restart", "deliver")]
        assert up.stop() == 0
        assert up.carillon("ledger", "--check").returncode == 0


def test_a_system_whose_place_is_taken_ends_and_says_by_whom(tmp_path: Path) -> None:
    other = tmp_path / "other"
    with running(tmp_path / "data") as up:
        other.mkdir()
        for name in ("log", "sandbox"):
            (other / name).symlink_to(up.directory / name)
        with (tmp_path / "thief.out").open("wb") as output:
            thief = subprocess.Popen(
                [sys.executable, "-m", "flows.up.launch", "decide", "flows", "decide"],
                cwd=ROOT, env={**os.environ, "CARILLON_DATA_DIR": str(other), "CARILLON_CONFIG": os.devnull},
                stdin=subprocess.PIPE, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            wait_for(lambda: up.process.poll() is not None, what="its end")
        finally:
            thief.kill()
            thief.wait(10)
            assert thief.stdin is not None
            thief.stdin.close()
        assert up.process.returncode == 1
        assert up.process.stderr is not None
        said = up.process.stderr.read()
        assert f"decide/0 was taken over by process {thief.pid} on " in said
        time.sleep(0.2)
        restarts = [line for line in up.lines[1:] if line.get("event") == "restart" and line["name"] == "decide"]
        assert not restarts
