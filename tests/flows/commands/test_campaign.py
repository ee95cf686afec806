"""`carillon campaign`, on a log beside which nothing runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.flow_bench import Bench
from typer.testing import CliRunner

from connectors.campaigns import Actor, CampaignDesk
from flows.cli import app
from state.model.campaign import CampaignAudience, CampaignChunk, CampaignText
from state.model.errors import RefusedActError


def told(directory: Path, *words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["campaign", *words, "--data", str(directory), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_campaign_is_approved_released_paused_and_ended_by_commands(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert told(tmp_path, "list") == [{"campaigns": 0}]
    desk, ann = CampaignDesk(bench.log, clock=bench.clock), Actor("ann", "marketing")
    desk.act(ann, "sale", "create", text=CampaignText("newsletter"))
    desk.store_chunk(CampaignChunk("sale", 7, 0, "UTC", 1, ["u"]))
    desk.act(ann, "sale", "audience", audience=CampaignAudience(7, 1, 1))
    with pytest.raises(RefusedActError, match="0 of 1 approvals"):
        told(tmp_path, "schedule", "sale")
    (shown,) = told(tmp_path, "show", "sale")
    (approved,) = told(tmp_path, "approve", "sale", "--revision", str(shown["revision"]))
    assert len(approved["approvals"]) == 1
    states = [told(tmp_path, *words)[0]["state"] for words in (
        ("schedule", "sale", "--local", "2030-12-01T09:00"), ("throttle", "sale", "7"), ("pause", "sale"),
        ("resume", "sale"), ("cancel", "sale"),
    )]  # fmt: skip
    assert states == ["running", "running", "paused", "running", "cancelled"]
    campaign = desk.find("sale")
    assert campaign is not None
    assert (campaign.per_second, campaign.start_local) == (7, "2030-12-01T09:00")
    assert told(tmp_path, "report", "sale")[0]["outcomes"] == {}
    assert CliRunner().invoke(app, ["campaign", "schedule", "sale", "--local", "soon"]).exit_code == 2
    bench.close()
