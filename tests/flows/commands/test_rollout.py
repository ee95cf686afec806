"""`carillon rollout`, and the bar of what goes in stages, on a log beside which nothing runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.flow_bench import REGISTRY, Bench
from typer.testing import CliRunner

from connectors.campaigns import act_record
from flows.cli import app
from flows.commands.output import Output
from flows.commands.progress import show_progress
from state.model.campaign import CampaignOrder, begin_act
from state.model.errors import RefusedActError
from state.model.event import Event, RawEvent, RolloutPlan, resolve
from state.model.ledger import EventCounts
from state.schedule.rollouts import begun_rollout

PLAN = RolloutPlan([1, 10, 100])


def news() -> Event:
    raw = RawEvent(event_id="e1", type="announcement", fan_out_type="BROADCAST", sender_id="s", rollout=PLAN)
    return resolve(raw, REGISTRY, ingested_at=0)


def told(directory: Path, *words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words, "--data", str(directory), "--json"], catch_exceptions=False)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_it_is_turned_by_commands_which_the_audit_keeps(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.append(act_record(begin_act(news(), bench.clock(), "b")))
    assert told(tmp_path, "rollout", "pause", "e1")["state"] == "paused"
    assert told(tmp_path, "rollout", "advance", "e1")["stage"] == 2
    assert told(tmp_path, "progress", "e1")["rollout"] == {
        "state": "paused", "stages": [1, 10, 100], "stage": 2, "percent": 0, "next_at": None,
    }  # fmt: skip
    plain = CliRunner().invoke(app, ["rollout", "cancel", "e1", "--data", str(tmp_path)]).stdout
    assert plain == "e1, stage 2 of 3 (10 %): 0 % of the recipients have had their turn, cancelled\n"
    why = told(tmp_path, "explain", "--event", "e1", "--user", "ann")
    assert why["explanation"] == (
        "Event e1 goes in stages, stage 2 of 3 (10 %): 0 % of the recipients have had their turn, cancelled: the turn "
        "of this user has not come, or he is not among its recipients."
    )
    with pytest.raises(RefusedActError, match="cancelled"):
        told(tmp_path, "rollout", "resume", "e1")
    with pytest.raises(RefusedActError, match="no such event"):
        told(tmp_path, "rollout", "pause", "e2")
    assert [json.loads(record.value)["about"] for record in bench.read("audit")] == [
        {"event": "e1", "verb": verb} for verb in ("pause", "advance", "cancel")
    ]
    bench.close()


def test_the_bar_shows_what_has_gone_until_all_has(capsys: pytest.CaptureFixture[str]) -> None:
    rollout, pauses = begun_rollout(news(), PLAN, 0), list[float]()

    def go_on(pause: float) -> None:
        number = len(pauses)
        pauses.append(pause)
        rollout.count(CampaignOrder(rollout.name, 0, number, number), 0)

    counts = EventCounts({"INBOX": 9}, groups=3, planned=3)
    assert show_progress(lambda: counts, "e1", Output(as_json=False), follow=True, rollout=lambda: rollout, sleep=go_on)
    assert len(pauses) == 3
    assert "stage 3 of 3 (100 %): 100 % of the recipients have had their turn, done" in capsys.readouterr().out
