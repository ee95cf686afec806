"""README's commands do what it says, exactly as they are written there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from helpers.places import ROOT
from helpers.up import running
from helpers.waiting import wait_for

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(kind: str, heading: str) -> list[str]:
    """The fenced blocks of one kind in one section."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)


def test_the_first_notification_goes_as_written(tmp_path: Path) -> None:
    start, tour, password = blocks("sh", "Your first notification")
    assert start == ".venv/bin/carillon up\n"
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / "carillon.toml").write_text(blocks("toml", "Types of events")[0])
    environment = {"CARILLON_CONFIG": str(tmp_path / "carillon.toml")}
    with running(tmp_path / "carillon-data", environment=environment) as up:
        script = tour.replace("http://127.0.0.1:8700", up.first["url"]).replace(
            ".venv/bin/carillon ledger",
            "until [ -s carillon-data/sandbox/apns.ndjson ]; do sleep 0.1; done\n.venv/bin/carillon ledger",
        )
        script += password.replace("http://127.0.0.1:8701", up.first["p0_url"])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for said in (
            '"id":"phone"', '"status":202,"event_id":"first"', "decision EMITTED mention first -> zoe push",
            "Decision EMITTED Sent to push", '"provider":"apns"', '"actors":["max"]', '"newsletter":{"enabled":true}',
        ):  # fmt: skip
            assert said in done.stdout, (said, done.stdout)
        assert up.post({"type": "order_shipped", "target": "grace", "payload": {"title": "On its way"}}) == 202
        wait_for(lambda: [row["to"] for row in up.provider("twilio")] == ["+15005550006"], what="the text message")


def test_the_records_for_simulate_are_decided(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_text(blocks("json", "Commands")[0])
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "simulate", str(tmp_path / "in.ndjson")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert [json.loads(line)["event_id"] for line in done.stdout.splitlines()] == ["e1"]
