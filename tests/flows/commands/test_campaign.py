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
    plain = CliRunner().invoke(app, ["campaign", "show", "sale", "--data", str(tmp_path)]).stdout
    said, *estimate = plain.splitlines()
    assert said == "sale draft, revision 2: 0 of 1 recipients released, 0 of 1 approvals"
    assert estimate == ["  reached: none", "  suppressed: none"]
    (approved,) = told(tmp_path, "approve", "sale", "--revision", str(shown["revision"]))
    assert len(approved["approvals"]) == 1
    states = [told(tmp_path, *words)[0]["state"] for words in (
        ("schedule", "sale", "--local", "2030-12-01T09:00"), ("throttle", "sale", "7"), ("pause", "sale"),
        ("resume", "sale"), ("cancel", "sale"),
    )]  # fmt: skip
    assert told(tmp_path, "watch", "sale")[0]["state"] == "cancelled", "it is over at once"
    assert states == ["running", "running", "paused", "running", "cancelled"]
    campaign = desk.find("sale")
    assert campaign is not None
    assert (campaign.per_second, campaign.start_local) == (7, "2030-12-01T09:00")
    assert told(tmp_path, "report", "sale")[0]["outcomes"] == {}
    assert CliRunner().invoke(app, ["campaign", "schedule", "sale", "--local", "soon"]).exit_code == 2
    bench.close()


def test_the_environment_makes_nobody_another_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    file = tmp_path / "people.csv"
    file.write_text("user\nann\n")
    told(tmp_path, "create", "sale", "--type", "newsletter", "--payload", '{"title":"Sale"}')
    (shown,) = told(tmp_path, "audience", "sale", str(file))
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert "another person must" in refused(tmp_path, "approve", "sale", "--revision", str(shown["revision"]))
    bench.close()


def test_where_people_have_accounts_a_shell_approves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    desk, ann = CampaignDesk(bench.log, clock=bench.clock), Actor("ann", "marketing", "account 1")
    desk.act(ann, "sale", "create", text=CampaignText("newsletter"))
    desk.act(ann, "sale", "audience", audience=CampaignAudience(7, 1, 1))
    for name, value in (("ISSUER", "http://127.0.0.1:1"), ("CLIENT_ID", "carillon"), ("CLIENT_SECRET", "s")):
        monkeypatch.setenv(f"CARILLON_OPENID__{name}", value)
    assert "accounts" in refused(tmp_path, "approve", "sale", "--revision", "2")
    bench.close()


def refused(directory: Path, *words: str) -> str:
    done = CliRunner().invoke(app, ["campaign", *words, "--data", str(directory)])
    assert done.exit_code != 0
    return f"{done.output} {done.exception}"


def test_a_campaign_is_prepared_by_commands_as_by_calls(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    file = tmp_path / "people.csv"
    file.write_text("user,timezone\nann,Asia/Tokyo\nbob,\nann,\n,\n")
    assert "no type of marketing" in refused(tmp_path, "create", "sale", "--type", "announcement")
    assert "no JSON" in refused(tmp_path, "create", "sale", "--type", "newsletter", "--payload", "{")
    assert "no campaign" in refused(tmp_path, "audience", "sale", str(file))
    (made,) = told(tmp_path, "create", "sale", "--type", "newsletter", "--payload", '{"title":"Sale"}')
    assert (made["state"], made["recipients"]) == ("draft", 0)
    assert "of this name" in refused(tmp_path, "create", "sale", "--type", "newsletter")
    (shown,) = told(tmp_path, "audience", "sale", str(file))
    assert (shown["recipients"], shown["editor"], shown["stages"]) == (2, made["editor"], [])
    assert "rising" in refused(tmp_path, "audience", "sale", str(file), "--stages", "9,1")
    (shown,) = told(tmp_path, "audience", "sale", str(file), "--stages", "50,100")
    assert shown["stages"][-1] == 100
    assert "draft" in refused(tmp_path, "advance", "sale") or shown["stages"] == [100]
    campaign = CampaignDesk(bench.log, clock=bench.clock).find("sale")
    assert campaign is not None
    assert campaign.text == CampaignText("newsletter", {"title": "Sale"})
    assert campaign.audience is not None
    assert (campaign.audience.chunks, campaign.audience.doubles, campaign.audience.bad) == (2, 1, 1)
    assert "1 of 1" not in refused(tmp_path, "approve", "sale", "--revision", str(shown["revision"])), "who made it"
    (slotted,) = told(tmp_path, "slot", "sale")
    assert (slotted["slot"], slotted["revision"]) == (True, shown["revision"] + 1)
    assert told(tmp_path, "slot", "sale", "--off")[0]["slot"] is False
    assert "no such campaign" in refused(tmp_path, "slot", "never")
    assert told(tmp_path, "show", "sale")[0]["reached"] == {}
    (sent,) = told(tmp_path, "test", "sale", "ann", "ann")
    assert (sent["event_id"].startswith("sale."), sent["users"]) == (True, 1)
    assert "users" in refused(tmp_path, "test", "sale", *"abcdef")
    other = file.rename(tmp_path / "people.txt")
    assert ".csv" in refused(tmp_path, "audience", "sale", str(other))
    bench.close()
